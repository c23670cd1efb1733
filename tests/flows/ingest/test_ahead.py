"""What is known ahead, from its sources into its tables: from when each row was known, and what is left out."""

import json
import sqlite3
from datetime import UTC, date, datetime

import polars as pl
import pytest

from tests.flows.desk import FRI, MON, THU, TUE, WED, WEEK
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, SourceError, TidecastError
from tidecast.flows.ingest.ahead import take_in_events, take_in_future
from tidecast.flows.ingest.ahead_rows import ALWAYS
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.steps.release import release_rows
from tidecast.flows.training.model_panel import model_panel, read_versions

FROM_TUE, FROM_WED = (datetime(2024, 1, day, 0, 0, 0, 1, UTC) for day in (2, 3))

DECIDED = {"by": "me", "why": "it is right", "at": datetime(2024, 1, 3, tzinfo=UTC)}


class Ahead:
    """A desk with a file of what is known ahead."""

    def __init__(self, desk, folder, **settings):
        self.desk, self.file = desk, folder / "ahead.csv"
        self.settings = desk.settings.model_copy(update={"horizon": 2, **settings})
        self.rows = WEEK

    def take_in(self, as_of, header, *rows):
        self.desk.ingest(*self.rows, as_of=as_of)
        self.file.write_text("\n".join([header, *rows, ""]))
        take_in = take_in_future if self.settings.future else take_in_events
        return take_in(self.desk.warehouse, self.settings, as_of)

    def panel(self, as_of=WED, versions=None):
        return model_panel(self.desk.warehouse, self.settings, as_of, versions)

    def lists(self, column, series="A", as_of=WED):
        rows = self.panel(as_of).filter(series_id=series)
        return [[None if value != value else value for value in row] for row in rows[column].to_list()]


@pytest.fixture
def load(desk, tmp_path):
    return Ahead(desk, tmp_path, future=str(tmp_path / "ahead.csv"), future_covariates=("load",))


@pytest.fixture
def events(desk, tmp_path):
    return Ahead(desk, tmp_path, events=str(tmp_path / "ahead.csv"), event_kinds=("earnings",))


def test_rows_without_available_at_are_known_from_the_session_that_first_saw_them(load):
    found = load.take_in(TUE, "time,load", f"{TUE},1", f"{WED},2", f"{THU},3")
    assert (found.read, found.stored) == (3, 3)
    assert "do not say from when" in found.messages[0]
    stored = load.desk.warehouse.future_values()
    assert stored["available_at"].to_list() == [ALWAYS, FROM_TUE, FROM_TUE]
    assert load.lists("load_ahead") == [[1.0, None], [2.0, 3.0]]
    assert load.take_in(TUE, "time,load", f"{TUE},1", f"{WED},2", f"{THU},3").stored == 0, "a repeated run"

    found = load.take_in(WED, "time,load", f"{TUE},1", f"{WED},2", f"{THU},4", f"{FRI},5")
    assert (found.stored, found.messages) == (2, ())
    assert load.lists("load_ahead") == [[1.0, None], [2.0, 3.0], [4.0, 5.0]], "Tuesday still knows what it knew"


def test_what_is_stored_later_changes_no_panel_of_an_earlier_day(load):
    load.take_in(TUE, "time,load,available_at", f"{WED},2,{MON}", f"{THU},3,2024-01-02T12:00:00Z")
    before = load.panel(TUE)
    versions = read_versions(load.desk.warehouse)
    load.take_in(WED, "time,load,available_at", f"{WED},9,{WED}", f"{THU},8,2024-01-03T00:00:01Z", f"{FRI},7,{FRI}")
    assert load.panel(TUE).equals(before)
    assert load.panel(TUE, versions).equals(before)
    assert load.lists("load_ahead")[2] == [8.0, None]


def test_an_available_at_with_a_zone_is_compared_with_the_close(load):
    load.settings = load.settings.model_copy(update={"calendar": "XNYS"})
    rows = ["2024-01-04,1,2024-01-02T16:00:00-05:00", "2024-01-05,2,2024-01-03T16:00:01-05:00"]
    load.take_in(WED, "time,load,available_at", *rows)
    assert load.lists("load_ahead")[1:] == [[None, 1.0], [1.0, None]]


