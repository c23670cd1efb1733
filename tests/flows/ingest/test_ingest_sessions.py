"""Ingest: the session a run stands on, and the calendars of a panel and its series."""

from datetime import date, timedelta

import pytest

from tests.flows.desk import FRI, MON, TUE, WED, WEEK, Desk
from tidecast.features.calendars.by_name import get_calendar
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.calendars import is_live
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.warehouse.warehouse import Warehouse

# as_of


def test_a_day_that_is_not_a_session_resolves_to_the_session_before(desk):
    found = desk.ingest(*WEEK, "A,2024-01-08,4", as_of=date(2024, 1, 7))
    assert found.as_of == FRI
    assert "2024-01-07 is not a session of weekdays: the run stands on 2024-01-05" in found.messages[-1]


def test_a_day_after_all_prices_resolves_to_the_newest_session(desk):
    found = desk.ingest(*WEEK, as_of=date(2030, 1, 1))
    assert found.as_of == WED
    assert desk.warehouse.newest_seen() == WED
    assert "No price after 2024-01-03 is known" in found.messages[-1]


def test_a_day_before_the_first_price_is_one_clear_error(desk):
    with pytest.raises(SourceError, match="as_of must not lie before the first price, of 2024-01-01, got 2023-12-31"):
        desk.ingest(*WEEK, as_of=date(2023, 12, 31))
    assert desk.warehouse.versions() == {}


def test_forecasts_are_live_up_to_one_session_late():
    weekdays = get_calendar("weekdays")
    assert is_live(FRI, FRI, weekdays)
    assert is_live(FRI, date(2024, 1, 8), weekdays)
    assert is_live(FRI, date(2024, 1, 7), weekdays)
    assert not is_live(FRI, date(2024, 1, 9), weekdays)


def test_the_newest_session_seen_counts_the_source_and_earlier_runs(desk):
    assert desk.ingest(*WEEK, as_of=MON).newest == WED
    assert desk.ingest(*WEEK, as_of=WED).newest == WED
    assert desk.ingest(*WEEK[:2], as_of=MON).newest == WED


# calendar and layout


def test_without_a_calendar_weekdays_are_taken_said_and_decided_for_good(tmp_path):
    desk = Desk(tmp_path)
    found = desk.ingest(*WEEK)
    assert found.settings.calendar == "weekdays"
    assert "No calendar was given: weekdays" in found.messages[-1]
    assert "For another, stop and give --calendar NAME (or TIDECAST_CALENDAR), e.g. XNYS;" in found.messages[-1]
    desk.settings = found.settings
    assert desk.ingest(*WEEK).messages == ()


def test_with_rows_on_weekends_every_day_is_a_session_and_said(tmp_path):
    days = [MON + timedelta(days=day) for day in range(14)]
    found = Desk(tmp_path).ingest(*(f"A,{day},1" for day in days))
    assert found.settings.calendar == "24/7"
    assert "No calendar was given: 24/7 for 1 series ('A'), 100% of 14 sessions have a row." in found.messages[-1]
    assert found.stored == 14


def test_the_bundled_rates_have_the_days_of_target(tmp_path):
    found = ingest(Warehouse(str(tmp_path)), Settings(), date(1999, 2, 1))
    assert (found.settings.calendar, found.quarantined, found.messages) == ("TARGET", {}, ())
    assert found.stored == found.rows_in > 500


def test_the_bundled_spot_prices_have_two_rows_to_quarantine(tmp_path):
    found = ingest(Warehouse(str(tmp_path)), Settings(source="eia"))
    assert (found.settings.calendar, found.quarantined) == ("weekdays", {"missing_price": 1, "not_positive": 1})


def test_a_wide_file_is_remembered_as_wide(tmp_path):
    desk = Desk(tmp_path)
    desk.file.write_text("time,AAPL,MSFT\n2024-01-01,1,2\n2024-01-02,1,\n")
    found = ingest(desk.warehouse, desk.settings)
    assert (found.settings.layout, found.stored) == ("wide", 3)
    desk.file.write_text("time,AAPL,MSFT\n2024-01-01,1,2\n2024-01-02,1,\n2024-01-03,x,x\n2024-01-04,1,x\n")
    again = ingest(desk.warehouse, found.settings)
    assert (again.stored, again.quarantined) == (1, {"unreadable_price": 3})


def test_times_with_a_zone_are_dated_in_the_markets_zone(tmp_path):
    desk = Desk(tmp_path, calendar="XNYS")
    desk.ingest("A,2024-01-03T01:00:00Z,1", "A,2024-01-03T21:00:00Z,2")
    assert desk.warehouse.prices()["time"].to_list() == [TUE, WED]


def test_midnights_of_another_zone_are_the_dates_they_are_written_with_and_said_to_be(tmp_path):
    """Once, they were dated to the day before in New York, and Mondays went to quarantine as Sundays."""
    found = Desk(tmp_path, calendar="XNYS").ingest("A,2024-01-02T00:00:00Z,1", "A,2024-01-08T00:00:00Z,2")
    assert (found.as_of, found.stored, found.quarantined) == (date(2024, 1, 8), 2, {})
    assert "read as the dates they are written with, not converted to the market's zone" in found.messages[0]


