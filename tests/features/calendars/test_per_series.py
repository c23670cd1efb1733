"""One calendar per series: numbers, times, closing instants, and what is refused."""

import json
import pickle
from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelCalendar, check_panel, get_calendar

MARKETS = ("XNYS", "XLON", "XTKS", "TARGET", "24/7")


def panel_of(*names, first=date(2023, 12, 1), last=date(2024, 2, 29)):
    """A series per calendar, called like it, with a price on each of its sessions."""
    days = pl.date_range(first, last, eager=True)
    return pl.concat(
        pl.DataFrame({"series_id": name, "time": days.filter(pl.Series(get_calendar(name).is_session(days)))})
        for name in names
    ).with_columns(calendar=pl.col("series_id"), close=1.0)


def test_each_series_counts_its_own_sessions_and_finds_them_again():
    panel = panel_of(*MARKETS)
    calendar = PanelCalendar.of(panel)
    numbers = calendar.numbers(panel)
    for name in MARKETS:
        rows = panel.with_columns(number=numbers).filter(series_id=name)
        assert rows["number"].to_list() == get_calendar(name).numbers(rows["time"]).tolist()
        assert (np.diff(rows["number"]) == 1).all()
    assert calendar.times(panel["series_id"], numbers).to_list() == panel["time"].to_list()
    assert calendar.times(panel["series_id"], numbers).dtype == pl.Date


def test_the_order_of_rows_changes_nothing():
    panel = panel_of(*MARKETS).with_columns(number=PanelCalendar.of(panel_of(*MARKETS)).numbers(panel_of(*MARKETS)))
    shuffled = panel.sample(fraction=1.0, shuffle=True, seed=3)
    calendar = PanelCalendar.of(shuffled)
    assert calendar == PanelCalendar.of(panel)
    assert calendar.numbers(shuffled.drop("calendar")).tolist() == shuffled["number"].to_list()
    assert calendar.times(shuffled["series_id"], shuffled["number"].to_numpy()).to_list() == shuffled["time"].to_list()


def test_sessions_around_holidays_are_each_markets_own():
    series = pl.Series(["XNYS", "XLON", "XTKS", "TARGET", "24/7"])
    calendar = PanelCalendar.of(panel_of(*MARKETS))
    next_of = {
        date(2024, 3, 28): [date(2024, 4, 1), date(2024, 4, 2), date(2024, 3, 29), date(2024, 4, 2), date(2024, 3, 29)],
        date(2024, 5, 2): [date(2024, 5, 3), date(2024, 5, 3), date(2024, 5, 7), date(2024, 5, 3), date(2024, 5, 3)],
        date(2024, 11, 27): [date(2024, 11, 29), *[date(2024, 11, 28)] * 4],  # Thanksgiving
    }
    for day, expected in next_of.items():
        assert calendar.times(series, calendar.through(series, day) + 1).to_list() == expected


def test_a_day_is_converted_to_the_last_session_of_each_calendar():
    series = pl.Series(["XNYS", "24/7", "XTKS"])
    calendar = PanelCalendar.of(panel_of("XNYS", "24/7", "XTKS"))
    saturday = calendar.times(series, calendar.through(series, date(2024, 1, 6)))
    assert saturday.to_list() == [date(2024, 1, 5), date(2024, 1, 6), date(2024, 1, 5)]


def test_a_column_wins_over_the_name_for_all_and_may_be_partly_empty():
    panel = panel_of("XNYS", "24/7", "TARGET").with_columns(
        calendar=pl.when((pl.col("series_id") == "24/7") & (pl.col("time") > date(2024, 1, 1))).then(pl.lit("24/7"))
    )
    calendar = PanelCalendar.of(panel, "weekdays")
    assert [calendar.calendar_of(name).name for name in ("XNYS", "24/7", "TARGET")] == ["weekdays", "24/7", "weekdays"]
    assert calendar.name == "weekdays, 24/7"


def test_without_a_name_for_a_series_its_calendar_is_inferred_from_the_others_left():
    panel = panel_of("XNYS", "24/7").with_columns(calendar=pl.when(pl.col("series_id") == "24/7").then(pl.lit("24/7")))
    assert PanelCalendar.of(panel).calendar_of("XNYS").name == "weekdays"
    unnamed = PanelCalendar.of(panel.drop("calendar"))  # once, one coin made every day a session of all shares
    assert [unnamed.calendar_of(name).name for name in ("XNYS", "24/7")] == ["weekdays", "24/7"]


