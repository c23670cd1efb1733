"""Rolling-origin splits."""

import itertools
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from tidecast.features.frames import like, to_polars
from tidecast.forecasting.evaluation.splits import Fold, RollingOrigin

DAY = [date(2024, 1, 1) + timedelta(days=k) for k in range(400)]


def panel(n_sessions, series=("a", "b", "c"), seed=0):
    rng = np.random.default_rng(seed)
    walks = np.exp(0.01 * rng.normal(size=(len(series), n_sessions)).cumsum(axis=1))
    return pl.concat(
        pl.DataFrame({"series_id": name, "time": DAY[:n_sessions], "close": walk})
        for name, walk in zip(series, walks, strict=True)
    )


def test_two_folds_of_a_ten_row_series_are_as_written_out_by_hand():
    splits = RollingOrigin(n_splits=2, horizon=2, stride=2).split(panel(10, ["a"]))
    (train_1, test_1), (train_2, test_2) = ((list(train), list(test)) for train, test in splits)
    assert train_1 == [0, 1, 2, 3, 4]  # origins are rows 4 and 5, whose second steps are rows 6 and 7
    assert test_1 == [0, 1, 2, 3, 4, 5, 6, 7]
    assert train_2 == [0, 1, 2, 3, 4, 5, 6]
    assert test_2 == list(range(10))


def test_a_gap_ends_the_training_rows_earlier_and_moves_nothing_else():
    without, with_gap = (RollingOrigin(2, horizon=2, stride=2, gap=gap).folds(panel(10)) for gap in (0, 1))
    assert without[0] == Fold(DAY[0], DAY[4], DAY[4], DAY[5], DAY[7])
    assert with_gap[0] == Fold(DAY[0], DAY[3], DAY[4], DAY[5], DAY[7])


@pytest.mark.parametrize("gap", [0, 3])
def test_a_sliding_window_keeps_its_length_and_its_ends(gap):
    expanding, sliding = (RollingOrigin(4, 5, 11, window, gap).folds(panel(120)) for window in ("expanding", "sliding"))
    assert {fold.train_end - fold.train_start for fold in sliding} == {expanding[0].train_end - DAY[0]}
    ends = [(f.train_end, f.first_origin, f.last_origin, f.end) for f in sliding]
    assert ends == [(f.train_end, f.first_origin, f.last_origin, f.end) for f in expanding]


def test_origins_of_consecutive_folds_are_adjacent_and_the_last_fold_ends_with_the_panel():
    folds = RollingOrigin(n_splits=5, horizon=3, stride=7).folds(panel(100))
    for before, after in itertools.pairwise(folds):
        assert after.first_origin - before.last_origin == timedelta(days=1)
    assert folds[-1].end == DAY[99]
    assert folds[-1].last_origin == DAY[96]


@pytest.mark.parametrize("gap", [0, 4])
@pytest.mark.parametrize("window", ["expanding", "sliding"])
def test_no_training_target_lies_after_the_first_origin(window, gap):
    frame = panel(150)
    cv = RollingOrigin(n_splits=6, horizon=5, stride=10, window=window, gap=gap)
    for (train, test), fold in zip(cv.split(frame), cv.folds(frame), strict=True):
        assert frame[train]["time"].max() == fold.first_origin - timedelta(days=gap)
        assert set(train) <= set(test)
        assert frame[test]["time"].max() == fold.last_origin + timedelta(days=5)


def test_positions_are_those_of_an_unsorted_panel_in_polars_and_pandas():
    frame = panel(60)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    cv = RollingOrigin(n_splits=3, horizon=2, stride=5)
    for kind in (shuffled, shuffled.to_pandas().set_index("series_id", drop=False)):
        for (train, test), (train_sorted, test_sorted) in zip(cv.split(kind), cv.split(frame), strict=True):
            assert shuffled[train].sort("series_id", "time").equals(frame[train_sorted])
            assert shuffled[test].sort("series_id", "time").equals(frame[test_sorted])


def test_a_session_that_only_one_series_has_counts_once():
    frame = pl.concat([panel(30, ["a"]), panel(31, ["b"])]).filter(pl.col("time") != DAY[12])
    fold = RollingOrigin(n_splits=1, horizon=1, stride=1).folds(frame)[0]
    assert (fold.first_origin, fold.end) == (DAY[29], DAY[30])


