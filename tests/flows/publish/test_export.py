"""Forecasts into a table of the user's: a real PostgreSQL, twice, after a reissue, after a kill; SQLite in a run."""

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import WarehouseError
from tidecast.flows.log import log
from tidecast.flows.publish.export import publish_out
from tidecast.flows.warehouse.warehouse import Warehouse

MONDAY, TUESDAY = date(2024, 1, 1), date(2024, 1, 2)


def forecasts(as_of, price=1.0, series=("A", "B")):
    return pl.DataFrame(
        [
            {
                "series_id": name, "step": step, "origin": as_of, "time": as_of + timedelta(days=step),
                "forecast": price, "q0.05": price * 0.9, "q0.95": price * 1.1, "model": "GRU", "run_id": "r1",
                "live": True, "trained_through": as_of,
            }
            for name in series
            for step in (1, 2)
        ]
    )  # fmt: skip


@pytest.fixture
def warehouse(tmp_path):
    made = Warehouse(str(tmp_path / "warehouse"))
    made.publish(MONDAY, forecasts(MONDAY))
    made.publish(TUESDAY, forecasts(TUESDAY, 2.0))
    return made


@pytest.fixture
def settings(postgres):
    return Settings(publish_to=postgres.address, publish_table="outbox")


def there(postgres, table="outbox"):
    with postgres.connect() as connection:
        cursor = connection.execute(f"SELECT * FROM {table} ORDER BY as_of, series_id, step")
        rows = cursor.fetchall()
        return pl.DataFrame(rows, schema=[column.name for column in cursor.description], orient="row")


def ours(warehouse):
    return warehouse.forecasts().drop("year")


def test_the_table_is_made_and_holds_what_is_published_and_a_second_time_does_nothing(postgres, warehouse, settings):
    assert publish_out(warehouse, settings) == [MONDAY, TUESDAY]
    first = there(postgres)
    assert first.equals(ours(warehouse))
    assert publish_out(warehouse, settings) == []
    assert there(postgres).equals(first)


def test_a_new_session_and_a_reissued_one_are_copied_and_no_other(postgres, warehouse, settings):
    publish_out(warehouse, settings)
    wednesday = date(2024, 1, 3)
    warehouse.publish(wednesday, forecasts(wednesday))
    warehouse.publish(MONDAY, forecasts(MONDAY, series=("A",)), reissue=True)
    assert publish_out(warehouse, settings) == [MONDAY, wednesday]
    changed = forecasts(TUESDAY, 2.0).with_columns(pl.col("q0.95") + 1)  # the medians stay
    warehouse.publish(TUESDAY, changed, reissue=True)
    assert publish_out(warehouse, settings) == [TUESDAY]
    assert there(postgres).equals(ours(warehouse))


def test_rows_that_were_lost_or_changed_over_there_are_put_right(postgres, warehouse, settings):
    publish_out(warehouse, settings)
    postgres.execute("DELETE FROM outbox WHERE as_of = '2024-01-01' AND step = 2", "UPDATE outbox SET forecast = 7")
    assert publish_out(warehouse, settings) == [MONDAY, TUESDAY]
    assert there(postgres).equals(ours(warehouse))


KILLED = """
import os, signal, sys
from sqlalchemy import event, Engine
from tidecast.flows.publish.export import publish_out
from tidecast.flows.config.settings import Settings
from tidecast.flows.warehouse.warehouse import Warehouse

commits = []

@event.listens_for(Engine, "commit")
def die(connection):
    commits.append(1)
    if len(commits) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

publish_out(Warehouse(sys.argv[1]), Settings(publish_to=sys.argv[2], publish_table=sys.argv[3]))
"""


def test_killed_before_a_commit_and_run_again_the_table_is_the_same(postgres, warehouse, settings):
    publish_out(warehouse, settings)
    warehouse.publish(MONDAY, forecasts(MONDAY, 3.0), reissue=True)
    warehouse.publish(TUESDAY, forecasts(TUESDAY, 4.0), reissue=True)
    arguments = [sys.executable, "-c", KILLED, warehouse.uri, settings.publish_to, "outbox", "3"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run(arguments, env=environ, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert there(postgres)["forecast"].to_list() == [3.0] * 4 + [2.0] * 4  # Monday came whole, Tuesday not at all
    publish_out(warehouse, settings)
    assert there(postgres).equals(ours(warehouse))


def test_a_table_that_cannot_take_them_is_one_clear_error(postgres, warehouse, settings):
    postgres.execute("CREATE TABLE outbox (as_of date, series_id text, step text, forecast float8)")
    with pytest.raises(
        WarehouseError, match=r"must have the columns .* lacks 'origin', .* and has step \(TEXT\)\. Fix"
    ):
        publish_out(warehouse, settings)
    elsewhere = settings.model_copy(update={"publish_to": settings.publish_to.replace("prices:", "nobody:")})
    with pytest.raises(
        WarehouseError, match=r"must take the forecasts, but the database says: .*authentication failed"
    ):
        publish_out(warehouse, elsewhere)


def test_what_was_copied_and_where_to_is_said(postgres, warehouse, settings, caplog):
    with caplog.at_level(logging.INFO, logger=log.name):
        publish_out(warehouse, settings)
    assert caplog.messages == [f"Copied the forecasts of 2 sessions to outbox of {postgres.address}."]


def test_columns_the_user_added_stay_and_a_table_in_a_schema_is_found(postgres, warehouse, settings):
    postgres.execute("CREATE SCHEMA out")
    mine = settings.model_copy(update={"publish_table": "out.mine"})
    publish_out(warehouse, mine)
    postgres.execute("ALTER TABLE out.mine ADD COLUMN seen timestamptz DEFAULT now()")
    warehouse.publish(MONDAY, forecasts(MONDAY, 3.0), reissue=True)
    assert publish_out(warehouse, mine) == [MONDAY]
    assert there(postgres, "out.mine").drop("seen").equals(ours(warehouse))


def test_a_copy_that_fails_undoes_no_publication_and_is_made_by_the_next_run(sandbox, plain_days):
    from tidecast.flows.scheduling.launch import run_day
    from tidecast.flows.steps.day import Incomplete

    folder = sandbox.folder / "later"
    sandbox.settings |= {"publish_to": f"sqlite:///{folder}/out.db", "max_epochs": 0}
    with pytest.raises(Incomplete, match="are published, but copying the forecasts out failed"):
        sandbox.run()
    published = ours(sandbox.workspace.warehouse)
    assert not published.is_empty()
    with pytest.raises(Incomplete, match="copying the forecasts out failed"):  # once, the short cut exited with 1
        run_day(sandbox.workspace.state_folder, sandbox.workspace.settings, None, reissue=False)
    folder.mkdir()
    for _ in range(2):  # the second time the day is done, and a row that was lost over there comes again
        sandbox.run()
        with sqlite3.connect(folder / "out.db") as connection:
            assert connection.execute("SELECT count(*), min(as_of) FROM forecasts").fetchone() == (
                published.height, str(published["as_of"][0]),
            )  # fmt: skip
            connection.execute("DELETE FROM forecasts WHERE step = 1")
        connection.close()
    assert ours(sandbox.workspace.warehouse).equals(published)
