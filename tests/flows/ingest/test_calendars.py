"""Calendars of a panel: which one each series has, and on which days a run can stand."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelCalendar, get_calendar
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.calendars import choose_calendars, is_live, resolve_as_of, with_inferred
from tidecast.flows.rules.check import check_rows

NOTHING = pl.DataFrame(schema={"series_id": pl.String, "calendar": pl.String})


def rows(*named):
    return pl.DataFrame(
        [(series, date(2024, 5, day), calendar) for series, calendar in named for day in (2, 3)],
        schema={"series_id": pl.String, "time": pl.Date, "calendar": pl.String}, orient="row",
    )  # fmt: skip


def test_a_series_has_the_calendar_it_names_and_the_others_that_of_the_panel():
    given = rows(("BTC", "24/7"), ("7203", "XTKS"), ("AAPL", None))
    calendar, settings, notes = choose_calendars(Settings(calendar="XNYS"), given, NOTHING)
    assert [calendar.calendar_of(name).name for name in ("BTC", "7203", "AAPL")] == ["24/7", "XTKS", "XNYS"]
    assert (settings.calendar, settings.calendars) == ("XNYS", ("24/7", "XTKS"))
    assert notes == ("Series that name their calendar: 1 XTKS, 1 24/7.",)
    assert settings.sessions == get_calendar("24/7 | XNYS | XTKS")


def test_a_calendar_named_before_counts_when_newer_rows_do_not_name_it():
    stored = pl.DataFrame({"series_id": ["7203"], "calendar": ["XTKS"]})
    calendar, settings, _ = choose_calendars(Settings(calendar="XNYS"), rows(("7203", None)), stored)
    assert calendar.calendar_of("7203").name == "XTKS"
    assert settings.calendars == ("XTKS",)
    with pytest.raises(SourceError, match="'7203' has '24/7', 'XTKS'"):
        choose_calendars(Settings(), rows(("7203", "24/7")), stored)


def test_where_every_series_names_its_calendar_the_panels_is_that_of_most_rows():
    given = rows(("BTC", "24/7"), ("AAPL", "XNYS"), ("MSFT", "XNYS"))
    _, settings, _ = choose_calendars(Settings(source="prices.csv"), given, NOTHING)
    assert (settings.calendar, settings.calendars) == ("XNYS", ("24/7",))
    _, settings, notes = choose_calendars(Settings(source="prices.csv"), rows(("AAPL", None)), NOTHING)
    assert (settings.calendar, settings.calendars) == ("weekdays", ())
    assert "No calendar was given" in notes[0]


def days_of(name, n_rows, series):
    """Rows of a series on the newest sessions of a calendar."""
    calendar = get_calendar(name)
    last = calendar.number_at(date(2024, 5, 31))
    times = calendar.times(np.arange(last - n_rows + 1, last + 1))
    return pl.DataFrame({"series_id": series, "time": times})


def test_series_that_name_no_calendar_have_the_one_that_their_rows_show():
    """Once, a share in a panel with a coin was forecast for Saturday, and a month-end series for tomorrow."""
    given = pl.concat([days_of("weekdays", 300, "A"), days_of("weekdays", 290, "B"), days_of("24/7", 300, "C"),
                       days_of("monthly last", 40, "M")])  # fmt: skip
    calendar, settings, notes = choose_calendars(Settings(source="prices.csv"), given, NOTHING)
    assert [calendar.calendar_of(name).name for name in "ABCM"] == ["weekdays", "weekdays", "24/7", "monthly last"]
    assert (settings.calendar, settings.calendars) == ("weekdays", ("24/7", "monthly last"))
    assert notes[0].startswith(
        "No calendar was given: weekdays for 2 series ('A', 'B'), 100% of 590 sessions have a row."
    )
    assert notes[1] == "Some series have another calendar: 24/7 for 1 series ('C'), 100% of 300 sessions have a row."
    kept = with_inferred(given, calendar).drop_nulls().unique(["series_id", "calendar"]).sort("series_id")
    assert kept.select("series_id", "calendar").rows() == [("C", "24/7"), ("M", "monthly last")]


def test_one_saturday_and_doubt_are_reported():
    odd = pl.concat([days_of("weekdays", 300, "A"), pl.DataFrame({"series_id": "A", "time": [date(2024, 5, 4)]})])
    _, settings, notes = choose_calendars(Settings(source="prices.csv"), odd, NOTHING)
    assert settings.calendar == "weekdays"
    assert "1 of 301 rows is not a session" in notes[0]
    _, settings, notes = choose_calendars(Settings(source="prices.csv"), days_of("daily SUN-THU", 90, "A"), NOTHING)
    assert settings.calendar == "daily SUN-THU"
    assert "In doubt: its days are SUN-THU" in notes[1]


def test_weekends_that_were_filled_with_fridays_price_are_pointed_out():
    """Once, shares with such rows became 24/7 in silence, and a weekend counted as two calm sessions."""
    days = pl.date_range(date(2024, 1, 1), date(2024, 3, 31), eager=True)
    coin = pl.DataFrame({"series_id": "BTC", "time": days, "close": 100.0 + np.arange(len(days))})
    friday = pl.when(pl.col("time").dt.weekday() <= 5).then("close").forward_fill()
    share = coin.with_columns(friday.alias("close"), series_id=pl.lit("AAPL"))
    _, settings, notes = choose_calendars(Settings(source="prices.csv"), pl.concat([coin, share]), NOTHING)
    assert settings.calendar == "24/7"
    assert "The prices of 'AAPL' never change on Saturdays and Sundays" in notes[-1]
    _, _, notes = choose_calendars(Settings(source="prices.csv"), coin, NOTHING)
    assert not any("never change" in note for note in notes)
    _, _, notes = choose_calendars(Settings(source="prices.csv", calendar="24/7"), share, NOTHING)
    assert notes == ()


def test_a_new_series_of_month_ends_in_a_daily_panel_gets_its_own_calendar_and_the_user_is_notified():
    given = pl.concat([days_of("weekdays", 20, "A"), days_of("monthly last", 40, "M")])
    calendar, settings, notes = choose_calendars(Settings(calendar="weekdays"), given, NOTHING)
    assert [calendar.calendar_of(name).name for name in "AM"] == ["weekdays", "monthly last"]
    assert settings.calendars == ("monthly last",)
    assert notes[0].startswith("Some series do not follow weekdays. They have another calendar from now on")


def test_bars_within_the_day_are_refused():
    with pytest.raises(SourceError, match="needs calendars of days, but 'XNYS 30m' is of bars"):
        choose_calendars(Settings(calendar="XNYS"), rows(("AAPL", "XNYS 30m")), NOTHING)


def test_a_day_is_a_session_when_any_series_has_one():
    sessions = Settings(calendar="XNYS", calendars=("XTKS",)).sessions
    asked = [date(2024, 5, 3), date(2024, 7, 4), date(2024, 5, 5)]  # holidays in Tokyo, in New York, a Sunday
    found = [resolve_as_of(day, sessions, date(2024, 1, 2), date(2024, 8, 1), date(2024, 8, 1))[0] for day in asked]
    assert found == [date(2024, 5, 3), date(2024, 7, 4), date(2024, 5, 3)]
    assert is_live(date(2024, 5, 2), date(2024, 5, 3), sessions)
    assert not is_live(date(2024, 5, 2), date(2024, 5, 6), sessions)


def test_the_session_rule_asks_each_series_own_calendar():
    given = rows(("BTC", "24/7"), ("7203", "XTKS"), ("AAPL", "XNYS")).with_columns(close=1.0)
    saturday = given.filter(pl.col("time") == date(2024, 5, 3)).with_columns(time=date(2024, 5, 4))
    given = pl.concat([given, saturday])
    checked = check_rows(given, given.clear(), PanelCalendar.of(given), Settings())
    bad = given.filter(checked.rule == "not_a_session").select("series_id", "time").rows()
    assert bad == [("7203", date(2024, 5, 3)), ("7203", date(2024, 5, 4)), ("AAPL", date(2024, 5, 4))]
    nameless = saturday.with_columns(series_id=pl.lit(None, pl.String), calendar=pl.lit(None, pl.String))
    assert not PanelCalendar.named(given, "weekdays").is_session(nameless).any()
