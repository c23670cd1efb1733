"""A short form of `make drill`: a kill of each, and the tables as if nothing had happened."""

import os
import shutil
from dataclasses import replace
from datetime import date

import pytest

from tests import drill

KILLED_AFTER = "table decisions"
CHEAP = {"TIDECAST_GATE_MIN_ORIGINS": "252", "TIDECAST_GATE_MAX_ORIGINS": "504"}  # too little history: no network


def test_a_killed_and_repeated_day_leaves_what_an_undisturbed_one_leaves(tmp_path, prefect_api, empty_mlflow_db):
    tiny = drill.prepare(tmp_path, CHEAP | {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": os.environ["PREFECT_HOME"]})
    tiny.home.mkdir()
    shutil.copyfile(empty_mlflow_db, tiny.home / "mlflow.db")
    tiny.save("new")
    trace = tmp_path / "trace.jsonl"
    tiny.finish(tiny.first, trace)
    expected = drill.tables(tiny.home), drill.models(tiny.home)
    assert expected[0]["forecasts"].height == 3 * 5
    writes = [name for name, _ in drill.writes_in(trace)]
    again = replace(tiny, name="home-again")
    again.restore("new")
    again.killed(again.first, after=writes.index(KILLED_AFTER) + 1)  # trained, and nothing published
    run_here(again, again.first)
    drill.compare(again, expected, KILLED_AFTER)


def test_a_killed_backfill_that_is_repeated_leaves_what_an_undisturbed_one_leaves(
    tmp_path, prefect_api, empty_mlflow_db
):
    tiny = drill.prepare(tmp_path, CHEAP | {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": os.environ["PREFECT_HOME"]})
    tiny.home.mkdir()
    shutil.copyfile(empty_mlflow_db, tiny.home / "mlflow.db")
    run_here(tiny, tiny.second)
    tiny.save("done")
    first, last = tiny.between
    tiny = replace(tiny, since=first)
    trace = tmp_path / "trace.jsonl"
    tiny.finish(last, trace)
    expected = drill.tables(tiny.home), drill.models(tiny.home)
    assert expected[0]["runs"]["as_of"].to_list() == [first, last, tiny.second]
    assert expected[0]["forecasts"].height == 3 * 3 * 5
    writes = [name for name, _ in drill.writes_in(trace)]
    again = replace(tiny, name="home-again")
    again.restore("done")
    again.killed(last, after=writes.index("table forecasts") + 1)  # issued, and neither recorded nor scored
    assert drill.tables(again.home)["runs"].height == 1
    again.finish(last)
    drill.compare(again, expected, "table forecasts")


def test_a_difference_after_a_repeated_run_is_found(tmp_path):
    """The drill itself: a table with another number is told from the undisturbed one."""
    from tidecast.flows.warehouse.warehouse import Warehouse

    tiny = drill.prepare(tmp_path)
    warehouse = Warehouse(str(tiny.home / "warehouse"))
    warehouse.put_run({"as_of": tiny.first, "status": "done", "rows_in": 1})
    expected = drill.tables(tiny.home)
    warehouse.put_run({"as_of": tiny.first, "status": "done", "rows_in": 2})
    with pytest.raises(AssertionError, match="the table runs differs"):
        drill.compare(tiny, (expected, {}), "nothing")


def run_here(tiny: drill.Drill, as_of: date) -> None:
    """The day's flow in this process: faster than another process, and a folder that MLflow has not seen yet."""
    from tidecast.flows.config.state_folder import StateFolder
    from tidecast.flows.daily import daily_forecast
    from tidecast.flows.workspace.load_settings import load_settings

    shutil.copyfile(tiny.folder / f"{as_of}.csv", tiny.source)
    ours = {name: value for name, value in tiny.environ.items() if name.startswith("TIDECAST_")}
    settings, _ = load_settings(StateFolder(tiny.home), {"source": str(tiny.source)}, ours, tiny.folder)
    daily_forecast(as_of=as_of, home=str(tiny.home), settings=settings)
