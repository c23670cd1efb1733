"""Prices in: what a panel is, is remembered before it is stored, and a panel too short to forecast is refused."""

import logging
from datetime import UTC, date, datetime

import polars as pl
import pytest

from tidecast.flows.config.panel_file import remembered
from tidecast.flows.errors import SettingsError, TidecastError, WarehouseError
from tidecast.flows.ingest.ingest import ingest
from tidecast.flows.scheduling.launch import run_day
from tidecast.flows.sources import SqlSource
from tidecast.flows.sources.prefetch import prefetch
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps.take_in import check_panel
from tidecast.flows.warehouse.warehouse import Warehouse

TODAY = date(2030, 1, 1)


def test_a_source_whose_prices_are_stored_is_remembered_whatever_fails_then(sandbox, monkeypatch):
    def fail(*arguments):
        raise WarehouseError("the disk is full")

    monkeypatch.setattr(Warehouse, "store_quarantine", fail)
    with pytest.raises(WarehouseError, match="disk is full"):
        sandbox.take_in(None, TODAY)
    assert sandbox.workspace.warehouse.prices().height == 3 * 130
    assert str(sandbox.source) in sandbox.workspace.state_folder.panel_file.read_text()


def test_until_something_is_published_another_source_begins_afresh_and_is_never_mixed_in(sandbox):
    sandbox.take_in(None, TODAY)
    other = sandbox.folder / "other.csv"
    sandbox.rows.filter(pl.col("series_id") == "A").with_columns(series_id=pl.lit("Z")).write_csv(other)
    sandbox.settings["source"] = str(other)
    sandbox.take_in(None, TODAY)
    assert sandbox.workspace.warehouse.prices()["series_id"].unique().to_list() == ["Z"]
    assert remembered(sandbox.workspace.state_folder)["source"] == str(other)


def test_another_horizon_leaves_the_stored_prices_as_they_are(sandbox):
    sandbox.take_in(None, TODAY)
    sandbox.settings["horizon"] = 2
    _, found = sandbox.take_in(None, TODAY)
    assert (found.stored, found.unchanged) == (0, 3 * 130)


def test_once_something_is_published_another_source_is_refused(sandbox):
    workspace, found = sandbox.take_in(None, TODAY)
    workspace.warehouse.put_run({"as_of": found.as_of, "status": "published"})
    sandbox.settings["source"] = "ecb"
    with pytest.raises(SettingsError, match="holds another panel: source is 'ecb'"):
        _ = sandbox.workspace


@pytest.mark.parametrize(
    ("lookback", "horizon", "longest"),
    [(131, 1, "'A', has 130"), (126, 5, "'A', has 130"), (130, 1, "'A', has 130")],
)
def test_a_panel_too_short_to_learn_from_is_refused_with_what_is_needed(sandbox, lookback, horizon, longest):
    sandbox.settings |= {"lookback": lookback, "horizon": horizon}
    workspace, found = sandbox.take_in(None, TODAY)
    need = rf"must have lookback = {lookback} rows .* lookback \+ horizon = {lookback + horizon} rows .*{longest}"
    with pytest.raises(TidecastError, match=need):
        check_panel(workspace.warehouse, workspace.settings, found.as_of)


def test_a_panel_just_long_enough_is_let_through_and_can_be_forecast(sandbox):
    sandbox.settings |= {"lookback": 126, "horizon": 4}
    workspace, found = sandbox.take_in(None, TODAY)
    check_panel(workspace.warehouse, workspace.settings, found.as_of)
    model = steps.random_walk_of(workspace.warehouse, workspace.settings, found.as_of, "").model
    assert model.predict(workspace.warehouse.prices(found.as_of)).height == 3 * 4


def test_a_panel_that_never_moves_has_no_distribution_to_learn_and_is_accepted(sandbox):
    sandbox.rows = sandbox.rows.with_columns(close=pl.lit(15.6466))
    sandbox.write()
    sandbox.settings |= {"lookback": 130, "horizon": 5}
    workspace, found = sandbox.take_in(None, TODAY)
    check_panel(workspace.warehouse, workspace.settings, found.as_of)
    assert (
        steps.random_walk_of(workspace.warehouse, workspace.settings, found.as_of, "").model.predict().height == 3 * 5
    )