def test_closing_instants_are_utc_and_follow_daylight_saving_and_half_days():
    rows = [
        ("XNYS", date(2024, 3, 8), datetime(2024, 3, 8, 21, tzinfo=UTC)),
        ("XNYS", date(2024, 3, 11), datetime(2024, 3, 11, 20, tzinfo=UTC)),  # New York's clocks changed on the 10th
        ("XNYS", date(2024, 11, 29), datetime(2024, 11, 29, 18, tzinfo=UTC)),  # the day after Thanksgiving
        ("XLON", date(2024, 3, 28), datetime(2024, 3, 28, 16, 30, tzinfo=UTC)),
        ("XLON", date(2024, 4, 2), datetime(2024, 4, 2, 15, 30, tzinfo=UTC)),
        ("XLON", date(2024, 12, 24), datetime(2024, 12, 24, 12, 30, tzinfo=UTC)),
        ("XTKS", date(2024, 11, 1), datetime(2024, 11, 1, 6, tzinfo=UTC)),
        ("XTKS", date(2024, 11, 5), datetime(2024, 11, 5, 6, 30, tzinfo=UTC)),  # half an hour longer from that day on
        ("TARGET", date(2024, 7, 1), datetime(2024, 7, 1, 14, tzinfo=UTC)),  # 16:00 in Frankfurt
        ("24/7", date(2024, 7, 1), datetime(2024, 7, 2, tzinfo=UTC)),
    ]
    panel = pl.DataFrame(rows, schema=["series_id", "time", "closes"], orient="row")
    calendar = PanelCalendar.of(panel.with_columns(calendar="series_id"))
    assert calendar.closes(panel).to_list() == panel["closes"].to_list()
    assert panel.filter(pl.Series(calendar.is_half_day(panel)))["time"].to_list() == [
        date(2024, 11, 29), date(2024, 12, 24),
    ]  # fmt: skip


def test_the_panels_own_sessions_are_those_of_any_series():
    days = PanelCalendar.of(panel_of("XNYS", "XTKS")).days
    assert days == get_calendar("XNYS | XTKS")
    assert days.at_or_before(date(2024, 5, 5)) == date(2024, 5, 3)  # Tokyo's holiday, not New York's
    assert days.at_or_before(date(2024, 7, 4)) == date(2024, 7, 4)  # and the other way round
    assert days.at_or_before(date(2024, 1, 1)) == date(2023, 12, 29)
    assert PanelCalendar.of(panel_of("XNYS")).days == get_calendar("XNYS")


def test_a_joined_calendar_closes_with_the_last_of_those_that_are_open():
    both = get_calendar("XNYS | XLON")
    days = pl.Series([date(2024, 7, 4), date(2024, 7, 5), date(2024, 5, 6), date(2024, 11, 29), date(2024, 12, 24)])
    assert both.closes(days).dt.hour().to_list() == [15, 20, 20, 18, 18]
    assert both.is_half_day(days).tolist() == [False, False, False, False, True]
    assert pickle.loads(pickle.dumps(both)) == both


def test_it_survives_pickling_and_json():
    calendar = PanelCalendar.of(panel_of("XNYS", "24/7"), "TARGET")
    assert pickle.loads(pickle.dumps(calendar)) == calendar
    assert PanelCalendar.described(json.loads(json.dumps(calendar.describe()))) == calendar
    numbered = PanelCalendar.of(panel_of("XNYS", "24/7").with_columns(pl.col("series_id").rank("dense").cast(pl.Int64)))
    assert PanelCalendar.described(json.loads(json.dumps(numbered.describe()))) == numbered
    assert hash(numbered) != hash(calendar)


def test_series_met_later_bring_their_calendar_along():
    calendar = PanelCalendar.of(panel_of("XNYS"))
    later = panel_of("XNYS", "XTKS")
    assert (calendar.numbers(later) == PanelCalendar.of(later).numbers(later)).all()
    assert calendar.joined(later).calendar_of("XTKS").name == "XTKS"
    assert calendar.joined(panel_of("XNYS")) is calendar
    with pytest.raises(ValueError, match="must have a calendar, 'XTKS' has none"):
        calendar.numbers(later.drop("calendar"))
    with pytest.raises(ValueError, match="must keep its calendar, 'XNYS' had 'XNYS' and has '24/7' now"):
        calendar.joined(later.with_columns(calendar=pl.lit("24/7")))


def test_what_cannot_be_is_refused_by_name():
    panel = panel_of("XNYS", "XTKS")
    with pytest.raises(ValueError, match=r"must have one calendar, 'XNYS' has '24/7', 'XNYS'"):
        PanelCalendar.of(pl.concat([panel, panel.head(3).with_columns(calendar=pl.lit("24/7"))]))
    with pytest.raises(ValueError, match=r"got 'XNYSE'.* Did you mean"):
        PanelCalendar.of(panel.with_columns(calendar=pl.lit("XNYSE")))
    with pytest.raises(ValueError, match=r"all be of days or all of bars within the day, found every 1h, XNYS, XTKS"):
        PanelCalendar.of(panel, "every 1h")
    with pytest.raises(ValueError, match="'calendar' must hold names of calendars, got Int32"):
        PanelCalendar.of(panel.with_columns(calendar=pl.lit(1)))
    with pytest.raises(ValueError, match="session of the calendar 'XTKS', found '2024-05-03'"):
        PanelCalendar.of(panel).numbers(pl.DataFrame({"series_id": ["XTKS"], "time": [date(2024, 5, 3)]}))
    with pytest.raises(ValueError, match="Only calendars of days can be joined"):
        get_calendar("XNYS | every 1h")


def test_times_with_a_zone_are_dated_by_the_clocks_of_each_market():
    panel = pl.DataFrame(
        {
            "series_id": ["AAPL", "7203", "BTC"],
            "time": [datetime(2024, 7, 1, hour, tzinfo=UTC) for hour in (4, 15, 0)],  # midnights there
            "close": [1.0, 2.0, 3.0],
            "calendar": ["XNYS", "XTKS", None],
        }
    )
    assert dict(check_panel(panel).select("series_id", "time").iter_rows()) == {
        "7203": date(2024, 7, 2), "AAPL": date(2024, 7, 1), "BTC": date(2024, 7, 1),
    }  # fmt: skip