def test_too_few_sessions_are_refused_with_both_numbers():
    cv = RollingOrigin(n_splits=5, horizon=5, stride=21, gap=2)
    assert len(cv.folds(panel(117))) == 5
    with pytest.raises(ValueError, match=r"need at least 117 sessions .*the panel has 116"):
        list(cv.split(panel(116)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_splits": 0}, "n_splits must be at least 1, got 0"),
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"stride": -1}, "stride must be at least 1, got -1"),
        ({"gap": -1}, "gap must be at least 0, got -1"),
        ({"window": "rolling"}, 'window must be "expanding" or "sliding", got \'rolling\''),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        RollingOrigin(**settings)


def test_a_stride_that_is_not_a_whole_number_is_refused():
    with pytest.raises(TypeError, match=r"stride must be a whole number, got 2\.5"):
        RollingOrigin(stride=2.5)


def test_a_lazy_frame_and_a_panel_without_times_are_refused():
    with pytest.raises(TypeError, match="LazyFrame"):
        RollingOrigin().folds(panel(200).lazy())
    with pytest.raises(ValueError, match=r"'time'.*Did you mean 'Time'"):
        RollingOrigin().folds(panel(200).rename({"time": "Time"}))


class LagPrice(TransformerMixin, BaseEstimator):
    """Adds the price k rows ago, so it needs history."""

    def __init__(self, k=1):
        self.k = k

    def fit(self, X, y=None):
        self.columns_ = list(X.columns)
        return self

    def transform(self, X):
        lagged = pl.col("close").shift(self.k).over("series_id", order_by="time").alias("lagged")
        return like(to_polars(X).with_columns(lagged), X)


class Blend(BaseEstimator):
    """Forecasts a blend of two prices, one session ahead; remembers which origins it was scored on."""

    scored: list = []  # noqa: RUF012 (shared by all clones on purpose)

    def __init__(self, share=0.0):
        self.share = share

    def fit(self, X, y=None):
        self.fit_end_ = X["time"].max()
        return self

    def predict(self, X):
        return X

    def score(self, X, y=None):
        frame = to_polars(X).sort("series_id", "time").with_columns(truth=pl.col("close").shift(-1).over("series_id"))
        new = frame.filter(pl.col("time") >= self.fit_end_, pl.col("truth").is_not_null())
        origins = new["time"].cast(pl.Date)
        Blend.scored.append((origins.min(), origins.max(), new["lagged"].null_count()))
        guess = pl.col("close") * (1 - self.share) + pl.col("lagged") * self.share
        return -new.select((pl.col("truth") - guess).abs().mean()).item()


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_a_grid_search_over_a_pipeline_scores_each_folds_own_origins_with_their_history(kind):
    frame = panel(80).sample(fraction=1, shuffle=True, seed=2)
    cv = RollingOrigin(n_splits=3, horizon=1, stride=4)
    Blend.scored.clear()
    choices = {"lagprice__k": [1, 5], "blend__share": [0.0, 1.0]}
    search = GridSearchCV(make_pipeline(LagPrice(), Blend()), choices, cv=cv, error_score="raise")
    search.fit(frame if kind == "polars" else frame.to_pandas())
    assert search.best_params_["blend__share"] == 0.0
    expected = {(fold.first_origin, fold.last_origin, 0) for fold in cv.folds(frame)}
    assert set(Blend.scored) == expected


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_closes_at_two_hours_of_a_day_once_counted_as_two_sessions(zone):
    dates = panel(30)
    hour = pl.when(pl.col("series_id") == "a").then(16).otherwise(17)
    stamped = dates.with_columns(
        time=pl.col("time").cast(pl.Datetime("us")).dt.replace_time_zone(zone) + pl.duration(hours=hour)
    )
    splitter = RollingOrigin(n_splits=3, horizon=2, stride=5)
    for (train, test), (train_of_days, test_of_days) in zip(
        splitter.split(stamped), splitter.split(dates), strict=True
    ):
        np.testing.assert_array_equal(train, train_of_days)
        np.testing.assert_array_equal(test, test_of_days)


def test_bars_within_the_day_stay_sessions_of_their_own():
    bars = panel(30).with_columns(
        time=pl.lit(DAY[0]).cast(pl.Datetime("us")) + pl.duration(hours=pl.int_range(pl.len()).over("series_id"))
    )
    folds = RollingOrigin(n_splits=2, horizon=2, stride=5).folds(bars)
    assert folds[-1].end == bars["time"].max()
    assert len(bars.filter(pl.col("time") <= folds[0].end)) == 3 * 25
