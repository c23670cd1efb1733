"""Taking in new rows: row by row, or many at once, as if the whole history had been given."""

import copy
import itertools
import pickle
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import make_pipeline

from tests.forecasting import models
from tidecast.features import LogReturn, PanelSchema, RollingVolatility
from tidecast.forecasting import LSTMForecaster, MinGRUForecaster, RandomWalk, SeasonalNaive, load_forecaster

NETWORK = {**models.NETWORK, "hidden_size": 4}
FORECASTERS = models.BASELINES | models.REGRESSIONS | {kind.__name__: kind(**NETWORK) for kind in models.CELLS}
FORECASTERS["SeasonalNaive"] = SeasonalNaive(lookback=16, season=12)
FORECASTERS["MinGRUForecaster"] = MinGRUForecaster(**NETWORK, kernel_size=3)
FORECASTERS["two layers, other features"] = LSTMForecaster(
    **NETWORK,
    num_layers=2,
    schema=PanelSchema(positive=False, covariates=("news",)),
    features=make_pipeline(LogReturn(), RollingVolatility(5)),
)

every = pytest.mark.parametrize("name", FORECASTERS)
some = pytest.mark.parametrize("name", ["SeasonalNaive", "GRUForecaster", "two layers, other features"])


@pytest.fixture(scope="module")
def prices(untidy_panel):
    """The untidy panel; near its end E pauses for half a year, F ends, and AA, a new series, begins."""
    day = pl.int_range(pl.len()).over("series_id")
    rows = untidy_panel.sort("series_id", "time").with_columns(news=pl.int_range(pl.len()) % 7)
    reach = pl.col("close").abs() * (0.001 + 0.01 * (day % 5))
    rows = rows.with_columns(high=pl.col("close") + reach, low=pl.when(day % 11 != 3).then(pl.col("close") - reach))
    paused = pl.when((pl.col("series_id") == "E") & (day >= 385)).then(pl.col("time").dt.offset_by("26w"))
    late = rows.filter(pl.col("series_id") == "F", day > 378).with_columns(series_id=pl.lit("AA"))
    ended = (pl.col("series_id") == "F") & (day > 395)
    return pl.concat([rows.filter(~ended).with_columns(time=paused.otherwise("time")), late])


@pytest.fixture(scope="module")
def cut(prices):
    return prices["time"].unique().sort()[-40]


@pytest.fixture(scope="module")
def fitted(prices, cut):
    return {name: clone(model).fit(prices.filter(pl.col("time") <= cut)) for name, model in FORECASTERS.items()}


@pytest.fixture
def model(name, fitted):
    """A copy, to be updated."""
    return pickle.loads(pickle.dumps(fitted[name]))


def assert_close(found, expected, rtol=2e-5):
    """Equal tables, but for a share `rtol` of what the quantiles span: networks run in float32."""
    keys = ["series_id", "origin", "step", "time"]
    assert found.select(keys).equals(expected.select(keys))
    found, expected = (table.drop(keys).to_numpy() for table in (found, expected))
    span = np.ptp(expected, axis=1, keepdims=True)
    assert (np.abs(found - expected) <= rtol * span + 1e-9 * np.abs(expected)).all()


# ------------------------------------------------------------------ as the whole history
def test_ranges_are_seen_where_there_are_any_and_then_needed(fitted, prices, cut):
    model = fitted["GRUForecaster"]
    assert model.inputs_[-2:] == ["range_ratio_2", "range_ratio_5"]
    closes = prices.drop("high", "low")
    assert "range_ratio_2" not in clone(model).fit(closes.filter(pl.col("time") <= cut)).inputs_
    with pytest.raises(ValueError, match="high"):
        model.predict(closes)
    with pytest.raises(ValueError, match="high"):
        model.update(closes.filter(pl.col("time") > cut))


@every
def test_row_by_row_is_the_whole_history(name, model, prices, cut):
    before = model.predict()
    newer = prices.filter(pl.col("time") > cut).sort("time", "series_id")
    times = newer["time"].unique().sort()
    for n, now in enumerate(times):
        rows = newer.filter(pl.col("time") == now)
        if n % 4 == 1:  # series by series, or all of a session at once
            for row in rows.sample(fraction=1, shuffle=True, seed=n).iter_slices(1):
                assert model.update(row) is model
        else:
            model.update(rows.sample(fraction=1, shuffle=True, seed=n))
        if n % 16 == 0 or now == times[-1]:
            whole = prices.filter(pl.col("time") <= now)
            assert_close(model.predict(), model.predict(whole))
            skipped = model.skipped_
            model.predict()
            assert model.skipped_ == skipped
    assert model.fit_end_ == cut
    assert not model.predict().equals(before)


