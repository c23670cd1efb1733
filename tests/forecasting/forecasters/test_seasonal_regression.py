"""The seasonal regression: exact in a linear world, quick to follow a change, the random walk without seasons."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from tests.forecasting.forecasters.test_seasonal_panels import SHARED, demand, error, values
from tidecast.features import PanelSchema
from tidecast.forecasting import Average, GRUForecaster, RandomWalk, SeasonalRegression
from tidecast.forecasting.forecasters import seasonal_regression
from tidecast.forecasting.forecasters.seasonal_regression import FEWEST, PENALTIES, SPANS, _Ridge, _spans


def weeks(n, rng, slope=-2.0, begin=datetime(2022, 1, 3)):
    """Four values a day, linear in a wind that is known ahead, on top of a daily and a weekly pattern."""
    times = [begin + timedelta(hours=6 * k) for k in range(28 * n)]
    wind = rng.normal(size=len(times))
    pattern = np.tile(np.repeat([0, 0, 1, 1, 0, -3, -4.0], 4) + np.tile([-3.0, 6, 1, -4], 7), n)
    close = 40 + pattern + slope * wind
    return pl.DataFrame({"series_id": "a", "time": times, "close": close, "wind": wind})


def test_it_finds_a_linear_world():
    """The levels are asinh of the target, so the world is linear in small moves only."""
    panel = weeks(40, np.random.default_rng(0)).with_columns(close=1000 + pl.col("close") / 100)
    noise = 1e-4 * np.random.default_rng(1).normal(size=len(panel))
    panel = panel.with_columns(pl.col("close") + noise)
    model = SeasonalRegression(**SHARED).fit(panel.head(-28 * 4))
    table = model.predict(panel, origins="new")
    assert error(table, panel) < 5e-3  # changes of a day have a mean of 0.05
    width = table.select((pl.col("q0.95") - pl.col("q0.05")).mean()).item()
    assert width < 0.05


def test_a_market_that_changed_half_a_year_ago_is_followed(monkeypatch):
    rng = np.random.default_rng(2)
    old, new = weeks(150, rng), weeks(30, rng, slope=2.0, begin=datetime(2022, 1, 3) + timedelta(weeks=150))
    panel = pl.concat([old, new]).with_columns(close=1000 + pl.col("close") / 100)
    errors = []
    for spans in (SPANS, SPANS[-1:]):
        monkeypatch.setattr(seasonal_regression, "SPANS", spans)
        fitted = SeasonalRegression(**SHARED).fit(panel.head(-28 * 4))
        errors.append(error(fitted.predict(panel, origins="new"), panel))
    assert errors[0] < 0.8 * errors[1]


def test_spans_that_hold_the_same_origins_count_once():
    sizes = [int(span_N.sum()) // 28 for span_N in _spans(np.arange(150 * 28), 28)]
    assert sizes == [26, 52, 104, 150]
    assert [int(span_N.sum()) for span_N in _spans(np.arange(100), 28)] == [100]
    assert _spans(np.arange(FEWEST - 1), 28) == []


def test_weights_and_errors_are_those_of_leave_one_out():
    """By a regression for each origin left out, at each penalty."""
    rng = np.random.default_rng(3)
    inputs, weights = rng.normal(size=(40, 5)), rng.uniform(0.5, 2, size=40)
    targets = inputs @ rng.normal(size=(5, 2)) + rng.normal(size=(40, 2)) + 3
    weights /= weights.mean()
    found = _Ridge.fit(inputs, targets, weights)

    def solved(rows, penalty):
        share = weights[rows] / weights[rows].sum()
        mean_x, mean_y = share @ inputs[rows], share @ targets[rows]
        x, y = inputs[rows] - mean_x, targets[rows] - mean_y
        gram = (x.T * weights[rows]) @ x + penalty * np.eye(5)
        beta = np.linalg.solve(gram, (x.T * weights[rows]) @ y)
        return beta, mean_y - mean_x @ beta

    rows, scores, errors = np.arange(40), [], []
    for penalty in 40 * PENALTIES:
        left_out = [solved(rows[rows != n], penalty) for n in rows]
        errors.append(np.array([targets[n] - inputs[n] @ beta - bias for n, (beta, bias) in enumerate(left_out)]))
        scores.append((weights[:, None] * errors[-1] ** 2).mean())
    best = int(np.argmin(scores))
    beta, bias = solved(rows, 40 * PENALTIES[best])
    np.testing.assert_allclose(found.weights_FH, beta, rtol=1e-8)
    np.testing.assert_allclose(found.bias_H, bias, rtol=1e-8)
    np.testing.assert_allclose(found.errors_NH, errors[best], rtol=0.05, atol=0.02)  # the mean is not left out there


def test_without_seasons_it_is_the_random_walk():
    times = pl.date_range(pl.date(2020, 1, 1), pl.date(2022, 1, 1), eager=True)
    close = np.exp(0.01 * np.random.default_rng(4).normal(size=len(times)).cumsum())
    prices = pl.DataFrame({"series_id": "a", "time": times, "close": close})
    settings = {"horizon": 3, "lookback": 20}
    found = SeasonalRegression(**settings).fit(prices)
    assert (found.predict()["forecast"] == close[-1]).all()
    assert found.coefficients_.is_empty()
    np.testing.assert_allclose(values(found.predict()), values(RandomWalk(**settings).fit(prices).predict()), rtol=0.05)


def test_weights_have_names():
    panel = weeks(20, np.random.default_rng(5)).with_columns(close=1000 + pl.col("close") / 100)
    found = SeasonalRegression(**SHARED).fit(panel).coefficients_.filter(pl.col("input").str.starts_with("wind, step"))
    assert len(found) == 4 * 4
    largest = found.group_by("step", maintain_order=True).agg(pl.col("input").get(pl.col("weight").abs().arg_max()))
    assert largest["input"].to_list() == [f"wind, step {step}" for step in (1, 2, 3, 4)]


def test_nights_without_sun_are_learned_from():
    """Once, hours after a night of zeros taught nothing, and were forecast 40 times as far off as others."""
    hour, rng = np.arange(24 * 80) % 24, np.random.default_rng(6)
    sun = 10 * np.sin((hour - 6) / 12 * np.pi).clip(0) * np.repeat(rng.uniform(0.5, 1, size=80), 24)
    times = [datetime(2024, 1, 1) + timedelta(hours=k) for k in range(24 * 80)]
    panel = pl.DataFrame({"series_id": "a", "time": times, "close": sun})
    settings = {"horizon": 24, "lookback": 168, "schema": PanelSchema(calendar="every 1h", positive=False)}
    table = SeasonalRegression(**settings).fit(panel.head(24 * 70)).predict(panel, origins="new")
    assert set(table["origin"].dt.hour()) == set(range(24))
    by_hour = table.group_by(pl.col("origin").dt.hour()).agg(pl.struct("time", "forecast", "series_id"))
    for _, rows in by_hour.rows():
        assert error(pl.DataFrame(rows), panel) < 1


def test_short_panels_and_rows_of_weight_zero_are_no_trouble():
    panel = demand(n_days=14)
    weight = np.zeros(len(panel))
    weight[-60:-4] = 1
    coming = panel.tail(4).with_columns(pl.col("time") + timedelta(days=1)).drop("close")
    for sample_weight in (None, weight):
        table = SeasonalRegression(**SHARED).fit(panel, None, sample_weight).predict(future=coming)
        assert table["forecast"].is_finite().all()


def test_it_joins_an_average(tmp_path):
    panel = demand()
    members = [GRUForecaster(**SHARED, max_epochs=1, hidden_size=4), SeasonalRegression(**SHARED)]
    both = Average(members).fit(panel.head(-28))
    table = both.predict(panel, origins="new")
    one, other = (member.predict(panel, origins="new")["forecast"].to_numpy() for member in both.members_)
    assert (table["forecast"] >= np.minimum(one, other) - 1e-9).all()
    assert (table["forecast"] <= np.maximum(one, other) + 1e-9).all()
    both.save(tmp_path)
    assert Average.load(tmp_path).predict(panel, origins="new").equals(table)


def test_only_rows_of_the_origin_time_teach():
    schema = PanelSchema(positive=False, future=("wind",), origin_time="18:00")
    settings, panel = SHARED | {"schema": schema}, demand()
    model, walk = (kind(**settings).fit(panel.head(-28)) for kind in (SeasonalRegression, RandomWalk))
    table = model.predict(panel, origins="new")
    assert table["origin"].dt.hour().unique().to_list() == [18]
    assert error(table, panel) < 0.2 * error(walk.predict(panel, origins="new"), panel)
