"""Future covariates that are missing for the sessions ahead: said, and forecast as declared."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema, with_future
from tidecast.flows.config.settings import Settings
from tidecast.flows.publish.missing_ahead import missing_ahead
from tidecast.flows.publish.predict import predict
from tidecast.flows.training.model_panel import fill_ahead
from tidecast.forecasting import RandomWalk, VolatilityRegression

SCHEMA = PanelSchema(calendar="weekdays", future=("load",))
GIVEN = {"future": "x.csv", "future_covariates": ("load",)}
SETTINGS = Settings(calendar="weekdays", horizon=3, lookback=16, **GIVEN)


@dataclass(frozen=True)
class Published:
    name: str
    version: str
    trained_through: date
    model: Any


@pytest.fixture(scope="module")
def prices(random_walks):
    return random_walks(n_series=3, n_rows=200)


def with_load(prices, last_known=10, series=("A", "B", "C"), steps=3):
    """A load known `steps` weekdays ahead; of series "A" up to `last_known` weekdays after the newest price."""
    end = prices["time"].max()
    days = pl.date_range(prices["time"].min(), date(end.year + 1, 1, 31), eager=True).to_frame("time")
    days = days.filter(pl.col("time").dt.weekday() < 6).with_columns(load=pl.int_range(pl.len()).sin())
    days = days.with_columns(available_at=pl.col("time").shift(steps))
    tables = []
    for one in series:
        last = pl.Series([end]).dt.add_business_days(last_known if one == "A" else 10)[0]
        tables.append(days.filter(pl.col("time") <= last).with_columns(series_id=pl.lit(one)))
    return with_future(prices, pl.concat(tables), 3, SCHEMA)


def test_nothing_is_missing_where_all_is_known(prices):
    assert missing_ahead(with_load(prices), SETTINGS).text == ""


def test_missing_steps_are_named_with_their_series(prices):
    found = missing_ahead(with_load(prices, last_known=1), SETTINGS)
    assert found.series == ("A",)
    assert found.text == (
        "Future covariates are missing for 1 series ('A'): load (steps 2 to 3); they are forecast by the random walk."
    )


def test_a_step_that_is_never_known_is_not_missed_unless_none_is(prices):
    assert missing_ahead(with_load(prices, steps=2), SETTINGS).text == "", "a weather forecast reaches two days"
    none = prices.with_columns(load=pl.lit(None, pl.Float64))
    found = missing_ahead(
        with_future(none, pl.DataFrame(schema={"time": pl.Date, "load": pl.Float64}), 3, SCHEMA), SETTINGS
    )
    assert found.series == ("A", "B", "C")


def test_a_value_that_few_series_have_was_once_not_missed(prices):
    assert missing_ahead(with_load(prices, series=("A",)), SETTINGS).text == ""
    assert missing_ahead(with_load(prices, last_known=1, series=("A",)), SETTINGS).series == ("A",)


def test_a_series_that_never_had_a_covariate_once_missed_it_every_day(prices):
    """Two of three series have the load: they are the majority, and the third one misses nothing."""
    assert missing_ahead(with_load(prices, series=("A", "B")), SETTINGS).text == ""
    assert missing_ahead(with_load(prices, last_known=1, series=("A", "B")), SETTINGS).series == ("A",)
    newest = prices["time"].unique().sort()[-20:]
    new = prices.filter((pl.col("series_id") != "C") | pl.col("time").is_in(newest.implode()))
    assert missing_ahead(with_load(new, series=("A", "B")), SETTINGS).series == ("C",), "it is too new to tell"


def test_missing_values_are_forecast_as_declared(prices):
    whole, panel = with_load(prices), with_load(prices, last_known=1)
    end = prices["time"].max()
    champion = Published("volatility_regression", "1", end, VolatilityRegression(3, 16, schema=SCHEMA).fit(whole))
    usual = predict(whole, champion, SETTINGS, end, "run", live=True).table
    found = {
        way: predict(panel, champion, SETTINGS.model_copy(update={"future_missing": way}), end, "run", live=True)
        for way in ("random_walk", "last", "mean")
    }
    walk = RandomWalk(3, 16, schema=PanelSchema(calendar="weekdays")).fit(prices).predict()
    of_a, quantiles = pl.col("series_id") == "A", [name for name in usual.columns if name.startswith("q0.")]
    table = found["random_walk"].table
    assert table.filter(~of_a).equals(usual.filter(~of_a))
    assert table.filter(of_a).select(quantiles).equals(walk.filter(of_a).select(quantiles))
    assert table.filter(of_a)["model"].unique().to_list() == ["random_walk"]
    assert table.columns == usual.columns
    for way in ("last", "mean"):
        table = found[way].table
        assert table["model"].unique().to_list() == ["volatility_regression"]
        assert table.filter(step=1).equals(usual.filter(step=1))
        assert not table.filter(of_a).equals(usual.filter(of_a))
    assert not found["last"].table.equals(found["mean"].table)
    assert "the last known values stand in" in found["last"].missing_ahead


def test_the_last_known_value_stands_in_only_where_declared(prices):
    panel = with_load(prices, last_known=1)
    filled = fill_ahead(panel, SETTINGS.model_copy(update={"future_missing": "last"}))
    newest = filled.filter(series_id="A")["load_ahead"][-1].to_list()
    assert newest == [newest[0]] * 3
    assert np.isfinite(newest).all()
    assert filled.schema == panel.schema
    assert fill_ahead(panel, SETTINGS).equals(panel)


def test_a_champion_that_reads_no_covariate_forecasts_without_them(prices):
    end = prices["time"].max()
    walk = RandomWalk(3, 16, schema=PanelSchema(calendar="weekdays")).fit(prices)
    found = predict(with_load(prices, 1), Published("random_walk", "1", end, walk), SETTINGS, end, "run", live=True)
    assert found.missing_ahead
    assert found.table["run_id"].unique().to_list() == ["run"]