def test_rows_for_a_series_for_a_group_and_for_all(load):
    in_groups = {"static": ("market",), "group": "market", "horizon": 1}
    load.settings = load.settings.model_copy(update=in_groups)
    load.desk.settings = load.desk.settings.model_copy(update=in_groups)
    load.desk.file.write_text("\n".join(["series_id,time,close,market", *(f"{row},{row[0].lower()}" for row in WEEK)]))
    ingest(load.desk.warehouse, load.desk.settings)

    def ahead(*rows):
        load.file.write_text("\n".join(["series_id,market,time,load", *rows, ""]))
        take_in_future(load.desk.warehouse, load.settings, WED)
        return load.lists("load_ahead")[2], load.lists("load_ahead", "B")[2]

    assert ahead(f",,{THU},1", f",b,{THU},2") == ([1.0], [2.0])
    assert ahead(f",,{THU},1", f",b,{THU},2", f"B,,{THU},3", f"nobody,,{THU},4") == ([1.0], [3.0])


def test_bad_rows_are_named_and_once_were_lost_and_impossible_sources_are_refused(load):
    found = load.take_in(WED, "time,load,available_at", f"{THU},1,{WED}", f"soon,2,{WED}", f"{FRI},much,{WED}")
    assert found.messages[0].startswith("2 of 3 rows of")
    assert '{"time": "soon", "load": "2", "available_at": "2024-01-03"}' in found.messages[0]
    for _ in range(2):  # a repeated run stores nothing
        kept = load.desk.warehouse.quarantine()
        assert set(kept["rule"]) == {"unreadable_future_value"}
        assert sorted(json.loads(row)["load"] for row in kept["original"]) == ["2", "much"]
        assert kept.sort("time")["time"].to_list() == [None, FRI]
        load.take_in(WED, "time,load,available_at", f"{THU},1,{WED}", f"soon,2,{WED}", f"{FRI},much,{WED}")
    with pytest.raises(TidecastError, match="Only a price can be released or repaired, but 2 of these rows"):
        release_rows(load.desk.warehouse, load.settings, {"rules": ("unreadable_future_value",)}, **DECIDED)
    assert load.desk.warehouse.repairs().is_empty()
    with pytest.raises(SourceError, match="must have rows that can be read, found none"):
        load.take_in(WED, "time,load", "soon,1")
    with pytest.raises(SourceError):  # once an index out of bounds
        load.take_in(WED, "time,load")
    with pytest.raises(SourceError, match="must have a column 'load', found 'time', 'Load'"):
        load.take_in(WED, "time,Load", f"{THU},1")
    with pytest.raises(SourceError, match="must have a column 'time'"):
        load.take_in(WED, "day,load", f"{THU},1")
    with pytest.raises(SourceError, match="one row for a session and an instant, found 2 rows that contradict"):
        load.take_in(WED, "time,load", f"{THU},1", f"{THU},2")
    load.file.unlink()
    with pytest.raises(SourceError, match=r"ahead\.csv"):
        take_in_future(load.desk.warehouse, load.settings, WED)


def test_a_database_gives_a_table_or_a_query(load, tmp_path):
    with sqlite3.connect(tmp_path / "ahead.db") as connection:
        connection.execute("CREATE TABLE weather (time TEXT, load REAL, station TEXT)")
        connection.executemany("INSERT INTO weather VALUES (?, ?, ?)", [(str(THU), 1.0, "x"), (str(THU), 9.0, "y")])
    address = f"sqlite:///{tmp_path / 'ahead.db'}"
    query = "SELECT time, load FROM weather WHERE station = 'x'"
    load.settings = load.settings.model_copy(update={"future": address, "future_table": query})
    load.desk.ingest(*WEEK)
    assert take_in_future(load.desk.warehouse, load.settings, WED).stored == 1
    assert load.lists("load_ahead")[2] == [1.0, None]
    query = "WITH later AS (SELECT * FROM weather) SELECT time, load FROM later WHERE station = 'x'"
    load.settings = load.settings.model_copy(update={"future_table": query})  # once taken for a table's name
    assert take_in_future(load.desk.warehouse, load.settings, WED).stored == 0
    load.settings = load.settings.model_copy(update={"future_table": "weather"})
    with pytest.raises(SourceError, match="contradict"):
        take_in_future(load.desk.warehouse, load.settings, WED)


