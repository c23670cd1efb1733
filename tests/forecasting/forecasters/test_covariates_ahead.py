"""Future covariates that each row brings with it: forecasts use what was known at the origin, wherever they start."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema, assert_causal, with_events, with_future
from tidecast.forecasting import (
    Average,
    GRUForecaster,
    RollingOrigin,
    VolatilityRegression,
    backtest,
    evaluate,
)
from tidecast.forecasting.persistence import load_forecaster

HORIZON, LOOKBACK = 3, 16
SCHEMA = PanelSchema(calendar="weekdays", future=("load",))


def weekdays(n, first=date(2022, 1, 3)):
    every = [first + timedelta(days=k) for k in range(2 * n)]
    return [day for day in every if day.weekday() < 5][:n]


def prices(n=260, series=("a", "b")):
    rng = np.random.default_rng(0)
    frames = [
        pl.DataFrame({"series_id": one, "time": weekdays(n), "close": np.exp(0.01 * rng.normal(size=n).cumsum())})
        for one in series
    ]
    return pl.concat(frames)


def vintages(n=270):
    """A guess ten days before each session, and a better one on the session before."""
    rng = np.random.default_rng(1)
    parts = [
        pl.DataFrame(
            {
                "time": weekdays(n),
                "load": rng.normal(size=n),
                "available_at": [d - timedelta(days=k) for d in weekdays(n)],
            }
        )
        for k in (10, 1)
    ]
    return pl.concat(parts)


def gru(**settings):
    return GRUForecaster(HORIZON, LOOKBACK, schema=SCHEMA, hidden_size=4, max_epochs=1, **settings)


def regression(schema=SCHEMA):
    return VolatilityRegression(HORIZON, LOOKBACK, schema=schema)


PANEL = with_future(prices(), vintages(), HORIZON, SCHEMA)
MODELS = {"gru": gru, "regression": regression, "average": lambda: Average([gru(), regression()])}


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    return MODELS[request.param]().fit(PANEL.filter(pl.col("time") <= weekdays(200)[-1]))


def test_a_forecast_depends_on_what_the_origin_knew_and_on_nothing_later(fitted):
    origin = weekdays(220)[-1]
    before = fitted.predict(PANEL, origins=[origin])
    closing = datetime.combine(origin, datetime.min.time()) + timedelta(days=1)

    def forecasts(change):
        return fitted.predict(with_future(prices(), change(vintages()), HORIZON, SCHEMA), origins=[origin])

    later = pl.col("available_at") > closing
    revised = forecasts(lambda table: table.with_columns(pl.when(later).then(99.0).otherwise("load").alias("load")))
    assert revised.equals(before)
    assert forecasts(lambda table: table.filter(~later)).equals(before)
    known = forecasts(lambda table: table.with_columns(pl.when(~later).then(99.0).otherwise("load").alias("load")))
    if not isinstance(fitted, GRUForecaster):  # one epoch may have taught it nothing
        assert not known.equals(before)


def test_the_same_values_passed_as_future_give_the_same_forecasts(fitted):
    bare = prices().with_columns(load=pl.lit(None, pl.Float64))
    assert fitted.predict(bare, origins="all", future=vintages()).equals(fitted.predict(PANEL, origins="all"))


def test_prices_without_the_covariate_once_gave_the_advice_to_rename_a_price(fitted):
    with pytest.raises(ValueError, match=r"'load' with the values of its own sessions, .* Add it, or let with_future"):
        fitted.predict(prices(), future=vintages())
    with pytest.raises(ValueError, match="Did you mean 'loads'"):
        fitted.predict(prices().with_columns(loads=pl.lit(1.0)), future=vintages())


def test_the_rows_after_an_origin_are_not_needed(fitted):
    origin = weekdays(220)[-1]
    cut = PANEL.filter(pl.col("time") <= origin)
    assert fitted.predict(cut).equals(fitted.predict(PANEL, origins=[origin]))


def test_update_and_save_keep_what_the_newest_row_knew(fitted, tmp_path):
    later = PANEL.filter(pl.col("time") > weekdays(200)[-1])
    updated = fitted.__copy__()
    for time in later["time"].unique().sort()[:5]:
        updated.update(later.filter(time=time))
    expected = fitted.predict(PANEL, origins=[weekdays(205)[-1]])
    found = updated.predict()
    assert found.select(pl.exclude(pl.Float64)).equals(expected.select(pl.exclude(pl.Float64)))
    numbers = pl.col(pl.Float64)
    np.testing.assert_allclose(found.select(numbers).to_numpy(), expected.select(numbers).to_numpy(), rtol=1e-6)
    updated.save(tmp_path / "model")
    loaded = load_forecaster(tmp_path / "model")
    assert loaded.predict().equals(found)
    assert loaded.predict(PANEL).equals(fitted.predict(PANEL))
    bare = updated.__copy__().update(prices(206).filter(pl.col("time") == weekdays(206)[-1]).with_columns(load=0.0))
    with pytest.warns(UserWarning, match="The future covariate 'load' should be known for each session"):
        bare.predict()
    assert bare.predict(future=vintages())["forecast"].is_finite().all()


def test_a_pandas_panel_brings_its_lists(fitted):
    found = fitted.predict(PANEL.to_pandas())
    numbers = pl.col(pl.Float64)
    expected = fitted.predict(PANEL).select(numbers).to_numpy()
    np.testing.assert_array_equal(pl.from_pandas(found).select(numbers).to_numpy(), expected)


def test_it_is_causal():
    assert_causal(regression(), PANEL)


def test_a_covariate_may_also_be_one_of_the_past():
    schema = PanelSchema(calendar="weekdays", future=("load",), covariates=("load",))
    model = VolatilityRegression(HORIZON, LOOKBACK, schema=schema).fit(PANEL)
    assert "load" in model.inputs_
    assert "load at the step" in model.coefficients_["term"].to_list()


def test_lists_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="'load_ahead' must hold a value for each of the 3 steps, found lists of 2"):
        regression().fit(with_future(prices(), vintages(), 2, SCHEMA))


def test_a_model_of_another_library_gets_what_its_origins_knew():
    seen = {}

    class Outside:
        horizon, target, schema = HORIZON, "close", SCHEMA

        def fit(self, X):
            return self

        def predict(self, X):
            origin = X.filter(pl.col("close").is_not_null())["time"].max()
            seen[origin] = X.filter(pl.col("time") > origin)
            last = X.filter(time=origin)
            steps = [
                last.select("series_id", origin="time", step=pl.lit(k, pl.Int32), forecast="close").with_columns(
                    time=seen[origin].filter(series_id="a").sort("time")["time"][k - 1]
                )
                for k in (1, 2, 3)
            ]
            return pl.concat(steps)

    backtest(Outside(), PANEL, RollingOrigin(n_splits=1, horizon=HORIZON, stride=4))
    assert len(seen) == 4
    for origin, rows in seen.items():
        here = PANEL.filter(series_id="a", time=origin)["load_ahead"].to_list()[0]
        assert rows.filter(series_id="a").sort("time")["load"].to_list() == [None if np.isnan(x) else x for x in here]
        assert rows["load_ahead"].null_count() == len(rows)


def test_volatility_on_event_days_is_learned_and_random_days_teach_nothing():
    rng, times = np.random.default_rng(3), np.array(weekdays(1200), dtype=object)
    panels, told = [], []
    for series in "abcdef":
        at = np.arange(rng.integers(5, 20), len(times), 21)
        volatility = np.full(len(times), 0.01)
        volatility[at] *= 2.5
        close = np.exp((volatility * rng.normal(size=len(times))).cumsum())
        panels.append(pl.DataFrame({"series_id": series, "time": times.tolist(), "close": close}))
        told.append(pl.DataFrame({"series_id": series, "time": times[at].tolist(), "kind": "news"}))
    panel, events, schema = pl.concat(panels), pl.concat(told), PanelSchema(calendar="weekdays")
    wrong = events.with_columns(time=pl.Series(rng.choice(times, len(events)).tolist()))

    def skill(rows, schema):
        model = VolatilityRegression(HORIZON, LOOKBACK, schema=schema)
        table = backtest(model, rows, RollingOrigin(n_splits=1, horizon=HORIZON, stride=500))
        return evaluate(table, rows).summary.filter(group="pooled", model="VolatilityRegression")["skill"][0]

    without = skill(panel, schema)
    with_them = skill(with_events(panel, events, HORIZON, schema), schema.with_events("news"))
    with_wrong = skill(with_events(panel, wrong, HORIZON, schema), schema.with_events("news"))
    assert with_them > without + 0.004
    assert with_wrong < without + 0.001
