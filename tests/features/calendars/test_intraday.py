"""Bars inside the sessions of an exchange, named by the instant at which they end."""

import pickle
import warnings
from datetime import date, datetime, timedelta

import exchange_calendars
import numpy as np
import pandas as pd
import polars as pl
import pytest

from tidecast.features import PanelCalendar, check_panel, get_calendar


def bars_of(name, day):
    """The bars that end on this day (UTC)."""
    calendar = get_calendar(name)
    last = calendar.number_at(day)
    ends = calendar.times(np.arange(last - 400, last + 1))
    return [end.strftime("%H:%M") for end in ends if end.date() == day]


def test_bars_lie_inside_the_session_and_are_named_by_their_end():
    usual = bars_of("XNYS 30m", date(2024, 7, 5))
    assert (len(usual), usual[0], usual[-1]) == (13, "14:00", "20:00")  # the session is 13:30 to 20:00 UTC
    assert bars_of("XNYS 1h", date(2024, 7, 5))[-2:] == ["19:30", "20:00"]  # the last bar is shorter
    assert bars_of("XNYS 30m", date(2024, 7, 6)) == []


def test_half_days_have_fewer_bars_and_clocks_that_change_move_them():
    assert (len(bars_of("XNYS 30m", date(2024, 11, 29))), bars_of("XNYS 30m", date(2024, 11, 29))[-1]) == (7, "18:00")
    assert [bars_of("XNYS 30m", day)[0] for day in (date(2024, 3, 8), date(2024, 3, 11))] == ["15:00", "14:00"]
    half = pl.Series([datetime(2024, 11, 29, 15), datetime(2024, 12, 2, 15)])
    assert get_calendar("XNYS 30m").is_half_day(half).tolist() == [True, False]


def test_no_bar_spans_a_lunch_break():
    assert bars_of("XTKS 1h", date(2024, 7, 5)) == ["01:00", "02:00", "02:30", "04:30", "05:30", "06:00"]
    assert bars_of("XHKG 1h", date(2024, 7, 5)) == ["02:30", "03:30", "04:00", "06:00", "07:00", "08:00"]


@pytest.mark.parametrize("name", ["XNYS 30m", "XTKS 1h", "XHKG 7m", "CMES 1h"])
def test_numbers_and_times_are_inverse_and_match_exchange_calendars(name):
    calendar = get_calendar(name)
    code, length = name.split()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exchange = exchange_calendars.get_calendar(code, start="2024-01-01", end="2024-06-30")
        step = pd.Timedelta(length.replace("m", "min"))
        index = exchange.trading_index("2024-01-04", "2024-06-28", step, force=True)
    last = calendar.number_at(date(2024, 6, 28))
    numbers = np.arange(last - 700, last + 1)
    ends = calendar.times(numbers)
    assert calendar.numbers(ends).tolist() == numbers.tolist()
    assert (np.diff(ends.to_physical()) > 0).all()
    theirs = pl.Series(index.right.tz_localize(None).as_unit("us").to_numpy())
    assert ends.to_list() == theirs.tail(701).to_list()


def test_a_time_that_is_not_the_end_of_a_bar_is_refused():
    calendar = get_calendar("XNYS 30m")
    times = [
        datetime(2024, 7, 5, 13, 30),
        datetime(2024, 7, 5, 14),
        datetime(2024, 7, 5, 14, 1),
        datetime(2024, 7, 4, 14),
    ]
    assert calendar.is_session(pl.Series([*times, None])).tolist() == [False, True, False, False, False]
    with pytest.raises(ValueError, match=r"found '2024-07-05 13:30:00'.*named by the instant at which they end"):
        calendar.numbers(pl.Series(times[:1]))


def test_the_bar_at_or_before_an_instant_or_the_end_of_a_day():
    calendar = get_calendar("XNYS 30m")
    for asked, found in {
        datetime(2024, 7, 5, 14, 10): datetime(2024, 7, 5, 14),
        datetime(2024, 7, 5, 14): datetime(2024, 7, 5, 14),
        datetime(2024, 7, 5, 13, 40): datetime(2024, 7, 3, 17),  # a half day, before the Fourth
        date(2024, 7, 7): datetime(2024, 7, 5, 20),
    }.items():
        assert calendar.at_or_before(asked) == found
    assert get_calendar("XTKS 1h").at_or_before(datetime(2024, 7, 5, 3)) == datetime(2024, 7, 5, 2, 30)
    assert calendar.closes(pl.Series([datetime(2024, 7, 5, 14)]))[0].replace(tzinfo=None) == datetime(2024, 7, 5, 14)


def test_a_panel_of_bars_goes_over_the_night_of_each_market():
    rows = {
        "series_id": ["AAPL", "7203"],
        "time": [datetime(2024, 7, 3, 17), datetime(2024, 7, 3, 6)],
        "close": [1.0, 2.0],
        "calendar": ["XNYS 30m", "XTKS 30m"],
    }
    panel = check_panel(pl.DataFrame(rows))
    calendar = PanelCalendar.of(panel)
    following = dict(
        zip(panel["series_id"], calendar.times(panel["series_id"], calendar.numbers(panel) + 1), strict=True)
    )
    assert following == {"AAPL": datetime(2024, 7, 5, 14), "7203": datetime(2024, 7, 4, 0, 30)}


def test_impossible_bars_are_refused_and_possible_ones_pickled():
    for name, match in {
        "24/7 30m": "'24/7' has none. Write 'every 30m'",
        "XNYS 0m": "shorter than a day, got 'XNYS 0m'",
        "XNYSE 5m": "Did you mean 'XNYS'",
    }.items():
        with pytest.raises(ValueError, match=match):
            get_calendar(name)
    calendar = get_calendar("XNYS 30m")
    assert pickle.loads(pickle.dumps(calendar)) == calendar
    with pytest.raises(ValueError, match="Session numbers of 'XNYS 30m' must lie in 0"):
        calendar.times(np.array([-1]))
    assert calendar.times(np.array([0]))[0] - datetime(1800, 1, 1) < timedelta(days=2)