def test_many_rows_on_days_without_a_session_are_pointed_out_with_what_to_do(desk):
    days = [MON + timedelta(days=day) for day in range(14)]
    found = desk.ingest(*(f"A,{day},1" for day in days))
    assert (found.stored, found.quarantined) == (10, {"not_a_session": 4})
    assert "4 of 14 rows (29%) are in quarantine because their days are not sessions of weekdays" in found.messages[-1]
    assert "--calendar NAME (or TIDECAST_CALENDAR), 24/7 if every day is a session" in found.messages[-1]


def test_many_prices_with_a_decimal_comma_are_pointed_out_with_what_to_do(desk):
    """Once, a tenth of the rows were missing, and only their number was said."""
    prices = ["1.5", "1.6", '"1,5"', "1.5", "1.6"]
    found = desk.ingest(*(f"A,{MON + timedelta(days=day)},{price}" for day, price in enumerate(prices)))
    assert (found.stored, found.quarantined) == (4, {"unreadable_price": 1})
    assert "1 of 5 rows (20%) are in quarantine by the rule unreadable_price. Prices must be" in found.messages[-1]


def test_a_day_before_all_prices_does_not_choose_the_calendar(tmp_path):
    """Once, a file of every day was taken for one of weekdays, and its first price for that of a Monday."""
    days = [date(2013, 4, 28) + timedelta(days=day) for day in range(14)]  # a Sunday
    with pytest.raises(SourceError, match="the first price, of 2013-04-28, got 2013-01-01"):
        Desk(tmp_path).ingest(*(f"A,{day},1" for day in days), as_of=date(2013, 1, 1))


def test_each_series_keeps_the_calendar_it_names_also_when_later_rows_do_not_name_it(tmp_path):
    desk = Desk(tmp_path, calendar="XNYS")

    def ingest_file(*rows):
        desk.file.write_text("\n".join(["series_id,time,close,calendar", *rows, ""]))
        return ingest(desk.warehouse, desk.settings)

    bitcoin = ("BTC,2024-05-03,1,24/7", "BTC,2024-05-04,1,24/7")
    first = ingest_file(*bitcoin, "7203,2024-05-02,1,XTKS", "AAPL,2024-05-03,1,")
    assert (first.as_of, first.stored, first.quarantined) == (date(2024, 5, 4), 4, {})  # a Saturday
    assert (first.settings.calendar, first.settings.calendars) == ("XNYS", ("24/7", "XTKS"))
    again = ingest_file("BTC,2024-05-05,1,24/7", "7203,2024-05-06,1,", "AAPL,2024-05-06,1,")
    assert (again.as_of, again.stored, again.quarantined) == (date(2024, 5, 6), 2, {"not_a_session": 1})
    assert again.settings == first.settings
    stored = desk.warehouse.prices()
    assert dict(stored.drop_nulls("calendar").select("series_id", "calendar").iter_rows()) == {
        "BTC": "24/7", "7203": "XTKS",
    }  # fmt: skip


def test_an_inferred_calendar_of_a_series_is_stored_and_kept_when_newer_rows_are_few(tmp_path):
    desk = Desk(tmp_path)
    shares = [day for day in (date(2024, 1, 1) + timedelta(days=at) for at in range(60)) if day.weekday() < 5]
    every_day = [date(2024, 1, 1) + timedelta(days=at) for at in range(60)]
    rows = [f"A,{day},1" for day in shares] + [f"B,{day},1" for day in shares] + [f"C,{day},1" for day in every_day]
    first = desk.ingest(*rows)
    assert (first.settings.calendar, first.settings.calendars, first.quarantined) == ("weekdays", ("24/7",), {})
    desk.settings = first.settings
    saturday = date(2024, 3, 2)
    again = desk.ingest(f"A,{saturday},1", f"C,{saturday},1")
    assert (again.stored, again.quarantined) == (1, {"not_a_session": 1})


def test_a_newest_week_that_ends_a_day_early_once_passed_without_a_word(tmp_path):
    fridays = [FRI + timedelta(weeks=week) for week in range(30)]
    desk = Desk(tmp_path)
    desk.settings = desk.ingest(*(f"A,{day},1" for day in fridays[:-1])).settings
    assert desk.settings.calendar == "weekly FRI"
    thursday = fridays[-1] - timedelta(days=1)
    found = desk.ingest(*(f"A,{day},1" for day in (*fridays[:-1], thursday)))
    assert found.quarantined == {"not_a_session": 1}
    assert "The newest days must be sessions of weekly FRI, found 1 row after" in found.messages[-1]
    assert f"('A' at {thursday})" in found.messages[-1]
    assert "--calendar 'weekly last XNYS'" in found.messages[-1]
    assert desk.ingest(*(f"A,{day},1" for day in fridays)).messages == ()
