"""Models of other libraries in the benchmarks: how their volatilities become forecasts. HAR needs NumPy only."""

import sys

import numpy as np
import polars as pl
import pytest

from benchmarks.every_model import markdown
from benchmarks.given_scales import GivenScales, scale_columns
from benchmarks.rival_forecasts import forecasts_of_rivals, summary
from tests.conftest import make_random_walks
from tidecast.features import PanelSchema
from tidecast.forecasting import RandomWalk, RollingOrigin, backtest, evaluate

SCHEMA = PanelSchema(calendar="weekdays")
CV = RollingOrigin(n_splits=2, horizon=2, stride=40)


@pytest.fixture(scope="module")
def panel():
    return make_random_walks(3, 500, seed=7)


def given(panel, scale):
    """A panel with the same scale in every row and step."""
    names = scale_columns(2)
    return panel.with_columns(pl.lit(scale if name.startswith("scale") else 0.0).alias(name) for name in names)


def fitted(panel, scale):
    schema = PanelSchema(calendar="weekdays", covariates=tuple(scale_columns(2)))
    table = given(panel, scale)
    return GivenScales(horizon=2, schema=schema).fit(table), table


def test_scales_of_one_give_the_random_walk_but_for_the_rows_its_quantiles_come_from(panel):
    model, table = fitted(panel, 0.0)
    walk = RandomWalk(horizon=2, schema=SCHEMA).fit(panel)
    mine, theirs = model.predict(table), walk.predict(panel)
    assert mine["forecast"].equals(theirs["forecast"])
    width, usual = (frame["q0.95"] / frame["q0.05"] for frame in (mine, theirs))
    assert np.log(width).to_numpy() == pytest.approx(np.log(usual).to_numpy(), rel=0.1)


def test_a_scale_that_is_too_wide_everywhere_changes_nothing_because_the_quantiles_are_learned(panel):
    (one, table), (wide, doubled) = fitted(panel, 0.0), fitted(panel, np.log(2.0))
    expected = one.predict(table)
    assert wide.predict(doubled)["q0.95"].to_numpy() == pytest.approx(expected["q0.95"].to_numpy(), rel=1e-9)


def test_a_rival_forecasts_the_origins_of_the_backtest_and_is_scored_with_it(panel):
    ours = backtest({"random_walk": RandomWalk(horizon=2, schema=SCHEMA)}, panel, CV)
    found = forecasts_of_rivals(["har"], sys.executable, panel, SCHEMA, CV, horizon=2)
    keys = ["fold", "series_id", "origin", "step", "time"]
    assert found.table.select(keys).sort(keys).equals(ours.select(keys).sort(keys))
    pooled = evaluate(pl.concat([ours, found.table.select(ours.columns)]), panel).summary.filter(group="pooled")
    assert set(pooled["model"]) == {"random_walk", "har"}
    assert pooled["n_origins"].to_list() == [80, 80]
    assert abs(pooled.filter(model="har")["skill"].item()) < 0.1
    assert found.failures == {"har": []}
    assert summary(found)[0].endswith("none failed.")


def test_a_rival_does_not_see_what_comes_after_its_origin(panel):
    fold = CV.folds(panel)[-1]
    changed = panel.with_columns(
        close=pl.when(pl.col("time") > fold.first_origin).then(pl.col("close") * 3).otherwise("close")
    )
    one, other = (
        forecasts_of_rivals(["har"], sys.executable, prices, SCHEMA, CV, horizon=2).table.filter(
            origin=fold.first_origin
        )
        for prices in (panel, changed)
    )
    assert one.equals(other)


def test_a_table_has_a_line_per_model():
    assert markdown({"model": ["a", "b"], "p": ["0.1", ""]}).splitlines() == [
        "| model | p |", "|---|---|", "| a | 0.1 |", "| b |  |"
    ]  # fmt: skip
