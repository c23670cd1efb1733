"""The table that compares models, against evaluate and by hand."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tidecast.features import PanelSchema
from tidecast.forecasting import (
    Drift,
    GRUForecaster,
    RandomWalk,
    RollingOrigin,
    VolatilityRegression,
    backtest,
    comparison,
    evaluate,
)


@pytest.fixture(scope="module")
def panel(random_walks):
    return random_walks(n_series=3, n_rows=420, seed=4)


@pytest.fixture(scope="module")
def forecasts(panel):
    models = {
        "drift": Drift(horizon=2, lookback=20),
        "volatility_regression": VolatilityRegression(horizon=2, lookback=20),
        "GRU": GRUForecaster(horizon=2, lookback=20, max_epochs=0),
    }
    return backtest(models, panel, RollingOrigin(n_splits=1, horizon=2, stride=150))


def test_it_repeats_what_evaluate_says_and_adds_the_second_reference(panel, forecasts):
    found = comparison(forecasts, panel)
    pooled = evaluate(forecasts, panel).summary.filter(group="pooled")
    both = found.join(pooled, on="model", suffix="_expected")
    assert len(both) == 4
    for column in ("crps", "skill", "p", "interval_score", "coverage", "mae", "n_origins"):
        assert both[column].to_list() == pytest.approx(both[f"{column}_expected"].to_list(), nan_ok=True)
    rows = {row["model"]: row for row in found.iter_rows(named=True)}
    assert rows["random_walk"]["skill"] == 0
    assert rows["random_walk"]["p"] == 1
    assert rows["GRU"]["mae_skill"] == 0
    assert rows["volatility_regression"]["against_skill"] == 0
    ratio = rows["drift"]["crps"] / rows["volatility_regression"]["crps"]
    assert rows["drift"]["against_skill"] == pytest.approx(1 - ratio)
    assert found["crps"].is_sorted()


@pytest.mark.parametrize("model", ["random_walk", "drift"])
def test_qlike_equals_its_formula_with_errors_from_the_median(model, panel, forecasts):
    found = comparison(forecasts, panel).filter(model=model)["qlike"].item()
    table = (
        forecasts.filter(model=model)
        .join(panel.select("series_id", "time", truth="close"), on=["series_id", "time"])
        .join(panel.select("series_id", origin="time", price="close"), on=["series_id", "origin"])
    )
    scale = evaluate(forecasts, panel).losses.filter(model=model).select("series_id", "origin", "step", "scale")
    table = table.join(scale, on=["series_id", "origin", "step"])
    h = np.log((table["q0.95"] / table["q0.05"]).to_numpy()) / (2 * stats.norm.ppf(0.95))
    unit = (table["scale"] / table["price"]).to_numpy() * np.sqrt(table["step"].to_numpy())
    r = np.log((table["truth"] / table["forecast"]).to_numpy())
    assert found == pytest.approx(np.mean(2 * np.log(h / unit) + (r / h) ** 2))


def test_coverage_is_counted_apart_in_calm_and_after_a_break():
    """A series whose changes grow fivefold: before, its interval covers all; after, nothing."""
    days = pl.date_range(date(2020, 1, 1), date(2021, 12, 31), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(400)
    signs = np.where(np.arange(400) % 3 == 0, -1.0, 1.0)
    changes = 0.01 * signs * np.where(np.arange(400) >= 330, 5.0, 1.0)
    panel = pl.DataFrame({"series_id": "A", "time": days, "close": 100 * np.exp(changes.cumsum())})
    origins = panel[200:399]
    table = pl.DataFrame(
        {
            "model": "random_walk",
            "series_id": "A",
            "origin": origins["time"],
            "step": 1,
            "time": panel["time"][201:400],
            "forecast": origins["close"],
            "q0.05": origins["close"] * np.exp(-0.02),
            "q0.95": origins["close"] * np.exp(0.02),
        }
    )
    row = comparison(table, panel).row(0, named=True)
    assert row["coverage"] == pytest.approx(129 / 199)
    assert row["coverage_calm"] == 1
    assert row["coverage_usual"] > 0.9  # the volatility takes a few sessions to rise
    assert row["coverage_turbulent"] < 0.1
    assert row["coverage_after_break"] == 0
    assert row["against_skill"] is None


def test_differences_and_pandas_are_compared_too(panel):
    schema = PanelSchema(positive=False)
    models = {"drift": Drift(horizon=2, lookback=20, schema=schema), "walk": RandomWalk(2, 20, schema=schema)}
    given = panel.to_pandas()
    found = comparison(backtest(models, given, RollingOrigin(n_splits=1, horizon=2, stride=130)), given)
    assert type(found).__module__.startswith("pandas")
    assert found["qlike"].notna().all()


def test_coverage_is_counted_by_step_and_in_the_worst_year_of_the_series():
    """Two series in two years: one is covered always, the other in 95 % of the first and 75 % of the second."""
    days = pl.date_range(date(2020, 1, 1), date(2021, 12, 31), eager=True)
    days = days.filter(days.dt.weekday() <= 5)
    n = len(days)
    changes = 0.01 * np.where(np.arange(n) % 3 == 0, -1.0, 1.0)
    prices = 100 * np.exp(changes.cumsum())
    panel = pl.concat([pl.DataFrame({"series_id": name, "time": days, "close": prices}) for name in "AB"])
    at, origin, step = np.arange(60, n - 2), pl.col("origin"), pl.col("step")
    rows = pl.concat(
        [
            pl.DataFrame(
                {"series_id": name, "origin": days[at], "step": step, "time": days[at + step], "forecast": prices[at]}
            ).with_columns(number=pl.int_range(pl.len()), truth=pl.Series(prices[at + step]))
            for name in "AB"
            for step in (1, 2)
        ]
    )
    missed = pl.when(origin.dt.year() == 2020).then(pl.col("number") % 10 == 0).otherwise(pl.col("number") % 2 == 0)
    missed = (pl.col("series_id") == "B") & missed & (step == 2)
    low = pl.when(missed).then(pl.max_horizontal("truth", "forecast") * 1.001)
    table = rows.select(
        pl.lit("random_walk").alias("model"), "series_id", "origin", "step", "time", "forecast",
        low.otherwise(pl.col("forecast") * 0.5).alias("q0.05"), (pl.col("forecast") * 2).alias("q0.95"),
    ).with_columns(forecast=pl.max_horizontal("forecast", "q0.05"))  # fmt: skip
    row = comparison(table, panel, seconds={"random_walk": 1.5}).row(0, named=True)
    second = rows.with_columns(missed=missed).filter(step == 2).group_by("origin").agg((~pl.col("missed")).mean())
    assert row["coverage_highest_step"] == 1
    assert row["coverage_lowest_step"] == pytest.approx(second["missed"].mean())
    # A covers 100 % > 98 % of each year; B 95 % of 2020, within the band, and 75 % of 2021
    assert row["series_in_band"] == 0
    assert row["cpu_seconds"] == 1.5
    only_2020 = comparison(table.filter(origin.dt.year() == 2020), panel).row(0, named=True)
    assert only_2020["series_in_band"] == 0.5
    assert only_2020["cpu_seconds"] is None
    short = comparison(table.filter(origin.is_between(date(2021, 1, 1), date(2021, 3, 20))), panel).row(0, named=True)
    assert short["series_in_band"] is None
