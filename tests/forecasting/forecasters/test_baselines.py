"""The random walk against an independent calculation; drift and seasonal naive by hand; coverage."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema
from tidecast.forecasting import DEFAULT_QUANTILES, Drift, RandomWalk, SeasonalNaive, evaluate
from tidecast.forecasting.forecasters.recurrent import FORECASTERS

LEVELS = np.array(DEFAULT_QUANTILES)
NAMES = ["forecast" if level == 0.5 else f"q{level!r}" for level in DEFAULT_QUANTILES]


def values(table):
    return table.select(NAMES).to_numpy()


def ewma(changes):
    """RiskMetrics' volatility by its recursion, with the bias of the start taken out; one more than the changes."""
    n = d = 0.0
    found = [np.nan]
    for change in changes:
        n, d = 0.94 * n + change**2, 0.94 * d + 1.0
        found.append(np.sqrt(n / d))
    return np.array(found)


def order_statistic(values, rank):
    """The value of that rank, counted from 1; beyond the ends, the outermost."""
    return np.sort(values)[int(np.clip(rank, 1, len(values))) - 1]


def apart(quantiles, gaps):
    """Quantiles around a median of 0, each at least so far from its inner neighbour."""
    found = quantiles.copy()
    found[9] = 0.0
    for j in range(8, -1, -1):
        found[j] = min(found[j], found[j + 1] - gaps[j])
    for j in range(10, 19):
        found[j] = max(found[j], found[j - 1] + gaps[j - 1])
    return found


def slow_random_walk(prices, lookback, horizon, positive=True):
    """Table of the random walk from the last row, shape (series, horizon, levels), one number at a time.

    `prices` are those of series with the same sessions, shape (n_series, n_rows).
    """
    n_series, n_rows = prices.shape
    level = np.log(prices) if positive else prices
    sigma = np.array([ewma(np.diff(row)) for row in level])
    origins = np.arange(lookback - 1, n_rows)
    validation = n_rows - 1 - round(0.1 * len(origins))
    train = validation - round(0.1 * len(origins))

    def residuals(first, until, step):
        found = []
        for series in range(n_series):
            for origin in range(first, until - step + 1):
                change = level[series, origin + step] - level[series, origin]
                found.append(change / sigma[series, origin] / np.sqrt(step))
        return np.array(found)

    table = np.zeros((n_series, horizon, len(LEVELS)))
    for step in range(1, horizon + 1):
        base = np.quantile(residuals(origins[0], train, step), LEVELS, method="inverted_cdf")
        base = apart(base, np.diff(base) / 4)
        held_out = residuals(validation, n_rows - 1, step)
        n = len(held_out)
        assert n >= 40
        quantiles, share = base.copy(), (n_rows - validation) / (n_rows - validation + 504)
        for j, tau in enumerate(LEVELS):
            if tau > 0.5:  # the ceil(τ (n + 1))-th smallest error, and its mirror image
                quantiles[j] += share * order_statistic(held_out - base[j], np.ceil(round(tau * (n + 1), 9)))
            elif tau < 0.5:
                quantiles[j] -= share * order_statistic(base[j] - held_out, np.ceil(round((1 - tau) * (n + 1), 9)))
        quantiles = apart(quantiles, np.diff(base) / 4)
        change = sigma[:, -1:] * np.sqrt(step) * quantiles
        table[:, step - 1] = prices[:, -1:] * np.exp(change) if positive else prices[:, -1:] + change
    return table


@pytest.mark.parametrize("positive", [True, False])
def test_the_random_walk_is_what_a_slow_calculation_gives(positive, random_walks):
    panel = random_walks(n_series=5, n_rows=300, seed=1)
    prices = panel["close"].to_numpy().reshape(5, 300)
    expected = slow_random_walk(prices, 20, 4, positive).reshape(20, 19)
    table = RandomWalk(horizon=4, lookback=20, schema=PanelSchema(positive=positive)).fit(panel).predict()
    assert np.allclose(values(table), expected, rtol=1e-10)
    assert (table["forecast"] == np.repeat(prices[:, -1], 4)).all()  # not even rounding


@pytest.mark.parametrize("kind", FORECASTERS.values())
@pytest.mark.parametrize("given", ["panel", "untidy_panel"])
@pytest.mark.parametrize("positive", [True, False])
def test_an_untrained_network_is_the_random_walk(kind, given, positive, request):
    panel, schema = request.getfixturevalue(given), PanelSchema(positive=positive)
    model = kind(lookback=16, hidden_size=8, max_epochs=0, schema=schema).fit(panel)
    walk = RandomWalk(lookback=16, schema=schema).fit(panel)
    assert model.predict().equals(walk.predict())
    assert model.predict(panel, origins="all").equals(walk.predict(panel, origins="all"))