@some
def test_many_rows_at_once_are_as_row_by_row(name, model, prices, cut):
    newer = prices.filter(pl.col("time") > cut)
    middle = newer["time"].unique().sort()[14]
    model.update(newer.filter(pl.col("time") <= middle).to_pandas())
    model.update(newer.filter(pl.col("time") > middle).sample(fraction=1, shuffle=True, seed=0))
    assert_close(model.predict(), model.predict(prices))


@some
def test_after_fit_and_after_update_the_origins_of_a_panel_are_those_taken_one_by_one(name, model, prices, cut):
    every_origin = model.predict(prices, origins="all").filter(pl.col("origin") > cut)
    newer = prices.filter(pl.col("time") > cut, series_id="F").sort("time")
    for row in newer.iter_slices(1):
        model.update(row)
        now = row["time"][0]
        found = model.predict().filter(series_id="F", origin=now)
        assert_close(found, every_origin.filter(series_id="F", origin=now))


@some
def test_a_new_series_is_forecast_from_its_lookback_th_row_on(name, model, prices):
    walk = prices.filter(series_id="F").with_columns(series_id=pl.lit("new")).tail(20).sort("time")
    model.update(walk[:15])
    assert "new" in (model.predict(), model.skipped_)[1]
    model.update(walk[15:16])
    assert "new" in model.predict()["series_id"]
    assert "new" not in model.skipped_


@some
def test_hours_may_come_one_by_one_midnight_among_them(name, prices, breathing):
    hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 14, 7), "1h", eager=True)
    hourly = breathing.with_columns(time=pl.concat([hours] * 4), news=1)
    model = clone(FORECASTERS[name]).fit(hourly.filter(pl.col("time") < datetime(2024, 1, 13, 22)))
    for now in hours.filter(hours >= datetime(2024, 1, 13, 22)):
        model.update(hourly.filter(time=now))
    assert_close(model.predict(), model.predict(hourly))


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy])
def test_a_copy_goes_its_own_way(way, fitted, prices, cut):
    """One of two shallow copies took in a day, and the other refused that day as too late."""
    first, expected = way(fitted["GRUForecaster"]), fitted["GRUForecaster"].predict()
    newer = prices.filter(pl.col("time") > cut)
    second = way(first)
    assert_close(first.update(newer).predict(), first.predict(prices))
    assert second.predict().equals(expected)
    assert second.update(newer).predict().equals(first.predict())
    assert not hasattr(way(clone(first)), "_carried")


@some
def test_rows_without_a_price_change_nothing(name, model, prices, cut):
    before = model.predict()
    model.update(prices.filter(series_id="C").tail(1).with_columns(time=cut + timedelta(weeks=1), close=None))
    assert model.predict().equals(before)


def test_whole_numbers_and_other_integers_are_taken_as_they_were_in_fit(breathing):
    named = breathing.with_columns(
        pl.col("series_id").replace_strict({"A": 3, "B": 5, "C": 7, "D": 11}, return_dtype=pl.Int16)
    )
    day = breathing["time"].unique().sort()[-2]
    model = RandomWalk(lookback=16).fit(named.filter(pl.col("time") <= day))
    model.update(named.filter(pl.col("time") > day).with_columns(pl.col("series_id").cast(pl.Int64)))
    assert_close(model.predict(), model.predict(named))


# ------------------------------------------------------------------ save and load
def by_pickle(model, folder):
    return pickle.loads(pickle.dumps(model))


def by_folder(model, folder):
    model.save(folder)
    return load_forecaster(folder)


@every
@pytest.mark.parametrize("way", [by_folder, by_pickle])
def test_rows_taken_in_are_saved_to_the_bit_and_continue(name, way, model, prices, cut, tmp_path):
    newer = prices.filter(pl.col("time") > cut)
    middle = newer["time"].unique().sort()[14]
    model.update(newer.filter(pl.col("time") <= middle))
    back = way(model, tmp_path / "model")
    assert back.predict().equals(model.predict())
    rest = newer.filter(pl.col("time") > middle)
    assert back.update(rest).predict().equals(model.update(rest).predict())
    assert back.skipped_ == model.skipped_


