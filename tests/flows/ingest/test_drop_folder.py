"""A drop folder: each file is ingested once, in order of name, also after a kill between storing and recording."""

import os
from datetime import date

import polars as pl
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest import drop_folder
from tidecast.flows.ingest.drop_folder import ingest_drop_folder
from tidecast.flows.steps.take_in import take_in_prices
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.workspace.load_settings import load_settings
from tidecast.flows.workspace.workspace import Workspace

FILES = {
    "2024-01-01.csv": "A,2024-01-01,1\nB,2024-01-01,10\n",
    "2024-01-02.csv": "A,2024-01-02,2\nB,2024-01-02,20\nB,2024-01-02,20\n",
    "2024-01-03.csv": "A,2024-01-03,3\nB,2024-01-02,21\n",
}
TODAY = date(2024, 2, 1)


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def put(inbox, *names):
    for name in names or FILES:
        (inbox / name).write_text("series_id,time,close\n" + FILES[name])


def tables(warehouse):
    return warehouse.revisions(), warehouse.quarantine(), warehouse.deliveries()


def same(left, right):
    return all(one.equals(other) for one, other in zip(tables(left), tables(right), strict=True))


@pytest.fixture
def day_by_day(inbox, tmp_path):
    """The tables after each file came on its day."""
    warehouse = Warehouse(str(tmp_path / "day by day"))
    for name in FILES:
        put(inbox, name)
        ingest_drop_folder(warehouse, Settings(source=f"drop:{inbox}"), None, TODAY)
    return warehouse


def test_files_taken_at_once_end_in_the_tables_of_one_a_day_with_the_revision_kept(inbox, tmp_path, day_by_day):
    warehouse = Warehouse(str(tmp_path / "at once"))
    found = ingest_drop_folder(warehouse, Settings(source=f"drop:{inbox}"), None, TODAY)
    assert same(warehouse, day_by_day)
    assert (found.as_of, found.rows_in, found.stored, found.corrected) == (date(2024, 1, 3), 7, 5, 1)
    assert found.settings.source == f"drop:{inbox}"
    revised = warehouse.revisions().filter(series_id="B", time=date(2024, 1, 2))
    assert revised["close"].to_list() == [20.0, 21.0]
    assert revised["known_at"].to_list() == [date(2024, 1, 2), date(2024, 1, 3)]
    assert warehouse.quarantine()["rule"].to_list() == ["duplicate"]


def test_a_second_run_takes_nothing_and_stands_on_the_same_session(inbox, day_by_day):
    before = tables(day_by_day)
    found = ingest_drop_folder(day_by_day, Settings(source=f"drop:{inbox}", calendar="weekdays"), None, TODAY)
    assert (found.as_of, found.rows_in, found.messages) == (date(2024, 1, 3), 0, ("Nothing new in the drop folder.",))
    assert all(one.equals(other) for one, other in zip(before, tables(day_by_day), strict=True))
    assert {file.name for file in inbox.iterdir()} == set(FILES)


@pytest.mark.parametrize("kills_at", [1, 2, 3])
def test_killed_between_storing_and_recording_nothing_is_lost_and_nothing_doubled(
    inbox, tmp_path, day_by_day, monkeypatch, kills_at
):
    warehouse, settings = Warehouse(str(tmp_path / "killed")), Settings(source=f"drop:{inbox}")
    record, calls = Warehouse.store_delivery, []

    def killed(self, row):
        calls.append(row)
        if len(calls) == kills_at:
            raise KeyboardInterrupt
        return record(self, row)

    monkeypatch.setattr(Warehouse, "store_delivery", killed)
    with pytest.raises(KeyboardInterrupt):
        ingest_drop_folder(warehouse, settings, None, TODAY)
    ingest_drop_folder(warehouse, settings, None, TODAY)
    assert same(warehouse, day_by_day)


def test_a_file_with_later_rows_is_taken_up_to_the_session_and_keeps_the_others_waiting(inbox, tmp_path, day_by_day):
    warehouse, settings = Warehouse(str(tmp_path / "earlier")), Settings(source=f"drop:{inbox}")
    found = ingest_drop_folder(warehouse, settings, date(2024, 1, 1), TODAY)
    assert found.as_of == date(2024, 1, 1)
    assert warehouse.deliveries()["file"].to_list() == ["2024-01-01.csv"]
    assert [file.name for file in drop_folder.waiting(warehouse, settings)] == ["2024-01-02.csv", "2024-01-03.csv"]
    ingest_drop_folder(warehouse, settings, None, TODAY)
    assert warehouse.prices().equals(day_by_day.prices())


def test_a_file_that_changed_after_it_was_taken_and_an_empty_folder_are_clear_errors(inbox, tmp_path, day_by_day):
    (inbox / "2024-01-01.csv").write_text("series_id,time,close\nA,2024-01-01,999\n")
    with pytest.raises(SourceError, match=r"must not change after it was taken, but '2024-01-01\.csv' did"):
        ingest_drop_folder(day_by_day, Settings(source=f"drop:{inbox}"), None, TODAY)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SourceError, match="must hold a file to start with"):
        ingest_drop_folder(Warehouse(str(tmp_path / "w")), Settings(source=f"drop:{empty}"), None, TODAY)


