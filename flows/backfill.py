"""The backfill, a table of contents: sessions that were missed or never run, each with what was known then."""

import logging
from datetime import UTC, date, datetime

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tidecast.features.error_text import counted
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, TidecastError
from tidecast.flows.log import log
from tidecast.flows.opening import held, open_workspace
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps.backfill import Backfilled, BackfillIncomplete, sessions_to_run
from tidecast.flows.steps.day import Problems
from tidecast.flows.steps.due import latest_day_anywhere
from tidecast.flows.steps.take_in import forgotten_if_nothing_is_published
from tidecast.flows.tasks import copy_out, ingest_ahead, ingest_prices, recover, score
from tidecast.flows.workspace.workspace import Workspace
from tidecast.forecasting.estimator.time_left import Work


@flow(name="backfill-forecasts")
@fails_cleanly
def backfill_forecasts(
    first: date, last: date, home: str | None = None, settings: Settings | None = None
) -> Backfilled:
    """Publish the sessions from `first` to `last` that have no forecasts, oldest first. Nothing is trained.

    Each session sees the prices known then and the champion of that day, else the champion's recipe refit on the rows
    up to it, else the random walk. Sessions that are done are skipped, so a backfill that was stopped continues. A
    session that fails does not stop the others.

    Parameters
    ----------
    first, last : date
        The first and the last session. Days without prices are left out.
    home : str, optional
        The state folder. None: found as the command finds it.
    settings : Settings, optional
        None: loaded from the state folder, the environment and pyproject.toml.

    Raises
    ------
    Busy
        Another run holds the state folder.
    SettingsError
        `last` lies before `first`.
    BackfillIncomplete
        Some sessions failed.
    TidecastError
        No session between has prices, or all failed.
    """
    log.setLevel(logging.INFO)
    now = datetime.now(UTC)
    if last < first:
        raise SettingsError(f"A backfill must end at or after its first session, got {first} to {last}. Swap them.")
    workspace, problems = open_workspace(home, settings), Problems()
    with held(workspace.state_folder, "tidecast backfill"), forgotten_if_nothing_is_published(workspace):
        workspace, found = ingest_prices(workspace, last, latest_day_anywhere(now), now)
        with problems.noted("reading what is known ahead"):
            workspace = _with_what_is_known_ahead(workspace, found.as_of)
        with problems.noted("clearing up after a killed run"):
            recover(workspace)
        todo, done = sessions_to_run(workspace.warehouse, first, last)
        log.info(f"{counted(len(todo), 'session')} to run from {first} to {last}; {len(done)} are done.")
        failed: list[date] = []
        shortfalls: dict[date, str] = {}
        work = Work("Backfill", len(todo), "sessions")
        for number, session in enumerate(todo, start=1):
            log.info(f"Session {number} of {len(todo)}: {session}{work.left(number - 1)} …")
            before = len(problems)
            with problems.noted(f"the session {session}"):
                named = run_session.with_options(task_run_name=f"session-{session}")
                shortfalls[session] = named(workspace, session, now)
            failed += [session] if len(problems) > before else []
        if done or len(failed) < len(todo):  # also after a kill between the last session and its end
            with problems.noted("scoring"):
                score(workspace, workspace.warehouse.runs()["as_of"][-1])
            if workspace.settings.publish_to is not None:
                with problems.noted("copying the forecasts out"):
                    copy_out(workspace)
            with problems.noted("the index of reports"):
                steps.write_index_page(workspace.warehouse, workspace.settings, workspace.state_folder.reports)
    result = Backfilled(tuple(day for day in todo if day not in failed), done, tuple(failed), shortfalls)
    if problems:
        incomplete = BackfillIncomplete(result, problems[0])
        raise incomplete if result.published or done else TidecastError(str(incomplete))
    return result


def _with_what_is_known_ahead(workspace: Workspace, as_of: date) -> Workspace:
    """Take in future covariates and events, where the settings name sources."""
    if workspace.settings.future is None and workspace.settings.events is None:
        return workspace
    return ingest_ahead(workspace, as_of)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def run_session(workspace: Workspace, session: date, now: datetime) -> str:
    """One session, published as its own run would have done, and what its forecasts lack.

    Parameters
    ----------
    workspace : Workspace
    session : date
    now : datetime
        When the backfill began.
    """
    return steps.run_past_session(
        workspace.state_folder, workspace.warehouse, workspace.registry(log.info), workspace.settings, session,
        latest_day_anywhere(now), now,
    )  # fmt: skip
