"""Columns from the calendar alone, by hand and by property."""

from datetime import date

import polars as pl
import pytest

from tidecast.features import CalendarFeatures, assert_causal, get_calendar


def sessions(name, first, last):
    days = pl.date_range(first, last, eager=True)
    days = days.filter(pl.Series(get_calendar(name).is_session(days)))
    return pl.DataFrame({"series_id": name, "time": days, "close": 1.0, "calendar": name})


def test_the_week_of_thanksgiving_by_hand():
    week = sessions("XNYS", date(2024, 11, 25), date(2024, 12, 2))
    found = CalendarFeatures().fit_transform(week)
    assert (found["sessions_to_holiday"] * 21).to_list() == [2, 1, 0, 17, 16]  # the next one is Christmas
    assert found["days_to_next"].to_list() == [1, 1, 2, 3, 1]
    assert found["month_end"].to_list() == [0, 0, 0, 1, 0]
    assert found["half_day"].to_list() == [0, 0, 0, 1, 0]
    assert found["weekday_sin"].to_list() == pytest.approx([0, 0.7818, 0.9749, -0.4339, 0], abs=1e-4)
    assert found["weekday_cos"].to_list() == pytest.approx([1, 0.6235, -0.2225, -0.9010, 1], abs=1e-4)


def test_each_series_has_the_holidays_of_its_own_calendar():
    may = pl.concat(sessions(name, date(2024, 5, 1), date(2024, 5, 3)) for name in ("XTKS", "XNYS", "24/7"))
    found = CalendarFeatures().fit_transform(may)
    eve = found.filter(pl.col("time") == date(2024, 5, 2)).sort("series_id")  # of Golden Week's second half
    assert eve["series_id"].to_list() == ["24/7", "XNYS", "XTKS"]
    assert (eve["sessions_to_holiday"] * 21).round(6).to_list() == [21, 16, 0]
    assert eve["days_to_next"].to_list() == [1, 1, 5]


def test_ahead_is_what_the_later_row_says_of_itself():
    panel = pl.concat(sessions(name, date(2023, 1, 1), date(2024, 6, 30)) for name in ("XLON", "24/7", "TARGET"))
    own = CalendarFeatures().fit_transform(panel)
    later = CalendarFeatures(ahead=3).fit_transform(panel)
    for name in CalendarFeatures().added_:
        shifted = own.select(pl.col(name).shift(-3).over("series_id")).to_series()
        known = shifted.is_not_null()
        assert later[f"{name}_ahead_3"].filter(known).to_list() == shifted.filter(known).to_list()
    assert later.select(CalendarFeatures(ahead=3).added_).null_count().sum_horizontal()[0] == 0


def test_nothing_looks_ahead_at_rows_and_rows_without_a_price_are_described_too():
    panel = pl.concat(sessions(name, date(2023, 1, 1), date(2023, 12, 29)) for name in ("XNYS", "XTKS"))
    assert_causal(CalendarFeatures(), panel)
    assert_causal(CalendarFeatures("XNYS", ahead=5), panel.filter(series_id="XNYS").drop("calendar"))
    without = panel.with_columns(close=pl.lit(None, dtype=pl.Float64))
    names = CalendarFeatures().added_
    assert (
        CalendarFeatures()
        .fit_transform(without)
        .select(names)
        .equals(CalendarFeatures().fit_transform(panel).select(names))
    )


def test_a_calendar_is_never_guessed():
    panel = sessions("XNYS", date(2024, 1, 1), date(2024, 1, 31)).drop("calendar")
    with pytest.raises(ValueError, match=r"Every series must have a calendar, 'XNYS' has none"):
        CalendarFeatures().fit_transform(panel)
    with pytest.raises(ValueError, match="'every 1d' is of bars within the day"):
        CalendarFeatures("every 1d").fit_transform(panel.with_columns(pl.col("time").cast(pl.Datetime("us"))))
    with pytest.raises(ValueError, match="ahead must be at least 0, got -1"):
        CalendarFeatures("XNYS", ahead=-1).fit(panel)
