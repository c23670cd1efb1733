"""Windows of a panel, against a loop, and as arrays."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from tidecast.features import LogReturn, PanelSchema, PriceFeatures, check_panel, make_windows


def reference(panel, lookback, horizon, features):
    """Window by window; every day is a session."""
    table = features.fit(panel).transform(check_panel(panel))
    for (name,), rows in table.group_by("series_id", maintain_order=True):
        times, level = rows["time"].to_list(), np.log(rows["close"].to_numpy())
        values = rows.select(features.added_).to_numpy()
        for end in range(lookback - 1, len(rows)):
            start = end - lookback + 1
            gaps = [after - before for before, after in zip(times[start:end], times[start + 1 : end + 1], strict=True)]
            ahead = [times[end] + timedelta(k) for k in range(1, horizon + 1)]
            paused = any(gap > timedelta(100) for gap in gaps)
            if paused or np.isnan(values[start : end + 1]).any() or not set(ahead) <= set(times):
                continue
            yield values[start : end + 1], [level[times.index(day)] - level[end] for day in ahead], name, times[end]


def test_windows_match_a_loop_and_cross_no_series_break_or_missing_session(untidy_panel):
    panel = untidy_panel.filter(pl.col("series_id").is_in(["B", "D", "E"]))
    schema = PanelSchema(calendar="24/7")
    found = make_windows(panel, lookback=10, horizon=3, schema=schema)
    X, y, names, origins = zip(*reference(panel, 10, 3, PriceFeatures()), strict=True)
    assert found.X.shape == (len(X), 10, len(PriceFeatures().added_))
    np.testing.assert_array_equal(np.asarray(found.X), X)
    np.testing.assert_allclose(found.y, y, rtol=1e-12, atol=1e-14)
    assert found.series_id.to_list() == list(names)
    assert found.origin.to_list() == list(origins)


def test_a_window_is_a_view_and_slices_gather_what_is_asked(panel):
    X = make_windows(panel, lookback=20, horizon=1, features=LogReturn((1, 5))).X
    whole = np.asarray(X)
    assert np.shares_memory(X[3], X.rows)
    assert X.rows.flags.c_contiguous
    assert X.rows.nbytes * 10 < whole.nbytes
    assert X.ndim == 3
    assert X.dtype == np.float64
    assert len(X) == len(whole)
    mask = np.arange(len(X)) % 7 == 0
    for item in (5, -1, slice(2, 9, 3), mask, [4, 1], (2, -1), (slice(0, 3), slice(None), 1), (Ellipsis, 0), mask):
        np.testing.assert_array_equal(X[item], whole[item])
    np.testing.assert_array_equal(2 * X[:3] + 1, 2 * whole[:3] + 1)
    np.testing.assert_array_equal(-X, -whole)
    np.testing.assert_array_equal(np.exp(X), np.exp(whole))
    with pytest.raises(IndexError):
        X[len(X)]
    with pytest.raises(ValueError, match="must be copied"):
        np.asarray(X, copy=False)


def test_missing_features_are_kept_as_nan_when_asked_for(panel):
    left_out, kept = (make_windows(panel, 8, 1, LogReturn(), missing=missing) for missing in (False, True))
    assert len(kept.X) == len(left_out.X) + panel["series_id"].n_unique()
    assert np.isnan(np.asarray(kept.X)).sum() == panel["series_id"].n_unique()


def test_prices_that_may_be_negative_give_differences(panel):
    windows = make_windows(panel.with_columns(pl.col("close") - 50), 5, 2, schema=PanelSchema(positive=False))
    one = panel.filter(pl.col("series_id") == windows.series_id[0])
    at = one["time"].index_of(windows.origin[0])
    expected = [one["close"][at + k] - one["close"][at] for k in (1, 2)]
    assert windows.y[0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(("lookback", "horizon"), [(0, 1), (1, 0)])
def test_impossible_windows_are_refused(lookback, horizon, panel):
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        make_windows(panel, lookback, horizon)


def test_features_that_drop_or_move_rows_are_refused(panel):
    class Sloppy:
        def __init__(self, change):
            self.change = change

        def fit(self, X):
            return self

        def transform(self, X):
            return self.change(X.with_columns(one=1.0))

    assert make_windows(panel, 5, 1, Sloppy(lambda X: X)).X.shape[2] == 1
    assert make_windows(panel, 5, 1, Sloppy(lambda X: X.to_pandas())).X.shape[2] == 1
    for change in (lambda X: X[1:], lambda X: X.reverse(), lambda X: X.drop("time")):
        with pytest.raises(ValueError, match="must return the rows they were given, in their order; Sloppy did not"):
            make_windows(panel, 5, 1, Sloppy(change))
    with pytest.raises(ValueError, match="X must hold numbers; 'one' hold none"):
        make_windows(panel, 5, 1, Sloppy(lambda X: X.with_columns(one=pl.lit("a"))))
    with pytest.raises(ValueError, match="X must hold numbers; Sloppy added no column"):
        make_windows(panel, 5, 1, Sloppy(lambda X: X.drop("one")))


def test_a_panel_without_a_window_is_refused(panel):
    with pytest.raises(ValueError, match=r"A window needs lookback \+ horizon = 500 \+ 1 rows .* of the 2400 rows"):
        make_windows(panel, 500, 1)
    for lookback, horizon in ((10**6, 1), (5, 10**9)):  # once an IndexError, and minutes of work
        with pytest.raises(ValueError, match="A window needs lookback"):
            make_windows(panel, lookback, horizon)
    gaps = panel.filter(pl.col("series_id") == "A", pl.col("time").dt.day() == 1)
    with pytest.raises(ValueError, match="A window needs lookback"):
        make_windows(gaps, 3 * len(gaps), 1, schema=PanelSchema(calendar="24/7"))


@pytest.mark.parametrize("group", ["future", "static"])
def test_covariates_that_a_window_does_not_hold_are_refused(group, panel):
    """Once, they were left out without a word."""
    with pytest.raises(ValueError, match=f"the {group} covariates 'holiday' in the schema. Take them out of it"):
        make_windows(panel.with_columns(holiday=pl.lit(1.0)), 5, 1, schema=PanelSchema(**{group: ("holiday",)}))


def test_a_gap_of_years_is_no_break_of_yearly_rows():
    """Once, no gap could be longer than 100 days, and no window was left."""
    years = pl.date_range(pl.date(1990, 12, 31), pl.date(2019, 12, 31), "1y", eager=True)
    panel = pl.DataFrame({"series_id": "A", "time": years, "close": np.linspace(1.0, 2.0, 30) + np.arange(30) % 2})
    windows = make_windows(panel, 5, 1, LogReturn())
    assert windows.origin.to_list() == years[5:-1].to_list()  # the first return has no row before


def test_windows_with_missing_features_train_a_regressor_and_targets_are_log_returns(panel):
    windows = make_windows(panel, 4, 2, LogReturn(), missing=True)
    assert np.isnan(np.asarray(windows.X)).any()
    first = panel.filter(series_id="A").sort("time")["close"].to_numpy()
    np.testing.assert_allclose(windows.y[0], np.log(first[[4, 5]] / first[3]))
