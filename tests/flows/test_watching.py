"""The watch in the real flow: a feed that freezes is named on the page, in the tables and as an event."""

import time
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest

from tidecast.flows.scheduling.launch import run_day
from tidecast.flows.watch.events import announce


@pytest.fixture
def of_these_days(sandbox):
    """The sandbox's panel, with a price every day up to four days ago."""
    last = datetime.now(UTC).date() - timedelta(days=4)
    days = pl.Series(sandbox.sessions)
    dates = pl.date_range(last - timedelta(days=len(days) - 1), last, eager=True)
    sandbox.rows = sandbox.rows.with_columns(pl.col("time").replace_strict(days, dates))
    sandbox.settings |= {"calendar": "24/7"}
    return sandbox


def all_events(api: str) -> list[dict]:
    """Events of Tidecast on the server."""
    return httpx.post(f"{api}/events/filter", json={"filter": {"event": {"prefix": ["tidecast."]}}}).json()["events"]


def events(api: str, home: str, wanted: str) -> list[str]:
    """Names of the panel's events on the server, once the wanted one is there."""
    for _ in range(60):
        names = [one["event"] for one in all_events(api) if one["resource"]["prefect.resource.name"] == home]
        if wanted in names:
            break
        time.sleep(1)
    return names


def test_a_feed_that_freezes_is_named_by_the_run_that_finds_nothing_new(of_these_days, plain_days):
    sandbox = of_these_days
    home = str(sandbox.workspace.state_folder.path)
    sandbox.write()
    first = sandbox.run()
    assert "tidecast.stale_feed" in events(plain_days, home, "tidecast.stale_feed")
    again = sandbox.run()
    assert again.was_done_before
    assert sandbox.workspace.warehouse.looks()["newest"].to_list() == [first.as_of]
    page = first.report.read_text()
    assert f"The feed has no price after {first.as_of}: it is late, or frozen." in page
    assert "No live forecast can be scored yet" in page


def test_a_command_that_finds_nothing_new_once_sent_no_event(of_these_days, plain_days, monkeypatch):
    """And the panel had one id on its deployments, another in its events."""
    sandbox = of_these_days
    sandbox.write()
    sandbox.run()
    home = sandbox.workspace.state_folder
    sent = []
    monkeypatch.setenv("PREFECT_API_URL", plain_days)  # a server of the user's

    def announced(checked, panel, path, send=announce):
        sent.append((checked.states, panel))
        return send(checked, panel, path)

    monkeypatch.setattr("tidecast.flows.watch.events.announce", announced)
    day = run_day(home, sandbox.workspace.settings, None, reissue=False)
    assert day.was_done_before
    assert sent == [(("stale_feed",), home.panel_id())]
    for _ in range(60):  # the server stores them some time later
        found = [one for one in all_events(plain_days) if one["resource"]["prefect.resource.name"] == str(home.path)]
        if len(found) == 2:
            break
        time.sleep(1)
    assert [one["event"] for one in found] == ["tidecast.stale_feed"] * 2  # the run's, and this one
    assert {one["resource"]["prefect.resource.id"] for one in found} == {f"tidecast.panel.{home.panel_id()}"}
