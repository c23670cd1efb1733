"""Rows of sessions that have not closed wait for a later run, by the calendar of their series."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from tests.flows.desk import Desk
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.closing import open_rows
from tidecast.flows.ingest.drop_folder import ingest_drop_folder
from tidecast.flows.steps.due import latest_day_anywhere
from tidecast.flows.warehouse.warehouse import Warehouse

FRI, MON = date(2024, 3, 8), date(2024, 3, 11)  # the clocks of New York change on the Sunday between
HALF_DAY = date(2024, 7, 3)


def at(day, hour, minute=0):
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def ingest_at(desk, now, *rows, as_of=None):
    return desk.ingest(*rows, as_of=as_of, today=latest_day_anywhere(now), now=now)


@pytest.mark.parametrize(
    ("calendar", "day", "closes"),
    [
        ("XNYS", FRI, at(FRI, 21)),
        ("XNYS", MON, at(MON, 20)),  # daylight saving
        ("XNYS", HALF_DAY, at(HALF_DAY, 17)),
        ("XTKS", MON, at(MON, 6)),
        ("TARGET", MON, at(MON, 15)),  # 16:00 in Frankfurt, when the ECB publishes
        ("24/7", MON, at(date(2024, 3, 12), 0)),
        ("weekdays", MON, at(date(2024, 3, 12), 0)),
        ("weekly last XNYS", FRI, at(FRI, 21)),
        ("monthly last XNYS", date(2024, 3, 28), at(date(2024, 3, 28), 20)),
    ],
)
def test_a_session_counts_from_its_closing_instant_on(tmp_path, calendar, day, closes):
    rows = pl.DataFrame({"row": [0], "series_id": ["A"], "time": [day]})
    one = PanelCalendar.named(rows, calendar)
    assert open_rows(rows, one, closes).is_empty()
    before = closes.replace(hour=closes.hour - 1) if closes.hour else closes.replace(day=closes.day - 1, hour=23)
    waits = open_rows(rows, one, before)
    assert waits["closes"].to_list() == [closes]
    assert open_rows(rows, one, None).is_empty()


def test_a_bar_within_the_day_counts_from_its_end_on():
    ends = [datetime(2024, 3, 8, 15, minute) for minute in (0, 30)]
    rows = pl.DataFrame({"row": [0, 1], "series_id": "A", "time": ends})
    waits = open_rows(rows, PanelCalendar.named(rows, "XNYS 30m"), at(FRI, 15, 10))
    assert waits["time"].to_list() == ends[1:]


def test_a_monday_delivered_on_sunday_evening_waits_and_says_when_it_closes(tmp_path):
    """Once, it was forecast from as if New York had closed on Monday before it opened."""
    desk = Desk(tmp_path, calendar="XNYS")
    rows = [f"{name},{FRI},1" for name in "AB"] + [f"{name},{MON},2" for name in "AB"]
    found = ingest_at(desk, at(date(2024, 3, 10), 22), *rows)
    assert (found.as_of, found.rows_in, found.stored, found.left, found.quarantined) == (FRI, 2, 2, 2, {})
    assert (found.newest_in_source, found.newest) == (FRI, FRI)
    assert found.messages[-1] == (
        "2 rows wait, because sessions have not closed: 2024-03-11 of XNYS closes at 2024-03-11 20:00 UTC (2). "
        "A run after that takes them in."
    )
    found = ingest_at(desk, at(date(2024, 3, 10), 22), *rows, as_of=FRI)
    assert (found.left, found.messages) == (2, ())  # a run of Friday would not take them in anyway
    found = ingest_at(desk, at(MON, 20), *rows)
    assert (found.as_of, found.stored, found.left, found.messages) == (MON, 2, 0, ())
    assert desk.warehouse.quarantine().is_empty()
    assert desk.warehouse.revisions()["known_at"].equals(desk.warehouse.revisions()["time"].alias("known_at"))


def test_a_bar_of_the_running_session_is_no_close(tmp_path):
    """Once, a run at 17:30 in Berlin took New York's price at 11:30 for the close, every day."""
    desk = Desk(tmp_path, calendar="XNYS")
    found = ingest_at(desk, at(MON, 16, 30), f"A,{FRI},1", f"A,{MON},1.5")
    assert (found.as_of, desk.warehouse.prices()["close"].to_list()) == (FRI, [1])
    found = ingest_at(desk, at(MON, 21), f"A,{FRI},1", f"A,{MON},2")
    assert (found.as_of, found.corrected, desk.warehouse.prices()["close"].to_list()) == (MON, 0, [1, 2])


