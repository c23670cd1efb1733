"""Panels and forecasts through other libraries and back: the same table, or one clear error."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tidecast.forecasting import (
    RandomWalk,
    from_darts,
    from_gluonts,
    from_nixtla,
    from_sktime,
    to_darts,
    to_gluonts,
    to_nixtla,
    to_sktime,
)
from tidecast.forecasting.tables.quantiles import quantile_columns

MONDAY = date(2024, 1, 1)
OLD_PERIODS = pytest.mark.filterwarnings("ignore:Period with BDay freq is deprecated:FutureWarning")  # GluonTS has them
THEIR_WARNINGS = pytest.mark.filterwarnings("default")  # other libraries warn of one another


@st.composite
def panels(draw, whole=False):
    """Series of weekdays; unless `whole`, some days are missing."""
    tables = []
    for name in draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True)):
        n = draw(st.integers(6, 30))
        days = pl.date_range(MONDAY, MONDAY + timedelta(days=60), eager=True)
        days = days.filter(days.dt.weekday() <= 5)[:n]
        kept = [True] * n if whole else [True, *draw(st.lists(st.booleans(), min_size=n - 1, max_size=n - 1))]
        values = draw(st.lists(st.floats(0.1, 1e6), min_size=n, max_size=n))
        table = pl.DataFrame({"series_id": [name] * n, "time": days, "close": values})
        tables.append(table.filter(pl.Series(kept)))
    return pl.concat(tables).sort("series_id", "time")


@st.composite
def forecasts(draw, n_origins=2):
    levels = sorted(draw(st.sets(st.sampled_from([0.025, 0.05, 0.1, 0.3, 0.7, 0.9, 0.95, 0.975]))))
    names = ["forecast", *quantile_columns(levels)]
    rising = np.argsort(np.argsort([0.5, *levels]))
    rows = []
    for name in draw(st.sampled_from([["a"], ["a", "b"]])):
        for k in range(n_origins):
            for step in (1, 2, 3):
                values = np.sort(draw(st.lists(st.floats(1, 1e4), min_size=len(names), max_size=len(names))))[rising]
                times = {"origin": MONDAY + timedelta(days=k), "step": step, "time": MONDAY + timedelta(days=k + step)}
                rows.append({"series_id": name, **times, **dict(zip(names, values, strict=True))})
    table = pl.from_dicts(rows)
    return table.with_columns(pl.col("step").cast(pl.Int32))


@pytest.fixture(scope="module")
def weekdays():
    days = pl.date_range(MONDAY, MONDAY + timedelta(days=40), eager=True)
    days = days.filter(days.dt.weekday() <= 5)
    return pl.DataFrame({"series_id": ["a"] * len(days), "time": days, "close": np.arange(1.0, len(days) + 1)})


@given(panels())
@settings(max_examples=30, deadline=None)
def test_a_panel_through_nixtla_and_sktime_is_the_same(panel):
    assert_frame_equal(from_nixtla(to_nixtla(panel)), panel)
    assert_frame_equal(pl.from_pandas(from_nixtla(to_nixtla(panel.to_pandas()))), panel, check_dtypes=False)
    there = to_sktime(panel)
    assert (there.index.names, list(there.columns)) == (["series_id", "time"], ["close"])
    assert_frame_equal(pl.from_pandas(from_sktime(there)), panel, check_dtypes=False)


@OLD_PERIODS
@given(panels())
@settings(max_examples=30, deadline=None)
def test_a_panel_with_gaps_through_gluonts_is_the_same_and_no_value_moves(panel):
    entries = to_gluonts(panel, freq="B")
    assert_frame_equal(from_gluonts(entries), panel)
    for entry in entries:
        rows = panel.filter(pl.col("series_id") == entry["item_id"])
        places = np.busday_count(MONDAY, rows["time"].to_numpy().astype("datetime64[D]"))
        begin = np.busday_count(MONDAY, entry["start"].start_time.date())
        np.testing.assert_array_equal(entry["target"][places - begin], rows["close"])
        assert np.isnan(entry["target"]).sum() == len(entry["target"]) - len(rows)


@given(forecasts(), forecasts(n_origins=1))
@settings(max_examples=30, deadline=None)
def test_a_forecast_through_nixtla_and_sktime_is_the_same(several, single):
    assert_frame_equal(from_nixtla(to_nixtla(several, "GRU"), "GRU"), several)
    panel = pl.DataFrame({"series_id": ["a", "b"], "time": [MONDAY] * 2, "close": [1.0, 1.0]})
    back = from_sktime(to_sktime(single), panel=panel)
    assert_frame_equal(pl.from_pandas(back), single, check_dtypes=False, check_column_order=False)


def test_levels_have_the_names_of_nixtla():
    table = RandomWalk(horizon=2, lookback=4, quantiles=(0.025, 0.05, 0.95)).fit(walk()).predict()
    frame = to_nixtla(table, model="GRU")
    assert frame.columns == ["unique_id", "ds", "cutoff", "GRU-lo-95", "GRU-lo-90", "GRU", "GRU-hi-90"]


def test_nixtlas_own_forecast_needs_the_panel_for_its_origin():
    frame = pd.DataFrame(
        {
            "unique_id": ["a", "a"], "ds": pd.to_datetime(["2024-01-08", "2024-01-09"]), "GRU-median": [2.0, 3.0],
            "GRU": [9.0, 9.0], "GRU-lo-80": [1.0, 1.0], "GRU-hi-80.0": [4.0, 5.0], "GRUx": [0.0, 0.0],
        }
    )  # fmt: skip
    with pytest.raises(ValueError, match="Pass panel="):
        from_nixtla(frame, "GRU")
    panel = pd.DataFrame({"series_id": ["a"], "time": pd.to_datetime(["2024-01-05"]), "close": [1.0]})
    table = from_nixtla(frame.set_index("unique_id"), "GRU", panel=panel)
    assert table["forecast"].tolist() == [2.0, 3.0]
    assert (table["step"].tolist(), list(table["q0.1"])) == ([1, 2], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"one of 'GRU', 'GRUx'"):
        from_nixtla(frame)


def test_what_crosses_or_lacks_a_step_is_refused_not_repaired():
    rows = {"unique_id": ["a"] * 3, "ds": [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 3)]}
    cut = [date(2024, 1, 1), date(2024, 1, 1), date(2024, 1, 2)]
    frame = pl.DataFrame({**rows, "cutoff": cut, "M": [1.0, 1.0, 1.0], "M-lo-90": [2.0, 0.0, 0.0]})
    with pytest.raises(ValueError, match="same steps"):
        from_nixtla(frame, "M")
    with pytest.raises(ValueError, match="rise with their levels"):
        from_nixtla(frame[:2], "M")
    with pytest.raises(ValueError, match="after their origin"):
        from_nixtla(frame[:2].with_columns(cutoff=date(2024, 1, 3)), "M")
    with pytest.raises(ValueError, match="median"):
        from_nixtla(frame[:2].drop("M"), "M")


def test_irregular_sessions_are_refused_until_a_frequency_is_named(weekdays):
    holiday = weekdays.filter(pl.col("time") != date(2024, 1, 15))
    with pytest.raises(ValueError, match=r"'a' has 2024-01-12 .* and then 2024-01-16.*freq='B'"):
        to_gluonts(holiday)
    (entry,) = to_gluonts(holiday, freq="B")
    assert np.flatnonzero(np.isnan(entry["target"])).tolist() == [10]
    with pytest.raises(ValueError, match="must lie on freq='W-FRI'"):
        to_gluonts(holiday, freq="W-FRI")
    (entry,) = to_gluonts(weekdays)
    assert (entry["start"].freqstr, len(entry["target"])) == ("B", len(weekdays))


@pytest.mark.parametrize(
    ("freq", "period"),
    [("D", "D"), ("B", "B"), ("W-FRI", "W-FRI"), ("ME", "M"), ("QE-DEC", "Q-DEC"), ("30min", "30min")],
)
def test_frequencies_are_found_and_longer_periods_need_a_day(freq, period):
    times = pd.date_range("2024-01-02", periods=12, freq=freq)
    panel = pd.DataFrame({"series_id": "a", "time": times, "close": np.arange(1.0, 13)})
    (entry,) = to_gluonts(panel)
    assert entry["start"].freqstr == period
    back = from_gluonts([entry], freq=freq)
    assert pd.DatetimeIndex(back["time"].to_numpy()).equals(times.as_unit("ns")) or list(
        pd.DatetimeIndex(back["time"].to_numpy())
    ) == list(times)
    if period in ("M", "W-FRI", "Q-DEC"):
        with pytest.raises(ValueError, match="must be given a day"):
            from_gluonts([entry])


def test_times_with_a_zone_become_days_of_their_market_and_bars_utc():
    times = pd.date_range("2024-01-02 16:00", periods=5, freq="B", tz="America/New_York")
    panel = pd.DataFrame({"series_id": "a", "time": times, "close": np.arange(1.0, 6)})
    assert to_nixtla(panel)["ds"].tolist() == list(pd.date_range("2024-01-02", periods=5, freq="B"))
    bars = pd.date_range("2024-01-02 10:00", periods=5, freq="h", tz="America/New_York")
    found = to_nixtla(panel.assign(time=bars))["ds"]
    assert found.tolist() == list(pd.date_range("2024-01-02 15:00", periods=5, freq="h"))
    table = RandomWalk(horizon=1, lookback=4).fit(walk()).predict()
    zoned = table.with_columns(pl.col("origin", "time").cast(pl.Datetime).dt.replace_time_zone("UTC"))
    with pytest.raises(ValueError, match="must have no zone, found UTC"):
        to_nixtla(zoned)


def test_covariates_stay_with_nixtla_and_sktime_and_are_asked_for_elsewhere(weekdays):
    panel = weekdays.with_columns(volume=pl.col("close") * 10)
    assert from_nixtla(to_nixtla(panel)).columns == panel.columns
    assert list(from_sktime(to_sktime(panel)).columns) == panel.columns
    (entry,) = to_gluonts(panel, past=["volume"])
    np.testing.assert_array_equal(entry["past_feat_dynamic_real"], panel["volume"].to_numpy()[None])
    with pytest.raises(ValueError, match="'turnover' not found"):
        to_gluonts(panel, past=["turnover"])


def test_a_hierarchical_index_becomes_joined_names(weekdays):
    frame = to_sktime(weekdays.with_columns(series_id=pl.lit("bank/US")), levels=["sector", "country"])
    assert frame.index.names == ["sector", "country", "time"]
    assert set(from_sktime(frame)["series_id"]) == {"bank/US"}
    odd = frame.rename(index={"US": "U/S"}, level=1)
    with pytest.raises(ValueError, match="must not contain '/'"):
        from_sktime(odd)
    with pytest.raises(ValueError, match="must have 2 parts"):
        to_sktime(weekdays, levels=["sector", "country"])


def test_single_series_periods_and_integers_of_sktime():
    times = pd.period_range("2024-01", periods=3, freq="M")
    series = pd.Series([1.0, 2.0, 3.0], index=times, name="y")
    with pytest.raises(ValueError, match="must be given a day"):
        from_sktime(series)
    found = from_sktime(series, series_id="cpi", freq="ME")
    assert [time.day for time in found["time"]] == [31, 29, 31]
    assert set(found["series_id"]) == {"cpi"}
    with pytest.raises(ValueError, match="must hold times"):
        from_sktime(pd.Series([1.0, 2.0]))
    with pytest.raises(ValueError, match="must name the column"):
        from_sktime(pd.DataFrame({"a": [1.0], "b": [1.0]}, index=pd.to_datetime(["2024-01-02"])))


def test_a_forecast_with_several_origins_is_no_table_of_sktime():
    table = RandomWalk(horizon=2, lookback=4).fit(walk()).predict(walk(), origins="all")
    with pytest.raises(ValueError, match="one origin a series"):
        to_sktime(table)


def walk(n=40):
    rng = np.random.default_rng(0)
    times = [datetime(2024, 1, 1) + timedelta(days=k) for k in range(n)]
    tables = [
        pl.DataFrame({"series_id": name, "time": times, "close": 10 * np.exp(0.01 * rng.normal(size=n).cumsum())})
        for name in "ab"
    ]
    return pl.concat(tables).with_columns(pl.col("time").cast(pl.Date))


# ------------------------------------------------------------- the libraries
@THEIR_WARNINGS
def test_darts_takes_panels_and_forecasts_and_gives_them_back():
    darts = pytest.importorskip(
        "darts", reason="darts is not a dependency; this compares with the real one if it is there"
    )
    series = to_darts(walk())
    assert all(isinstance(one, darts.TimeSeries) for one in series)
    assert_frame_equal(from_darts(series), walk())
    table = RandomWalk(horizon=3, lookback=4).fit(walk()).predict(walk(), origins="all")
    made = to_darts(table)
    assert made[0].components[0] == "close_q0.050"
    assert_frame_equal(from_darts(made), table, check_column_order=False, check_dtypes=False)
    from darts.models import NaiveDrift  # a model of its own reads it

    assert len(NaiveDrift().fit(series[0]).predict(3)) == 3
    gap = walk().filter(pl.col("time") != date(2024, 1, 9))
    with pytest.raises(ValueError, match="equally spaced"):
        to_darts(gap)
    assert_frame_equal(from_darts(to_darts(gap, freq="D")), gap)
    samples = darts.TimeSeries.from_times_and_values(
        pd.date_range("2024-02-10", periods=2), np.random.default_rng(0).normal(10, 1, (2, 1, 500)), columns=["a"]
    )
    drawn = from_darts(samples, panel=walk())
    assert drawn["step"].to_list() == [1, 2]
    assert drawn["q0.05"][0] == pytest.approx(np.quantile(samples.all_values()[0, 0], 0.05))


@THEIR_WARNINGS
def test_gluonts_reads_the_dataset_and_its_forecasts_come_back():
    pytest.importorskip("gluonts", reason="GluonTS is not a dependency; this compares with the real one if it is there")
    from gluonts.dataset.pandas import PandasDataset
    from gluonts.model.seasonal_naive import SeasonalNaivePredictor

    entries = to_gluonts(walk())
    (first, _) = SeasonalNaivePredictor(prediction_length=3, season_length=7).predict(entries)
    assert np.allclose(first.quantile(0.5), walk()["close"][33:36])
    table = from_gluonts([first], panel=walk(), quantiles=(0.1, 0.9))
    assert table["time"].to_list() == [date(2024, 2, 10), date(2024, 2, 11), date(2024, 2, 12)]
    long = walk().to_pandas().assign(time=lambda frame: pd.to_datetime(frame["time"])).set_index("time")
    frames = PandasDataset.from_long_dataframe(long, item_id="series_id", target="close", freq="D")
    assert_frame_equal(from_gluonts(frames), walk())
    forecast = RandomWalk(horizon=3, lookback=4).fit(walk()).predict(walk(), origins="all")
    made = to_gluonts(forecast)
    assert np.allclose(made[0].quantile(0.05), forecast["q0.05"][:3])
    assert_frame_equal(from_gluonts(made), forecast, check_column_order=False, check_dtypes=False)


@THEIR_WARNINGS
def test_sktime_accepts_the_panel_and_its_quantiles_come_back():
    pytest.importorskip("sktime", reason="sktime is not a dependency; this compares with the real one if it is there")
    from sktime.datatypes import check_is_mtype
    from sktime.forecasting.naive import NaiveForecaster, NaiveVariance

    panel = to_sktime(walk())
    assert check_is_mtype(panel, "pd-multiindex")
    model = NaiveVariance(NaiveForecaster()).fit(panel, fh=[1, 2])
    quantiles = model.predict_quantiles(alpha=[0.1, 0.5, 0.9])
    table = from_sktime(quantiles, panel=walk())
    assert table["step"].tolist() == [1, 2, 1, 2]
    assert np.allclose(table["q0.9"], quantiles.iloc[:, 2])
    ours = to_sktime(RandomWalk(horizon=2, lookback=4, quantiles=(0.1, 0.5, 0.9)).fit(walk()).predict())
    assert [level for _, level in ours.columns] == [level for _, level in quantiles.columns]
    assert ours.index.equals(quantiles.index) or list(ours.index) == list(quantiles.index)


@THEIR_WARNINGS
def test_nixtlas_checks_accept_the_panel():
    checks = pytest.importorskip("utilsforecast.validation", reason="utilsforecast is not a dependency")
    for panel in (walk(), walk().to_pandas()):
        checks.validate_format(to_nixtla(panel))