def test_the_random_walk_breathes_with_volatility(breathing):
    table = RandomWalk(lookback=16).fit(breathing).predict(breathing, origins="all").filter(step=1)
    width = (table["q0.95"] - table["q0.05"]) / table["forecast"]
    assert width.quantile(0.9) > 1.5 * width.quantile(0.1)


def test_nothing_crosses_a_long_pause(breathing):
    paused = breathing.filter(series_id="A").with_columns(
        time=pl.when(pl.int_range(pl.len()) >= 160).then(pl.col("time") + timedelta(weeks=520)).otherwise("time")
    )
    jumped = paused.with_columns(close=pl.col("close") * pl.when(pl.col("time").dt.year() > 2025).then(8).otherwise(1))
    for kind in (RandomWalk, Drift, SeasonalNaive):
        table, other = (kind(lookback=16).fit(panel).predict() for panel in (paused, jumped))
        assert np.allclose(values(other), 8 * values(table))


# ------------------------------------------------------------------ by hand
def doubling(n_rows=40):
    """A price that doubles every session, but for a wobble that gives it a volatility."""
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_rows)
    price = 2.0 ** np.arange(n_rows)
    return pl.DataFrame({"series_id": "a", "time": days, "close": price})


def test_drift_goes_on_as_the_series_did_on_the_whole():
    table = Drift(horizon=3, lookback=5).fit(doubling()).predict()
    assert np.allclose(table["forecast"], 2.0 ** np.array([40, 41, 42]))
    by_differences = Drift(horizon=3, lookback=5, schema=PanelSchema(positive=False)).fit(doubling()).predict()
    slope = (2.0**39 - 1) / 39
    assert np.allclose(by_differences["forecast"], 2.0**39 + slope * np.array([1, 2, 3]))


def test_drift_counts_sessions_not_rows():
    with_holes = doubling().filter(~pl.int_range(pl.len()).is_in([7, 20, 21]))
    table = Drift(horizon=2, lookback=5).fit(with_holes).predict()
    assert np.allclose(table["forecast"], 2.0 ** np.array([40, 41]))


def test_seasonal_naive_repeats_the_last_season():
    table = SeasonalNaive(horizon=7, lookback=6).fit(doubling()).predict()
    assert np.allclose(table["forecast"], 2.0 ** np.array([35, 36, 37, 38, 39, 35, 36]))
    table = SeasonalNaive(horizon=3, lookback=6, season=1).fit(doubling()).predict()
    assert np.allclose(table["forecast"], 2.0**39)


def test_seasonal_naive_with_less_than_a_season_takes_the_first_row():
    model = SeasonalNaive(horizon=3, lookback=2, season=30).fit(doubling())
    table = model.predict(doubling().head(20))
    assert np.allclose(table["forecast"], [1.0, 1.0, 1.0])


# ------------------------------------------------------------------ coverage
def coverage_by_tercile(panel, cut, horizon=5):
    """Coverage of the 90 % interval in each tercile of the volatility at the origin, and the number of origins."""
    model = RandomWalk(horizon=horizon).fit(panel.filter(pl.col("time") <= cut))
    losses = evaluate(model.predict(panel, origins="new"), panel).losses
    price = panel.select("series_id", origin="time", price="close")
    losses = losses.join(price, on=["series_id", "origin"]).with_columns(sigma=pl.col("scale") / pl.col("price"))
    rank = pl.col("sigma").rank("ordinal").over("series_id") * 3 / (pl.len().over("series_id") + 1)
    return losses.group_by(tercile=rank.floor()).agg(pl.col("covered").mean(), pl.len()).sort("tercile")


@pytest.mark.parametrize("seed", range(3))
def test_the_random_walks_90_per_cent_cover_86_to_94_in_calm_and_in_storm(seed, random_walks):
    panel = random_walks(n_series=20, n_rows=1500, seed=seed)
    found = coverage_by_tercile(panel, panel["time"].unique().sort()[900])
    assert found["covered"].is_between(0.86, 0.94).all(), found


def test_the_random_walks_90_per_cent_cover_86_to_94_of_the_euro_rates_in_calm_and_in_storm(ecb):
    found = coverage_by_tercile(ecb.filter(pl.col("time").dt.year() >= 2005), pl.date(2017, 12, 31))
    assert found["len"].min() > 10_000
    assert found["covered"].is_between(0.86, 0.94).all(), found