def test_an_as_of_that_has_not_closed_stands_on_the_session_before_and_says_so(tmp_path):
    desk = Desk(tmp_path, calendar="XNYS")
    found = ingest_at(desk, at(MON, 16, 30), f"A,{FRI},1", f"A,{MON},1.5", as_of=MON)
    assert found.as_of == FRI
    assert "2024-03-11 of XNYS closes at 2024-03-11 20:00 UTC" in found.messages[-2]
    stands = "No price after 2024-03-08 is known: the run stands on that session, not on 2024-03-11."
    assert found.messages[-1] == stands


def test_each_series_closes_by_its_own_calendar(tmp_path):
    rows = [f"{name},{day},1,{calendar}" for name, calendar in (("BTC", "24/7"), ("N", "XNYS"), ("T", "XTKS"))
            for day in (FRI, MON)]  # fmt: skip
    desk = Desk(tmp_path, calendar="XNYS")
    desk.file.write_text("\n".join(["series_id,time,close,calendar", *rows, ""]))

    def last_days(now):
        from tidecast.flows.ingest.ingest import ingest

        found = ingest(desk.warehouse, desk.settings, None, latest_day_anywhere(now), now)
        stored = desk.warehouse.prices().group_by("series_id").agg(pl.col("time").max()).sort("series_id")
        return found.as_of, stored["time"].to_list()

    assert last_days(at(MON, 7)) == (MON, [FRI, FRI, MON])
    assert last_days(at(MON, 20)) == (MON, [FRI, MON, MON])
    assert last_days(at(date(2024, 3, 12), 0)) == (MON, [MON, MON, MON])


def test_a_calendar_without_a_market_closes_at_midnight_and_the_message_names_the_way_out(tmp_path):
    desk = Desk(tmp_path, calendar="weekdays")
    found = ingest_at(desk, at(MON, 21, 30), f"A,{FRI},1", f"A,{MON},2")
    assert found.as_of == FRI
    assert "1 row waits, because its session has not closed: 2024-03-11 of weekdays" in found.messages[-1]
    assert "'weekdays' names no market" in found.messages[-1]
    assert "--calendar XNYS" in found.messages[-1]


def test_a_first_delivery_of_which_no_session_has_closed_is_one_clear_error(tmp_path):
    desk = Desk(tmp_path, calendar="XNYS")
    with pytest.raises(SourceError, match=r"a price of a session that has closed.*closes at 2024-03-11 20:00 UTC"):
        ingest_at(desk, at(MON, 16), f"A,{MON},2")
    assert desk.warehouse.versions() == {}


def test_a_later_delivery_of_which_no_session_has_closed_waits(tmp_path):
    desk = Desk(tmp_path, calendar="XNYS")
    ingest_at(desk, at(MON, 16), f"A,{FRI},1")
    found = ingest_at(desk, at(MON, 16), f"A,{MON},2", "A,nonsense,3")
    assert (found.as_of, found.rows_in, found.left) == (FRI, 1, 1)
    assert found.quarantined == {"unreadable_time": 1}


def test_a_file_of_a_drop_folder_waits_until_its_session_has_closed(tmp_path):
    inbox, warehouse = tmp_path / "inbox", Warehouse(str(tmp_path / "warehouse"))
    inbox.mkdir()
    settings = Settings(source=f"drop:{inbox}", calendar="XNYS")
    for day in (FRI, MON):
        (inbox / f"{day}.csv").write_text(f"series_id,time,close\nA,{day},1\n")
    now = at(MON, 16)
    found = ingest_drop_folder(warehouse, settings, None, latest_day_anywhere(now), now)
    assert (found.as_of, found.stored, warehouse.deliveries()["file"].to_list()) == (FRI, 1, ["2024-03-08.csv"])
    found = ingest_drop_folder(warehouse, settings, None, latest_day_anywhere(now), at(MON, 20))
    assert (found.as_of, found.stored, warehouse.deliveries().height) == (MON, 1, 2)


def test_a_day_that_has_begun_nowhere_breaks_a_rule_as_before(tmp_path):
    desk = Desk(tmp_path, calendar="XNYS")
    found = ingest_at(desk, at(FRI, 22), f"A,{FRI},1", f"A,{MON},2")
    assert found.quarantined == {"in_the_future": 1}
    found = ingest_at(desk, at(MON, 20), f"A,{FRI},1", f"A,{MON},2")
    assert (found.as_of, found.stored) == (MON, 1)
