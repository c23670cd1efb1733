"""Calendars: sessions as integers and back."""

import pickle
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from tidecast.features import get_calendar, infer_calendar


def days(first, last):
    return pl.date_range(first, last, eager=True)


def test_target_is_open_on_exactly_the_days_of_the_ecb(ecb):
    rates = ecb["time"].unique().sort()
    every_day = days(rates[0], rates[-1])
    assert every_day.filter(pl.Series(get_calendar("TARGET").is_session(every_day))).to_list() == rates.to_list()


@pytest.mark.parametrize(
    ("day", "session"),
    [
        (date(2027, 3, 26), date(2027, 3, 25)),  # Good Friday
        (date(2027, 3, 29), date(2027, 3, 25)),  # Easter Monday
        (date(2030, 5, 1), date(2030, 4, 30)),
        (date(2030, 12, 26), date(2030, 12, 24)),
        (date(2031, 1, 1), date(2030, 12, 31)),
        (date(2031, 1, 4), date(2031, 1, 3)),  # a Saturday
        (date(2031, 1, 6), date(2031, 1, 6)),
    ],
)
def test_target_holidays_continue_by_rule(day, session):
    assert get_calendar("TARGET").at_or_before(day) == session


@pytest.mark.parametrize("name", ["weekdays", "24/7", "TARGET", "XNYS", "XTKS", "XSHG"])
def test_sessions_and_numbers_are_each_others_inverse(name):
    calendar = get_calendar(name)
    every_day = days(date(1950, 1, 1), date(2100, 12, 31))
    sessions = every_day.filter(pl.Series(calendar.is_session(every_day)))
    numbers = calendar.numbers(sessions)
    assert numbers.dtype == np.int64
    assert (np.diff(numbers) == 1).all()
    assert calendar.times(numbers).to_list() == sessions.to_list()
    assert calendar.at_or_before(date(2024, 2, 29)) in sessions


def test_the_number_of_a_session_does_not_depend_on_the_other_times():
    calendar = get_calendar("TARGET")
    sessions = pl.Series([date(2024, 1, 2), date(1999, 1, 4), date(2050, 1, 3)])
    assert [calendar.numbers(sessions[k : k + 1])[0] for k in range(3)] == calendar.numbers(sessions).tolist()


def test_weekdays_are_counted_as_numpy_counts_them():
    sessions = days(date(1970, 1, 1), date(2030, 1, 1))
    sessions = sessions.filter(sessions.dt.weekday() <= 5)
    numbers = get_calendar("weekdays").numbers(sessions)
    assert (numbers - numbers[0] == np.busday_count("1970-01-01", sessions.to_numpy().astype("datetime64[D]"))).all()


def test_an_exchange_is_open_when_exchange_calendars_says_so():
    calendar = get_calendar("XNYS")
    assert calendar.time_zone == "America/New_York"
    assert calendar.at_or_before(date(2024, 7, 4)) == date(2024, 7, 3)
    assert calendar.at_or_before(date(2001, 9, 14)) == date(2001, 9, 10)


def test_beyond_the_recorded_holidays_of_an_exchange_every_weekday_is_a_session():
    shanghai = get_calendar("XSHG")  # recorded from 1991 to a year soon after today
    assert not shanghai.is_session(pl.Series([date(2024, 2, 12)]))[0]  # Chinese New Year
    assert shanghai.is_session(pl.Series([date(1970, 2, 6), date(2090, 10, 2)])).all()


def test_a_time_that_is_not_a_session_is_named():
    with pytest.raises(ValueError, match=r"session of the calendar 'TARGET', found '2024-05-01', '2024-05-04'"):
        get_calendar("TARGET").numbers(pl.Series([date(2024, 4, 30), date(2024, 5, 1), date(2024, 5, 4)]))
    assert (
        get_calendar("24/7").is_session(pl.Series([None, date(2500, 1, 1), date(1700, 1, 1)])).tolist() == [False] * 3
    )


