"""A short form of `make drill`: a kill of each, and the tables as if nothing had happened."""

import os
import shutil
from dataclasses import replace
from datetime import date

import pytest

from tests import drill
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.workspace.load_settings import load_settings

KILLED_AFTER = "table decisions"
CHEAP = {"TIDECAST_GATE_MIN_ORIGINS": "252", "TIDECAST_GATE_MAX_ORIGINS": "504"}  # too little history: no network


@pytest.fixture
def tiny(tmp_path, plain_days, empty_mlflow_db) -> drill.Drill:
    """A panel on which nothing was run yet."""
    server = {"PREFECT_API_URL": plain_days, "PREFECT_HOME": os.environ["PREFECT_HOME"]}
    made = drill.prepare(tmp_path, CHEAP | server)
    made.home.mkdir()
    shutil.copyfile(empty_mlflow_db, made.home / "mlflow.db")
    return made


def test_a_killed_and_repeated_day_leaves_what_an_undisturbed_one_leaves(tiny):
    tiny.save("new")
    run_here(tiny, tiny.first)
    expected = drill.tables(tiny.home), drill.models(tiny.home)
    assert expected[0]["forecasts"].height == 3 * 5
    again = replace(tiny, name="home-again")
    again.restore("new")
    again.killed(again.first, after=KILLED_AFTER)  # trained, and nothing published
    run_here(again, again.first)
    drill.compare(again, expected, KILLED_AFTER)


def test_a_killed_backfill_that_is_repeated_leaves_what_an_undisturbed_one_leaves(tiny):
    run_here(tiny, tiny.second)
    tiny.save("done")
    first, last = tiny.between
    backfill_here(tiny)
    expected = drill.tables(tiny.home), drill.models(tiny.home)
    assert expected[0]["runs"]["as_of"].to_list() == [first, last, tiny.second]
    assert expected[0]["forecasts"].height == 3 * 3 * 5
    again = replace(tiny, name="home-again", since=first)
    again.restore("done")
    again.killed(last, after="table forecasts")  # issued, and neither recorded nor scored
    assert drill.tables(again.home)["runs"].height == 1
    backfill_here(again)
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
    from tidecast.flows.daily import daily_forecast

    shutil.copyfile(tiny.folder / f"{as_of}.csv", tiny.source)
    daily_forecast(as_of=as_of, home=str(tiny.home), settings=settings_of(tiny))


def backfill_here(tiny: drill.Drill) -> None:
    """The flow of a backfill in this process."""
    from tidecast.flows.backfill import backfill_forecasts

    backfill_forecasts(*tiny.between, home=str(tiny.home), settings=settings_of(tiny))


def settings_of(tiny: drill.Drill) -> Settings:
    """The settings as a command in the drill's environment would load them."""
    ours = {name: value for name, value in tiny.environ.items() if name.startswith("TIDECAST_")}
    return load_settings(StateFolder(tiny.home), {"source": str(tiny.source)}, ours, tiny.folder)[0]