# ------------------------------------------------------------------ refusals
@some
def test_rows_at_or_before_what_was_seen_are_refused_and_nothing_is_taken_in(name, model, prices, cut):
    expected = model.predict()
    newer = prices.filter(pl.col("time") > cut)
    seen = prices.filter(pl.col("time") <= cut).sort("time").group_by("series_id").last()
    for late, series in ((seen.filter(series_id="F"), "F"), (seen.filter(series_id="C"), "C")):
        message = f"must be newer .* found 1 row of 1 series .*first '{series}' at {late['time'][0]}, seen up to"
        with pytest.raises(ValueError, match=message):
            model.update(pl.concat([newer, late.select(newer.columns)]))
        assert model.predict().equals(expected)
    assert_close(model.update(newer).predict(), model.predict(prices))


@some
def test_a_second_time_is_too_late(name, model, prices, cut):
    newer = prices.filter(pl.col("time") > cut)
    expected = model.update(newer).predict()
    with pytest.raises(ValueError, match="Give newer rows only"):
        model.update(newer.tail(1))
    assert model.predict().equals(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": -1.0}, "must be above 0"),
        ({"time": date(2400, 1, 1)}, "session of the calendar"),
        ({"series_id": 1}, "'series_id' must hold String as in fit, got Int32"),
    ],
)
def test_impossible_rows_are_refused_whole(change, message, fitted, prices, cut):
    model = pickle.loads(pickle.dumps(fitted["GRUForecaster"]))
    expected = model.predict()
    rows = (
        prices.filter(pl.col("time") > cut).sort("time")[:1].with_columns(**{k: pl.lit(v) for k, v in change.items()})
    )
    with pytest.raises(ValueError, match=message):
        model.update(rows)
    assert model.predict().equals(expected)


class Breaking(LogReturn):
    """Refuses a price of 3."""

    stream = property(lambda self: (_ for _ in ()).throw(AttributeError()))

    def transform(self, X):
        if (X["close"] == 3.0).any():
            raise RuntimeError("no threes")
        return super().transform(X)


def test_features_that_fail_half_way_leave_nothing_half_taken(prices, cut):
    model = clone(FORECASTERS["GRUForecaster"]).set_params(features=Breaking())
    model.fit(prices.filter(pl.col("time") <= cut))
    expected = model.predict()
    newer = prices.filter(pl.col("time") > cut)
    last = newer["time"].max()
    with pytest.raises(RuntimeError, match="no threes"):
        model.update(newer.with_columns(close=pl.when(time=last).then(3.0).otherwise("close")))
    assert model.predict().equals(expected)
    assert_close(model.update(newer).predict(), model.predict(prices))


def test_a_network_that_fails_half_way_leaves_nothing_half_taken(fitted, prices, cut, monkeypatch):
    model = pickle.loads(pickle.dumps(fitted["GRUForecaster"]))
    expected = model.predict()
    newer = prices.filter(pl.col("time") > cut)
    encode, calls = model._network.encode, itertools.count()

    def breaking(x_BTF, state=None):
        if len(x_BTF) and next(calls) == 2:
            raise RuntimeError("broken")
        return encode(x_BTF, state)

    with monkeypatch.context() as patch:
        patch.setattr(model._network, "encode", breaking)
        with pytest.raises(RuntimeError, match="broken"):
            model.update(newer)
    assert model.predict().equals(expected)
    assert_close(model.update(newer).predict(), model.predict(prices))


class Forgetful(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Does not say how far it looks back."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X.with_columns(size=pl.col("close").log().abs())


def test_features_that_do_not_say_what_they_look_back_at_are_not_updated(prices, cut):
    model = clone(FORECASTERS["GRUForecaster"]).set_params(features=Forgetful())
    model.fit(prices.filter(pl.col("time") <= cut))
    assert model.predict().equals(model.predict(prices.filter(pl.col("time") <= cut)))
    with pytest.raises(TypeError, match="must state their min_history; Forgetful does not"):
        model.update(prices.filter(pl.col("time") > cut))
