"""Maintenance, versions and columns: no row changes, and what a published forecast read can be read again."""

import json
import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from tidecast.flows.cli.main import tidecast
from tidecast.flows.config.panel_file import remember
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder, hold
from tidecast.flows.errors import WarehouseError
from tidecast.flows.maintenance import maintain, maintain_warehouse, versions_read
from tidecast.flows.warehouse.warehouse import Warehouse

DAYS = [date(2024, 1, day) for day in (1, 2, 3, 4, 5)]
AT_ONCE = timedelta(0)


def prices(day, known_at=None, **values):
    rows = {"series_id": ["A", "B"], "time": [day] * 2, "close": [1.0, 2.0], "known_at": [known_at or day] * 2}
    rows |= {"as_of": [known_at or day] * 2}
    return pl.DataFrame(rows).with_columns(pl.lit(value).alias(name) for name, value in values.items())


@pytest.fixture
def warehouse(tmp_path):
    """Five days, each with a correction of the one before; a forecast read the table on the second and the fourth."""
    made = Warehouse(str(tmp_path / "warehouse"))
    for number, day in enumerate(DAYS):
        made.store_prices(prices(day))
        made.store_prices(prices(day).with_columns(close=pl.lit(9.0 + number)))  # replaces: old files go out of use
        if number in (1, 3):
            read = json.dumps({"prices": made.versions()["prices"]})
            made.put_run({"as_of": day, "status": "done", "table_versions": read})
    return made


def files(warehouse):
    return list(Path(warehouse.uri, "prices").rglob("*.parquet"))


def test_after_maintenance_every_version_that_a_forecast_read_reads_back_equal_and_others_are_gone(warehouse):
    (Path(warehouse.uri) / "prices" / "year=2024" / "part-left-by-a-killed-writer.parquet").write_bytes(b"half a file")
    named = versions_read(warehouse)["prices"]
    assert len(named) == 2
    before = {version: warehouse.revisions(version=version) for version in named}
    now = warehouse.revisions()
    joined, removed = maintain(warehouse, AT_ONCE)["prices"]
    assert joined == 5
    assert removed > 0
    for version, rows in before.items():
        assert warehouse.revisions(version=version).equals(rows)
    assert warehouse.revisions().equals(now)
    with pytest.raises(WarehouseError, match=r"Version 1 of prices must still have its files.*vacuum.*newest is \d+"):
        warehouse.prices(version=1)
    assert not any("killed" in file.name for file in files(warehouse))
    version, left = warehouse.versions()["prices"], len(files(warehouse))
    assert maintain(warehouse, AT_ONCE)["prices"][0] == 0
    assert len(files(warehouse)) == left
    assert all(warehouse.revisions(version=read).equals(rows) for read, rows in before.items())
    assert warehouse.revisions(version=version).equals(now)


def test_what_went_out_of_use_just_now_stays_for_readers_at_work(warehouse):
    before = {file.name for file in files(warehouse)}
    maintain(warehouse)
    assert before <= {file.name for file in files(warehouse)}
    assert warehouse.prices(version=1).height == 2


def test_what_a_forecast_read_is_kept_though_its_run_was_killed_before_it_could_say_so(warehouse):
    version = warehouse.versions()["prices"]
    rows = warehouse.revisions()
    day = DAYS[-1]
    issued = pl.DataFrame({
        "series_id": ["A"], "step": [1], "origin": [day], "time": [date(2024, 1, 8)], "forecast": [1.0],
        "model": ["m"], "live": [True], "trained_through": [day],
    })  # fmt: skip
    assert warehouse.publish(day, issued, read={"prices": version})
    assert not warehouse.publish(day, issued, read={"prices": version + 1})
    warehouse.store_prices(prices(date(2024, 1, 8)))
    maintain(warehouse, AT_ONCE)
    assert warehouse.read_by(day) == [{"prices": version}]
    assert warehouse.read_by(DAYS[0]) == []
    assert warehouse.revisions(version=version).equals(rows)


