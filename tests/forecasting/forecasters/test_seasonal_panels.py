"""Panels with seasons: untrained the random walk, trained better than the naives, row by row as at once."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

from tidecast.features import PanelSchema
from tidecast.forecasting import (
    Average,
    GRUForecaster,
    RandomWalk,
    SeasonalNaive,
    SeasonalRegression,
    UnreadableModel,
    VolatilityRegression,
    load_forecaster,
)
from tidecast.forecasting.saving.model_files import read_files, write_files

SCHEMA = PanelSchema(positive=False, future=("wind",))
SHARED = {"horizon": 4, "lookback": 28, "schema": SCHEMA}


def demand(n_days=120, seed=0, series_id="a"):
    """Four values a day, which follow a daily pattern, and wind that is known ahead."""
    rng = np.random.default_rng(seed)
    n = 4 * n_days
    times = [datetime(2024, 1, 1) + timedelta(hours=6 * k) for k in range(n)]
    wind = np.repeat(rng.normal(size=n_days), 4) + 0.3 * rng.normal(size=n)
    pattern = np.array([-1.0, 2.0, 0.5, -1.5])[np.arange(n) % 4]
    close = 10 + 3 * pattern - 2 * wind + 0.1 * rng.normal(size=n)
    return pl.DataFrame({"series_id": series_id, "time": times, "close": close, "wind": wind})


@pytest.fixture(scope="module")
def panel():
    return pl.concat([demand(), demand(seed=1, series_id="b").with_columns(pl.col("close") * 100)])


@pytest.fixture(scope="module")
def known(panel):
    """The panel without its last two weeks."""
    return panel.filter(pl.col("time") < panel["time"].max() - timedelta(days=14))


@pytest.fixture(
    scope="module",
    params=[GRUForecaster(**SHARED, max_epochs=6, hidden_size=16), SeasonalRegression(**SHARED)],
    ids=["GRU", "regression"],
)
def model(request, known):
    return clone(request.param).fit(known)


def error(table, panel):
    """Mean absolute error of the medians, of series of one unit."""
    joined = table.join(panel.select("series_id", "time", "close"), on=["series_id", "time"])
    scale = pl.when(pl.col("series_id") == "b").then(100.0).otherwise(1.0)
    return joined.select(((pl.col("close") - pl.col("forecast")) / scale).abs().mean()).item()


def values(table):
    return (
        table.sort("series_id", "origin", "step").select(pl.exclude("series_id", "origin", "time", "step")).to_numpy()
    )


def ahead(known):
    """Covariates of the day after the panel's last one."""
    last = known.group_by("series_id", maintain_order=True).tail(4)
    return last.with_columns(pl.col("time") + timedelta(days=1)).drop("close")


def test_an_untrained_network_is_the_random_walk(known):
    untrained = GRUForecaster(**SHARED, max_epochs=0).fit(known)
    walk = RandomWalk(**SHARED).fit(known)
    wanted = walk.predict(known)
    np.testing.assert_allclose(values(untrained.predict(future=ahead(known))), values(wanted), rtol=1e-9)
    last = known.group_by("series_id", maintain_order=True).last()["close"].to_list()
    assert wanted.filter(pl.col("step") == 1)["forecast"].to_list() == pytest.approx(last, rel=1e-12)


def test_a_covariate_known_ahead_and_the_season_are_learned(model, panel):
    naive = SeasonalNaive(**SHARED, season=4).fit(panel.filter(pl.col("time") <= model.fit_end_))
    learned, repeated = (error(one.predict(panel, origins="new"), panel) for one in (model, naive))
    assert learned < 0.4 * repeated


def test_updates_equal_the_whole_history(model, panel, known, tmp_path):
    after = panel.filter(pl.col("time") > known["time"].max())
    cut = after["time"].min() + timedelta(days=3)
    new, coming = after.filter(pl.col("time") <= cut), after.filter(pl.col("time") > cut).drop("close")
    whole = model.predict(panel.filter(pl.col("time") <= cut), future=coming)
    model.save(tmp_path)
    loaded = load_forecaster(tmp_path)
    np.testing.assert_allclose(values(loaded.update(new).predict(future=coming)), values(whole), rtol=1e-5)


def test_nothing_after_an_origin_counts_but_covariates_known_ahead(model, panel, known):
    origins = [known["time"].max()]
    altered = panel.with_columns(close=pl.when(pl.col("time") > origins[0]).then(-99.0).otherwise("close"))
    np.testing.assert_array_equal(
        values(model.predict(altered, origins=origins)), values(model.predict(panel, origins=origins))
    )
    windy = panel.with_columns(wind=pl.when(pl.col("time") > origins[0]).then(3.0).otherwise("wind"))
    assert (model.predict(windy, origins=origins)["forecast"] < model.predict(panel, origins=origins)["forecast"]).all()


def test_the_unit_does_not_matter(known, model):
    other = known.with_columns(pl.col("close") * 1000)
    scaled = clone(model).fit(other)
    found, wanted = scaled.predict(future=ahead(known)), model.predict(future=ahead(known))
    np.testing.assert_allclose(values(found), 1000 * values(wanted), rtol=1e-3)


def test_with_an_origin_time_only_its_rows_are_origins(known):
    schema = PanelSchema(positive=False, future=("wind",), origin_time="18:00")
    model = RandomWalk(horizon=4, lookback=28, schema=schema).fit(known)
    origins = model.predict(known, origins="all")["origin"]
    assert origins.dt.hour().unique().to_list() == [18]
    with pytest.raises(ValueError, match="origin_time leaves rows of 18:00 only"):
        model.predict(known.filter(pl.col("time") < known["time"].max()))


@pytest.mark.parametrize("wrong", ["24:00", "9:00", 9])
def test_an_origin_time_is_a_time_of_the_day(wrong):
    with pytest.raises(ValueError, match="origin_time must be a time of the day"):
        PanelSchema(origin_time=wrong)


def test_a_column_may_be_known_in_the_past_and_ahead(known):
    schema = PanelSchema(positive=False, covariates=("wind",), future=("wind",))
    model = GRUForecaster(horizon=4, lookback=28, schema=schema, max_epochs=1).fit(known)
    assert model.inputs_.count("wind") == 1


@pytest.mark.parametrize("kind", ["regression", "average"])
def test_a_regression_and_an_average_come_back_from_their_files(kind, known, model, tmp_path):
    """A regression of a seasonal panel could once not be loaded: it has no inputs of steps."""
    schema = PanelSchema(positive=False)
    regression = VolatilityRegression(horizon=4, lookback=28, schema=schema)
    walk = RandomWalk(horizon=4, lookback=28, schema=schema)
    fitted = (regression if kind == "regression" else Average([walk, regression])).fit(known.drop("wind"))
    fitted.save(tmp_path)
    again = load_forecaster(tmp_path)
    assert again.predict().equals(fitted.predict())
    assert again.predict(known.drop("wind"), origins="all").equals(fitted.predict(known.drop("wind"), origins="all"))


@pytest.mark.parametrize("forged", [[10**9], [0], ["day"], [-4, 28], 7])
def test_forged_seasons_of_a_saved_model_are_refused(forged, model, tmp_path):
    model.save(tmp_path)
    description, learned = read_files(tmp_path)
    write_files(tmp_path, description | {"seasons": forged}, learned)
    with pytest.raises(UnreadableModel):
        load_forecaster(tmp_path)