def test_a_run_takes_them_and_remembers_the_folder(inbox, tmp_path):
    put(inbox)
    home = StateFolder(tmp_path / "home").make()
    settings, _ = load_settings(home, {"source": "drop:inbox"}, {}, tmp_path)
    assert settings.source == f"drop:{inbox}"
    warehouse = Workspace(home, settings).warehouse
    found = take_in_prices(home, warehouse, settings, None, TODAY)
    assert found.run_counts["rows_in"] == 7
    assert load_settings(home, {}, {}, tmp_path)[0].source == f"drop:{inbox}"
    assert warehouse.prices().filter(pl.col("series_id") == "A")["close"].to_list() == [1.0, 2.0, 3.0]


def test_a_row_that_the_source_knew_only_later_waits_for_its_day_and_holds_up_no_other_file(inbox, tmp_path):
    warehouse, settings = Warehouse(str(tmp_path / "later")), Settings(source=f"drop:{inbox}")
    head = "series_id,time,close,known_at\n"
    (inbox / "1.csv").write_text(head + "A,2024-01-01,1,2024-01-01\nA,2024-01-01,9,2024-01-02\n")
    (inbox / "2.csv").write_text(head + "A,2024-01-02,2,2024-01-02\n")
    ingest_drop_folder(warehouse, settings, None, TODAY)
    assert warehouse.deliveries()["file"].to_list() == ["2.csv"]
    ingest_drop_folder(warehouse, settings, date(2024, 1, 2), TODAY)
    assert warehouse.deliveries()["file"].to_list() == ["1.csv", "2.csv"]
    assert warehouse.prices()["close"].to_list() == [9.0, 2.0]


@pytest.mark.parametrize(("row", "rule"), [("A,2024-01-06,3", "not_a_session"), ("A,2024-01-03,0", "not_positive")])
def test_a_row_after_the_newest_price_of_a_file_is_not_lost(inbox, tmp_path, row, rule):
    """Once it was left for a later run, which never comes for a recorded file."""
    put(inbox, "2024-01-01.csv")
    (inbox / "2024-01-02.csv").write_text(f"series_id,time,close\nA,2024-01-02,2\n{row}\n")
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    found = ingest_drop_folder(warehouse, Settings(source=f"drop:{inbox}", calendar="weekdays"), None, TODAY)
    assert (found.as_of, found.rows_in, found.stored, found.quarantined) == (date(2024, 1, 2), 4, 3, {rule: 1})
    assert warehouse.quarantine()["time"].item() == date.fromisoformat(row.split(",")[1])


def test_a_file_that_comes_late_does_not_undo_what_later_ones_corrected(inbox, tmp_path, day_by_day, monkeypatch):
    """Once, the file of the 2nd came after that of the 3rd and put back the price which that one had corrected."""
    warehouse, settings = Warehouse(str(tmp_path / "late")), Settings(source=f"drop:{inbox}", calendar="weekdays")
    (inbox / "2024-01-02.csv").rename(tmp_path / "2024-01-02.csv")
    ingest_drop_folder(warehouse, settings, None, TODAY)
    (tmp_path / "2024-01-02.csv").rename(inbox / "2024-01-02.csv")
    monkeypatch.setattr(Warehouse, "store_delivery", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception, match="killed"):
        ingest_drop_folder(warehouse, settings, None, TODAY)
    monkeypatch.undo()
    found = ingest_drop_folder(warehouse, settings, None, TODAY)
    assert found.messages[-1] == "Taken again, because a file with an earlier name came late: '2024-01-03.csv'."
    assert warehouse.prices().equals(day_by_day.prices())
    assert ingest_drop_folder(warehouse, settings, None, TODAY).rows_in == 0


def test_older_history_that_comes_late_is_taken_alone(inbox, day_by_day):
    (inbox / "2023.csv").write_text("series_id,time,close\nA,2023-12-29,0.5\n")
    found = ingest_drop_folder(day_by_day, Settings(source=f"drop:{inbox}", calendar="weekdays"), None, TODAY)
    assert (found.rows_in, found.stored) == (1, 1)


def test_a_file_that_changes_and_keeps_its_size_is_an_error_and_one_that_was_touched_is_not(inbox, day_by_day):
    file = inbox / "2024-01-01.csv"
    os.utime(file, (1, 1))
    assert (
        ingest_drop_folder(day_by_day, Settings(source=f"drop:{inbox}", calendar="weekdays"), None, TODAY).rows_in == 0
    )
    file.write_text(file.read_text().replace(",10", ",11"))
    with pytest.raises(SourceError, match=r"must not change after it was taken, but '2024-01-01\.csv' did"):
        ingest_drop_folder(day_by_day, Settings(source=f"drop:{inbox}", calendar="weekdays"), None, TODAY)


def test_hidden_files_are_not_deliveries_and_two_of_one_name_are_an_error(inbox, tmp_path, day_by_day):
    (inbox / "._2024-01-04.csv").write_bytes(b"\0\5\26\7")
    assert (
        ingest_drop_folder(day_by_day, Settings(source=f"drop:{inbox}", calendar="weekdays"), None, TODAY).rows_in == 0
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other/2024-01-03.csv").write_text("series_id,time,close\nA,2024-01-04,4\n")
    with pytest.raises(SourceError, match=r"its own name, but '2024-01-03\.csv' is there more than once"):
        ingest_drop_folder(day_by_day, Settings(source=f"drop:{tmp_path}/*/*.csv"), None, TODAY)