def test_the_flow_and_the_command_tidy_up_and_wait_for_no_run(warehouse, tmp_path, prefect_api, monkeypatch):
    home = StateFolder(tmp_path)  # its tables are those of the fixture
    now = warehouse.revisions()
    done = maintain_warehouse(home=str(tmp_path), settings=Settings(), unused_for=AT_ONCE)
    assert done["prices"][0] == 5
    assert done["prices"][1] > 0
    assert done["runs"][0] == 2
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    remember(home, Settings())
    printed = CliRunner().invoke(tidecast, ["maintain", "--home", str(tmp_path)])
    assert printed.exit_code == 0, printed.output
    assert re.search(r"^prices +0 files joined, \d+ no longer needed$", printed.stdout, re.MULTILINE)
    assert warehouse.revisions().equals(now)
    with hold(home, "the daily flow"):
        busy = CliRunner().invoke(tidecast, ["maintain", "--home", str(tmp_path)])
    assert busy.exit_code == 75
    assert "the daily flow" in busy.stderr
    none = CliRunner().invoke(tidecast, ["maintain", "--home", str(tmp_path / "none")])
    assert (none.exit_code, "Start with: tidecast run" in none.stderr) == (1, True)


def test_a_version_is_read_as_it_was_and_one_that_never_was_is_refused(warehouse):
    assert warehouse.prices(version=1)["close"].to_list() == [1.0, 2.0]
    assert warehouse.prices(DAYS[0], version=2)["close"].to_list() == [9.0, 9.0]
    assert warehouse.runs(version=1).height == 1
    with pytest.raises(WarehouseError, match=r"A version of prices must lie between 0 and 10, got 99"):
        warehouse.prices(version=99)


def test_versions_outlive_the_checkpoints_of_the_log(tmp_path):
    """By default a commit clears the log of versions older than a month once there is a checkpoint."""
    warehouse = Warehouse(str(tmp_path))
    for number in range(3):
        warehouse.store_prices(prices(DAYS[number]))
    logs = sorted(Path(warehouse.uri, "prices", "_delta_log").glob("*.json"))
    for log in logs:
        os.utime(log, (0, 0))  # as if written in 1970
    warehouse._table("prices").create_checkpoint()
    for number in range(3, 5):
        warehouse.store_prices(prices(DAYS[number]))
    assert warehouse.prices(version=1).height == 2
    assert set(logs) <= set(Path(warehouse.uri, "prices", "_delta_log").glob("*.json"))


def test_a_new_column_is_added_older_rows_read_as_null_and_another_type_is_one_clear_error(tmp_path):
    warehouse = Warehouse(str(tmp_path))
    warehouse.store_prices(prices(DAYS[0]))
    warehouse.store_prices(prices(DAYS[1], calendar="XNYS", rate=3))
    panel = warehouse.prices()
    assert panel["calendar"].to_list() == [None, "XNYS"] * 2
    assert panel["rate"].to_list() == [None, 3.0] * 2
    assert warehouse.prices(DAYS[0]).columns == ["series_id", "time", "close"]
    warehouse.store_prices(prices(DAYS[2]))
    assert warehouse.prices()["rate"].null_count() == 4
    with pytest.raises(WarehouseError, match=r"The column 'calendar' of prices must stay String, got Float64. Convert"):
        warehouse.store_prices(prices(DAYS[3], calendar=2.5))
    assert warehouse.newest_session() == DAYS[2]
    assert warehouse.oldest_session() == DAYS[0]


def test_the_rows_that_a_decision_was_taken_on_stay_readable(warehouse):
    named = versions_read(warehouse)["prices"]
    other = next(version for version in range(warehouse.versions()["prices"]) if version not in named)
    at = datetime(2024, 1, 5, tzinfo=UTC)
    warehouse.store_decision({"decision": "a", "as_of": DAYS[-1], "prices_version": other, "at": at})
    assert versions_read(warehouse)["prices"] == sorted([*named, other])
