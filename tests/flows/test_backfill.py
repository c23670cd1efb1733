"""The backfill: past sessions in order, each with what was known then; it continues where it stopped."""

from datetime import date

import polars as pl
import pytest

from tidecast.flows.config.state_folder import hold
from tidecast.flows.errors import Busy, Partial, SettingsError, TidecastError
from tidecast.flows.steps import daily_steps


@pytest.fixture
def backfill(sandbox, plain_days):
    def run(first, last):
        from tidecast.flows.backfill import backfill_forecasts

        workspace = sandbox.workspace
        return backfill_forecasts(first, last, home=str(workspace.state_folder.path), settings=workspace.settings)

    sandbox.settings["max_epochs"] = 0
    return run


def test_a_backfill_publishes_each_session_as_its_own_day_would_and_skips_what_is_done(
    sandbox, backfill, monkeypatch, tables, tmp_path
):
    *_, first, broken, last, newest = sandbox.sessions
    sandbox.run()
    publish = daily_steps.publish
    with monkeypatch.context() as patch:
        patch.setattr(daily_steps, "publish", lambda *a, **k: _fail_on(broken, a) or publish(*a, **k))
        with pytest.raises(
            Partial, match=rf"2 sessions are published, 0 done before, 1 failed. .*{broken} failed"
        ) as incomplete:
            backfill(first, last)
    assert incomplete.value.result.failed == (broken,)
    warehouse = sandbox.workspace.warehouse
    assert warehouse.runs()["as_of"].to_list() == [first, last, newest]

    found = backfill(first, newest)  # it continues
    assert (found.published, found.done_before) == ((broken,), (first, last, newest))
    issued = warehouse.forecasts().filter(pl.col("as_of") < newest)
    assert issued.height == 3 * 3 * 5
    assert (issued["origin"] == issued["as_of"]).all()
    assert (issued["trained_through"] <= issued["as_of"]).all()
    late = issued.filter(pl.col("as_of") < last)  # more than one session before the newest
    assert not late["live"].any()
    scored = warehouse.scores().group_by("as_of").len().sort("as_of").rows()
    assert scored == [(first, 3 * 3), (broken, 3 * 2), (last, 3)]

    reports = sandbox.workspace.state_folder.reports
    index = (reports / "index.html").read_text()
    assert [f'<a href="{day}.html">' in index for day in (first, broken, last, newest)] == [False, False, False, True]
    assert index.count('<th scope="row">') == 4

    warehouse._delete("scores", last)  # as if it had been killed after its last session, before it scored
    assert backfill(first, last).published == ()
    assert warehouse.scores().group_by("as_of").len().sort("as_of").rows() == scored

    versions = warehouse.versions()
    assert backfill(first, last).published == ()
    assert warehouse.versions() == versions


def test_a_backfill_of_impossible_days_is_refused(sandbox, backfill):
    sandbox.take_in(None, date(2030, 1, 1))
    with pytest.raises(SettingsError, match="must end at or after its first session"):
        backfill(sandbox.sessions[-1], sandbox.sessions[-2])
    with pytest.raises(TidecastError, match=r"must be prices from 2030-01-01 .* found none. The panel has prices from"):
        backfill(date(2030, 1, 1), date(2030, 2, 1))


def test_a_backfill_beside_another_run_is_refused_by_its_name(sandbox, backfill, tables):
    sandbox.take_in(None, date(2030, 1, 1))
    home, before = sandbox.workspace.state_folder, tables(sandbox.workspace.state_folder.path)
    with hold(home, "tidecast backfill"), pytest.raises(Busy, match="held by tidecast backfill, process"):
        backfill(*sandbox.sessions[-3:-1])
    assert all(before[name].equals(table) for name, table in tables(home.path).items())


def _fail_on(session, arguments):
    if arguments[2].as_of == session:
        raise MemoryError("no memory left")