def test_a_moved_event_is_known_where_it_was_until_it_was_moved(events):
    events.take_in(MON, "event_id,series_id,kind,time", f"q4,A,earnings,{WED}")
    assert events.take_in(MON, "event_id,series_id,kind,time", f"q4,A,earnings,{WED}").stored == 0
    events.take_in(TUE, "event_id,series_id,kind,time", f"q4,A,earnings,{THU}")
    assert events.lists("earnings_ahead") == [[0.0, 1.0], [0.0, 1.0]]
    assert events.lists("earnings_ahead", "B") == [[0.0, 0.0]] * 2
    events.take_in(WED, "event_id,series_id,kind,time", f"q4,A,earnings,{FRI}")
    assert events.lists("earnings_ahead")[2] == [0.0, 1.0]
    assert events.desk.warehouse.events().height == 3


def test_an_event_that_moves_back_is_where_it_was_at_first(events):
    for as_of, day in ((MON, THU), (TUE, FRI), (WED, THU)):
        events.take_in(as_of, "event_id,kind,time", f"q4,earnings,{day}")
    assert events.lists("earnings_ahead") == [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    assert events.panel()["sessions_to_earnings"][:3].to_list() == [3.0, 3.0, 1.0]


def test_an_event_that_is_gone_from_a_source_of_today_is_cancelled(events):
    events.take_in(MON, "kind,time", f"earnings,{WED}", f"earnings,{THU}", "earnings,2023-12-29")
    found = events.take_in(TUE, "kind,time", f"earnings,{WED}")
    assert found.messages[0].startswith("1 event ahead is gone")
    assert events.lists("earnings_ahead") == [[0.0, 1.0], [1.0, 0.0]]
    assert events.panel()["sessions_since_earnings"][:2].to_list() == [1.0, 2.0]
    assert events.take_in(TUE, "kind,time", f"earnings,{WED}").stored == 0


def test_an_event_that_is_gone_from_a_source_with_known_at_stays(events):
    header = "kind,time,known_at,cancelled"
    events.take_in(MON, header, f"earnings,{THU},{MON},")
    events.take_in(TUE, header, f"earnings,{FRI},{TUE},false")
    assert events.lists("earnings_ahead")[1] == [0.0, 1.0]
    events.take_in(WED, header, f"earnings,{THU},{WED},true")
    assert events.lists("earnings_ahead")[1:] == [[0.0, 1.0], [0.0, 1.0]]
    assert events.take_in(WED, header, f"earnings,{THU},{WED},perhaps", f"earnings,{FRI},{TUE},").messages


def test_an_announcement_after_the_close_counts_for_the_next_session(events):
    events.settings = events.settings.model_copy(update={"calendar": "XNYS"})
    events.take_in(WED, "kind,time,known_at", f"earnings,2024-01-03T16:30:00-05:00,{MON}")
    assert events.lists("earnings_ahead")[1:] == [[0.0, 1.0], [1.0, 0.0]], "the 1st is a holiday"


def test_a_run_of_an_earlier_session_once_rewrote_values_of_the_first_delivery(load):
    load.take_in(WED, "time,load", f"{MON},1", f"{TUE},2", f"{WED},3")
    before = load.panel(TUE)
    load.take_in(TUE, "time,load", f"{MON},10", f"{TUE},2", f"{WED},3")
    assert load.panel(TUE).equals(before)
    assert load.desk.warehouse.future_values()["load"].to_list() == [1.0, 10.0, 2.0, 3.0]


def test_a_run_of_an_earlier_session_once_cancelled_events_that_had_taken_place(events):
    events.take_in(WED, "kind,time", f"earnings,{TUE}", f"earnings,{WED}", f"earnings,{FRI}")
    events.take_in(MON, "kind,time", f"earnings,{FRI}")  # a list of what is to come
    assert events.panel()["sessions_since_earnings"][:3].to_list() == [63.0, 0.0, 0.0]


def test_a_value_that_the_source_overwrites_once_changed_what_was_known(load):
    header = "time,load,available_at"
    load.take_in(TUE, header, f"{WED},1,{MON}", f"{THU},1,{MON}")
    for day in (WED, WED, THU):  # repeated runs store nothing
        load.take_in(day, header, f"{WED},1,{MON}", f"{THU},5,{MON}")
        assert load.lists("load_ahead") == [[None, 1.0], [1.0, 1.0], [5.0, None]]
        assert len(load.desk.warehouse.future_values()) == 3
    load.take_in(THU, header, f"{THU},5,{MON}", f"{THU},6,{TUE}", f"{FRI},7,{THU}")
    load.take_in(THU, header, f"{THU},4,{MON}", f"{THU},6,{TUE}", f"{FRI},7,{THU}")
    assert load.desk.warehouse.future_values()["load"].to_list() == [1.0, 1.0, 6.0, 5.0, 7.0], "an old vintage stays"


def test_a_covariate_that_is_added_later_keeps_the_instants_of_its_source(load):
    rows = f"{WED},1,8,{MON}", f"{THU},2,9,{MON}"
    load.take_in(TUE, "time,load,wind,available_at", *rows)
    load.settings = load.settings.model_copy(update={"future_covariates": ("load", "wind")})
    assert load.take_in(WED, "time,load,wind,available_at", *rows).messages == ()
    assert load.lists("wind_ahead") == [[None, 8.0], [8.0, 9.0], [9.0, None]]


def test_a_covariate_that_is_added_later_without_instants_is_said_to_have_no_past(load):
    load.take_in(TUE, "time,load,wind", f"{WED},1,8", f"{THU},2,9")
    load.settings = load.settings.model_copy(update={"future_covariates": ("load", "wind")})
    found = load.take_in(WED, "time,load,wind", f"{WED},1,8", f"{THU},2,9")
    assert "'wind' are new and do not say from when" in found.messages[0]


def test_series_and_kinds_that_are_added_later_without_instants_are_said_to_have_no_past(load, events):
    load.take_in(TUE, "series_id,time,load", f"A,{MON},1", f"A,{WED},2")
    later = load.take_in(WED, "series_id,time,load", f"A,{MON},1", f"A,{WED},2", f"B,{MON},3", f"B,{THU},4")
    assert "The future covariates 'B' are new and do not say from when" in later.messages[0]
    again = load.take_in(WED, "series_id,time,load", f"A,{MON},1", f"A,{WED},2", f"B,{MON},3", f"B,{FRI},4")
    assert again.messages == ()
    events.take_in(TUE, "kind,time", f"earnings,{MON}")
    assert events.take_in(WED, "kind,time", f"earnings,{MON}", f"split,{FRI}").messages == (), "it has no past"
    found = events.take_in(THU, "kind,time", f"earnings,{MON}", f"split,{FRI}", f"rates,{TUE}")
    assert "The events of 'rates' are new and do not say from when" in found.messages[0]


def test_a_wide_source_once_gave_the_advice_to_take_its_dates_for_the_values(load):
    load.settings = load.settings.model_copy(update={"time": "Date"})
    with pytest.raises(SourceError, match=r"write a row for each session and series: series_id, time, load") as caught:
        load.take_in(WED, "Date,A,B", f"{THU},1,2")
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(SourceError, match="Did you mean 'loads'"):
        load.take_in(WED, "Date,loads,B", f"{THU},1,2")


def test_values_of_hours_once_were_contradictions(load):
    hours = [f"{day}T{hour:02}:00,{hour}" for day in (WED, THU) for hour in range(24)]
    with pytest.raises(SourceError, match=r"one value a session, found 24 times of day on 2024-01-03 .* load_00, load"):
        load.take_in(WED, "time,load", *hours)


def test_the_days_of_values_are_those_of_the_market(load):
    """A database's midnights in Frankfurt, in UTC, once were the days before."""
    load.settings = load.settings.model_copy(update={"calendar": "XETR"})
    load.take_in(WED, "time,load,available_at", f"{WED}T23:00:00Z,7,{TUE}", f"{THU}T23:00:00Z,8,{TUE}")
    assert load.desk.warehouse.future_values()["time"].to_list() == [THU, FRI]


def test_an_error_in_what_is_known_ahead_once_was_taken_for_missing_values(load):
    load.take_in(WED, "time,load,available_at", f"{THU},1,{TUE}")
    rows = load.desk.warehouse.future_values().drop("year")
    twice = rows.with_columns(pl.col("available_at") + pl.duration(milliseconds=0), load=pl.lit(float("inf")))
    load.desk.warehouse.store_future_values(twice)
    with pytest.raises(ValueError, match="'load' must be finite"):
        load.panel()


def test_values_of_days_without_sessions_are_missing_and_said(load, caplog):
    load.take_in(WED, "time,load,available_at", f"2024-01-06,1,{TUE}")
    assert load.lists("load_ahead") == [[None, None]] * 3
    assert "Rows must be for sessions of the panel's calendar" in caplog.text


@pytest.mark.parametrize("known", ["", f",{MON}"])
def test_an_event_that_moved_forward_within_a_session_once_stayed_at_the_later_date(events, known):
    header = "event_id,kind,time" + (",known_at" if known else "")
    events.take_in(TUE, header, f"q4,earnings,{FRI}{known}")
    events.take_in(TUE, header, f"q4,earnings,{THU}{known}")
    assert events.take_in(TUE, header, f"q4,earnings,{THU}{known}").stored == 0
    assert events.lists("earnings_ahead")[1:] == [[0.0, 1.0]]
    events.take_in(WED, header, f"q4,earnings,{THU}{known}")
    assert events.lists("earnings_ahead")[1:] == [[0.0, 1.0], [1.0, 0.0]]
    assert len(events.desk.warehouse.events()) == 2


def test_an_event_that_the_source_cancels_in_place_once_had_never_been_known(events):
    header = "event_id,kind,time,known_at,cancelled"
    events.take_in(TUE, header, f"q4,earnings,{THU},{MON},")
    for _ in range(2):
        events.take_in(WED, header, f"q4,earnings,{THU},{MON},true")
        assert events.lists("earnings_ahead") == [[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
        assert len(events.desk.warehouse.events()) == 2


@pytest.mark.parametrize("zone", ["", "Z"])
def test_one_time_of_day_once_turned_all_days_into_instants(load, zone):
    load.settings = load.settings.model_copy(update={"calendar": "24/7"})
    header, rows = "time,load,available_at", [f"{WED},1,{TUE}T00:00:00{zone}", f"{THU},2,{WED}T00:00:00{zone}"]
    load.take_in(TUE, header, *rows)
    found = load.take_in(WED, header, *rows, f"{FRI},3,{WED}T14:00:00{zone}")
    assert found.stored == 1
    assert load.lists("load_ahead") == [[None, None], [1.0, None], [2.0, 3.0]]


def test_values_published_after_the_close_once_were_only_said_to_be_missing(load):
    load.settings = load.settings.model_copy(update={"calendar": "24/7"})
    header = "time,load,available_at"
    found = load.take_in(WED, header, f"{WED},1,{WED}T09:00:00Z", f"{THU},2,{THU}T09:00:00Z")
    assert found.messages == (
        "The future covariates of 2024-01-04 are known from 2024-01-04 09:00 UTC on, after 2024-01-03 closed "
        "(2024-01-04 00:00 UTC): forecasts of 2024-01-03 do not use them. If they are published before your runs "
        "begin, give them an 'available_at' that is not later than that close, such as the date of that session.",
    )
    assert load.lists("load_ahead")[2] == [None, None]
    assert load.take_in(WED, header, f"{THU},2,{WED}", f"{THU},3,{THU}T09:00:00Z").messages == (), "a later vintage"
    assert load.lists("load_ahead")[2] == [2.0, None]


def test_two_values_of_a_session_once_refused_the_whole_delivery(load):
    header = "time,load,available_at"
    load.take_in(TUE, header, f"{WED},1,{TUE}")
    pair = f"{THU},2,{WED}", f"{THU},3,{WED}"
    for _ in range(2):  # a repeated run stores nothing
        found = load.take_in(WED, header, f"{WED},1,{TUE}", *pair, f"{FRI},4,{WED}", f"{FRI},4,{WED}")
        assert "2 of 5 rows of" in found.messages[0]
        assert "contradict others about a session and an instant and go to quarantine" in found.messages[0]
        assert "Keep one of them, or give each its own available_at." in found.messages[0]
        kept = load.desk.warehouse.quarantine()
        assert kept["rule"].to_list() == ["conflicting_future_value"] * 2
        assert [json.loads(row)["load"] for row in kept["original"].sort()] == ["2", "3"]
    assert load.lists("load_ahead")[1:] == [[1.0, None], [None, 4.0]]
    with pytest.raises(TidecastError, match="Only a price can be released or repaired"):
        release_rows(load.desk.warehouse, load.settings, {"rules": ("conflicting_future_value",)}, **DECIDED)
    load.take_in(WED, header, f"{WED},1,{TUE}", pair[0], f"{FRI},4,{WED}")  # corrected at the source
    assert load.lists("load_ahead")[1:] == [[1.0, None], [2.0, 4.0]]


def test_two_dates_of_an_event_once_refused_the_whole_delivery(events):
    header = "event_id,series_id,kind,time"
    events.take_in(MON, header, f"q4,A,earnings,{WED}", f"q4,B,earnings,{WED}")
    found = events.take_in(TUE, header, f"q4,A,earnings,{THU}", f"q4,A,earnings,{FRI}", f"q4,B,earnings,{THU}")
    assert "2 of 3 rows of" in found.messages[0]
    assert "contradict others about an event and an instant" in found.messages[0]
    assert not any("gone" in message for message in found.messages), "an event that is told twice is not cancelled"
    assert set(events.desk.warehouse.quarantine()["rule"]) == {"conflicting_event"}
    assert events.lists("earnings_ahead")[1] == [1.0, 0.0], "what was known before stays"
    assert events.lists("earnings_ahead", "B")[1] == [0.0, 1.0]


def test_days_of_values_once_were_those_of_the_panels_market_and_not_of_the_series(load, desk):
    desk.settings = desk.settings.model_copy(update={"calendar": "XETR"})
    load.settings = load.settings.model_copy(update={"calendar": "XETR"})
    calendars = {"A": "XETR", "B": "XHKG"}
    rows = [f"{row},{calendars[row[0]]}" for row in WEEK]
    desk.file.write_text("\n".join(["series_id,time,close,calendar", *rows, ""]))
    ingest(desk.warehouse, desk.settings)

    def take_in(header, *rows):
        load.file.write_text("\n".join([header, *rows, ""]))
        take_in_future(desk.warehouse, load.settings, WED)
        return desk.warehouse.future_values().select("series_id", "time").rows()

    instant = f"{WED}T16:30:00Z"  # 17:30 in Frankfurt, 00:30 of the next day in Hong Kong
    assert take_in("series_id,time,load", f"A,{instant},1", f"B,{instant},2") == [("A", WED), ("B", THU)]
    take_in("time,load", f"{THU},3")  # a day is a day everywhere
    with pytest.raises(SourceError, match=r"one day in all markets .*16:30:00Z, which is 2024-01-03 in Europe/Berlin "):
        take_in("time,load", f"{instant},3")
    load.settings = load.settings.model_copy(update={"group": "calendar"})
    assert ("", THU) in take_in("calendar,time,load", f"XHKG,{instant},4")


def test_one_event_at_two_times_once_counted_at_the_later_one(events):
    with pytest.raises(SourceError, match="one row for an event and an instant, found 2 rows that contradict"):
        events.take_in(TUE, "event_id,kind,time", f"q4,earnings,{THU}", f"q4,earnings,{FRI}")


def test_an_event_that_an_earlier_version_stored_twice_is_where_it_was_moved_last(events):
    events.take_in(TUE, "event_id,kind,time,known_at", f"q4,earnings,{FRI},{MON}")
    rows = events.desk.warehouse.events()
    events.desk.warehouse.store_events(rows.with_columns(time=datetime(2024, 1, 4, 0, 0, 0, 1, UTC), as_of=WED))
    events.desk.ingest(*events.rows, as_of=WED)
    assert events.lists("earnings_ahead")[1:] == [[0.0, 1.0], [1.0, 0.0]]


def test_events_of_the_first_delivery_are_said_to_count_as_always_known(events):
    assert "known_at" in events.take_in(TUE, "kind,time", f"earnings,{MON}").messages[0]
    assert events.take_in(WED, "kind,time", f"earnings,{MON}").messages == ()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"future": "x.csv"}, "future needs future_covariates"),
        ({"future_covariates": ("load",)}, "future_covariates needs future"),
        ({"future": "x.csv", "future_covariates": ("close",)}, "'close' is a column of Tidecast"),
        ({"future": "x.csv", "future_covariates": ("available_at",)}, "'available_at' is a column of Tidecast"),
        ({"future": "x.csv", "future_covariates": ("a", "A")}, "differ in more than capitals"),
        ({"future": "x.csv", "future_covariates": ("a",), "static": ("a",)}, "'a' is one. Rename it"),
        ({"events": "x.csv", "event_kinds": ("volume",)}, "'volume' is a column of Tidecast"),
        ({"group": "market"}, "group must be 'calendar' or one of static, got 'market'"),
        ({"future": "postgresql://me:secret@host/db", "future_covariates": ("a",)}, "password"),
    ],
)
def test_impossible_settings_are_refused(settings, words):
    with pytest.raises(SettingsError, match=words):
        Settings(**settings)


def test_a_column_may_be_known_today_and_ahead():
    assert Settings(future="x.csv", future_covariates=("load",), covariates=("load",)).future_covariates == ("load",)


def test_events_of_an_old_warehouse_are_an_empty_table(desk):
    desk.ingest(*WEEK)
    assert desk.warehouse.events().is_empty()
    assert desk.warehouse.future_names() == []
    assert model_panel(desk.warehouse, desk.settings, date(2024, 1, 3)).equals(desk.warehouse.prices(WED))
    assert isinstance(desk.warehouse.future_values(), pl.DataFrame)
