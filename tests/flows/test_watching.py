"""The watch in the real flow: a feed that freezes is named on the page, in the tables and as an event."""

import time
from datetime import UTC, datetime, timedelta

import httpx
import polars as pl
import pytest


@pytest.fixture
def of_these_days(sandbox):
    """The sandbox's panel, with a price every day up to four days ago."""
    last = datetime.now(UTC).date() - timedelta(days=4)
    days = pl.Series(sandbox.sessions)
    dates = pl.date_range(last - timedelta(days=len(days) - 1), last, eager=True)
    sandbox.rows = sandbox.rows.with_columns(pl.col("time").replace_strict(days, dates))
    sandbox.settings |= {"calendar": "24/7"}
    return sandbox


def events(api: str, home: str, wanted: str) -> list[str]:
    """Names of the panel's events on the server, once the wanted one is there."""
    for _ in range(60):
        found = httpx.post(f"{api}/events/filter", json={"filter": {"event": {"prefix": ["tidecast."]}}}).json()
        names = [one["event"] for one in found["events"] if one["resource"]["prefect.resource.name"] == home]
        if wanted in names:
            break
        time.sleep(1)
    return names


def test_a_feed_that_freezes_is_named_by_the_run_that_finds_nothing_new(of_these_days, prefect_api):
    sandbox = of_these_days
    home = str(sandbox.workspace.state_folder.path)
    sandbox.write()
    first = sandbox.run()
    assert "tidecast.stale_feed" in events(prefect_api, home, "tidecast.stale_feed")
    again = sandbox.run()
    assert again.was_done_before
    assert sandbox.workspace.warehouse.looks()["newest"].to_list() == [first.as_of]
    page = first.report.read_text()
    assert f"The feed has no price after {first.as_of}: it is late, or frozen." in page
    assert "No live forecast can be scored yet" in page