def test_an_unknown_calendar_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match=r"got 'target'. Did you mean 'TARGET'\?"):
        get_calendar("target")
    with pytest.raises(ValueError, match="equal steps is spelled like"):
        get_calendar("every now and then")


def test_dates_without_weekends_suggest_weekdays_and_with_them_every_day():
    week = days(date(2024, 1, 1), date(2024, 1, 7))
    assert infer_calendar(week.head(5)).name == "weekdays"
    assert infer_calendar(week).name == "24/7"


@pytest.mark.parametrize(
    ("name", "sessions"),
    [
        ("weekly FRI", [(5, 24), (5, 31), (6, 7), (6, 14)]),
        ("monthly first", [(5, 1), (6, 1), (7, 1), (8, 1)]),
        ("monthly last", [(3, 31), (4, 30), (5, 31), (6, 30)]),
        ("monthly last weekday", [(3, 29), (4, 30), (5, 31), (6, 28)]),
        ("monthly first weekday", [(5, 1), (6, 3), (7, 1), (8, 1)]),
        ("quarterly last", [(3, 31), (6, 30), (9, 30), (12, 31)]),
        ("quarterly first", [(1, 1), (4, 1), (7, 1), (10, 1)]),
    ],
)
def test_one_day_of_each_week_month_or_quarter(name, sessions):
    calendar, found = get_calendar(name), pl.Series([date(2024, month, day) for month, day in sessions])
    assert (np.diff(calendar.numbers(found)) == 1).all()
    assert calendar.at_or_before(found[2] - timedelta(days=1)) == found[1]
    assert infer_calendar(found).name == name
    with pytest.raises(ValueError, match="spelled like 'weekly FRI'"):
        get_calendar(f"{name} or so")


def test_datetimes_suggest_their_most_common_step():
    hours = pl.datetime_range(datetime(2024, 1, 1, 0, 30), datetime(2024, 1, 9), "1h", eager=True)
    calendar = infer_calendar(hours.gather_every(1).filter(hours.dt.hour() != 5))
    assert calendar.name == "every 1h + 30m"
    assert (np.diff(calendar.numbers(hours)) == 1).all()
    assert calendar.times(calendar.numbers(hours)).to_list() == hours.to_list()
    assert calendar.at_or_before(datetime(2024, 1, 1, 2, 10)) == datetime(2024, 1, 1, 1, 30)
    assert calendar.at_or_before(date(2024, 1, 1)) == datetime(2024, 1, 1, 23, 30)
    with pytest.raises(ValueError, match=r"'every 1h . 30m', found '2024-01-01 00:00:00'"):
        calendar.numbers(pl.Series([datetime(2024, 1, 1)]))


def test_nothing_can_be_inferred_from_nothing():
    with pytest.raises(ValueError, match="two times or more, found 1"):
        infer_calendar(pl.Series([datetime(2024, 1, 1, 1)]))
    with pytest.raises(ValueError, match="found 0"):
        infer_calendar(pl.Series([], dtype=pl.Date))


@pytest.mark.parametrize("name", ["weekdays", "24/7", "TARGET", "XLON", "every 15m", "every 7d + 3d"])
def test_names_lead_back_to_their_calendar(name):
    calendar = get_calendar(name)
    assert calendar.name == name
    assert get_calendar(calendar.name) == calendar
    assert pickle.loads(pickle.dumps(calendar)) == calendar
    assert name in repr(calendar)


def test_sessions_may_come_as_datetimes_at_midnight():
    calendar = get_calendar("weekdays")
    midnights = pl.Series([datetime(2024, 1, 2), datetime(2024, 1, 3)])
    assert calendar.numbers(midnights).tolist() == calendar.numbers(midnights.cast(pl.Date)).tolist()
    assert not calendar.is_session(midnights + timedelta(hours=1)).any()


def test_session_numbers_beyond_the_table_are_refused():
    with pytest.raises(ValueError, match="must lie in 0 to"):
        get_calendar("weekdays").times(np.array([-1]))
    with pytest.raises(ValueError, match="between 1800-01-01 and 2199-12-31"):
        get_calendar("weekdays").at_or_before(date(2200, 1, 1))