def test_before_anything_is_published_a_new_known_at_starts_afresh_and_the_same_settings_do_not(sandbox, caplog):
    """Once, prices stayed that were stored as known from their session, beside those of the column."""
    sandbox.rows = sandbox.rows.with_columns(loaded=pl.col("time").dt.offset_by("1d"))
    sandbox.write()
    for same in range(2):  # the second time as after a failed start, which is forgotten
        workspace, found = sandbox.take_in(None, TODAY)
        assert (found.stored, found.unchanged) == ((0, 390) if same else (390, 0))
        workspace.state_folder.panel_file.unlink()
    sandbox.settings["known_at"] = "loaded"
    workspace, found = sandbox.take_in(None, TODAY)
    assert "Other known_at than before, and nothing published yet: prices begin afresh." in caplog.text
    revisions = workspace.warehouse.revisions()
    assert (revisions["known_at"] == revisions["time"].dt.offset_by("1d")).all()


def test_a_day_that_was_done_reads_its_database_once(sandbox, monkeypatch):
    asked = []

    def fetch(source, since=None, read=SqlSource.fetch):
        asked.append(since)
        return read(source, since)

    monkeypatch.setattr(SqlSource, "fetch", fetch)
    database = f"sqlite:///{sandbox.folder / 'prices.db'}"
    sandbox.rows.write_database("prices", database)
    sandbox.settings |= {"source": database, "table": "prices", "reread_sessions": 5}
    sessions = sandbox.sessions
    for day in sessions[-3:-1]:
        workspace, found = sandbox.take_in(day, TODAY)
    workspace.warehouse.put_run({"as_of": found.as_of, "status": "done", **found.run_counts})
    asked.clear()
    day = run_day(workspace.state_folder, workspace.settings, sessions[-2], reissue=False)
    assert (day.was_done_before, day.ingested.stored, day.as_of) == (True, 0, sessions[-2])
    assert asked == [sessions[-8]]  # five before the newest that the run before it had stored
    asked.clear()
    prefetch(workspace.settings, sessions[-8])  # as for that day; the next one needs less
    assert ingest(workspace.warehouse, workspace.settings).stored == 3
    assert asked == [sessions[-8]]


def test_a_day_that_was_done_says_which_rows_wait_for_their_session_to_close(sandbox, caplog):
    caplog.set_level(logging.INFO, "tidecast")
    sandbox.settings["calendar"] = "24/7"  # whose session of today is always open
    workspace, found = sandbox.take_in(None, TODAY)
    workspace.warehouse.put_run({"as_of": found.as_of, "status": "done", **found.run_counts})
    today = datetime.now(UTC).date()
    sandbox.rows = pl.concat([sandbox.rows, pl.DataFrame({"series_id": "A", "time": [today], "close": 1.0})])
    sandbox.write()
    day = run_day(workspace.state_folder, workspace.settings, None, reissue=False)
    assert (day.was_done_before, day.as_of) == (True, found.as_of)
    assert f"1 row waits, because its session has not closed: {today} of 24/7 closes at" in caplog.text


def test_a_feed_without_new_prices_was_once_not_named_by_a_command_with_nothing_to_do(sandbox, caplog):
    sandbox.settings["calendar"] = "24/7"
    workspace, found = sandbox.take_in(None, TODAY)
    workspace.warehouse.put_run({"as_of": found.as_of, "status": "done", **found.run_counts})
    caplog.clear()
    day = run_day(workspace.state_folder, workspace.settings, None, reissue=False)
    assert day.was_done_before
    assert f"The feed has no price after {found.as_of}: it is late, or frozen." in caplog.text
    caplog.clear()
    run_day(workspace.state_folder, workspace.settings, sandbox.sessions[-1], reissue=False)  # the newest, by its name
    assert "The feed has no price after" in caplog.text


def test_a_day_whose_forecasts_are_lost_was_once_said_to_be_done(sandbox):
    workspace, found = sandbox.take_in(sandbox.sessions[-1], TODAY)
    workspace.warehouse.put_run({"as_of": found.as_of, "status": "done", "series_forecast": 3, **found.run_counts})
    with pytest.raises(WarehouseError, match=f"has none.*tidecast run --as-of {found.as_of} --reissue$"):
        run_day(workspace.state_folder, workspace.settings, found.as_of, reissue=False)


def test_a_stale_feed_of_which_nothing_was_stored_was_once_said_to_be_stored(sandbox, caplog):
    caplog.set_level(logging.INFO, "tidecast")
    sandbox.take_in(None, TODAY)
    assert "Stored and flagged: 1 stale_feed." in caplog.text
    caplog.clear()
    _, found = sandbox.take_in(None, TODAY)
    assert (found.stored, found.doubts) == (0, {"stale_feed": 1})
    assert " Flagged: 1 stale_feed." in caplog.text
    assert "Stored and flagged" not in caplog.text
