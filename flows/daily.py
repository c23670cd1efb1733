"""The daily forecast, a table of contents. The steps are in `steps.daily_steps`, what is due in `steps.due`."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State
from prefect.runtime import flow_run
from prefect.states import Completed

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder, find_state_folder, hold
from tidecast.flows.errors import SettingsError
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.log import log
from tidecast.flows.prefect_ui.artifacts import show_day
from tidecast.flows.prefect_ui.lost_runs import marked_alive, start_again
from tidecast.flows.prefect_ui.outcome import print_outcome
from tidecast.flows.prefect_ui.panel_names import panel_name
from tidecast.flows.prefect_ui.run_names import current_run, first_name, ingest_name, name_run
from tidecast.flows.publish.export import publish_out
from tidecast.flows.reporting.watch_section import WatchData
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps import take_in
from tidecast.flows.steps.day import Day, Incomplete, Problems
from tidecast.flows.steps.due import is_done, latest_day_anywhere, run_of, scheduled_day
from tidecast.flows.steps.promote import Promoter
from tidecast.flows.training.champion import Champion
from tidecast.flows.warehouse.damage import refuse_lost_forecasts
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.watching import look_around, tell
from tidecast.flows.workspace.load_settings import load_settings
from tidecast.flows.workspace.workspace import Workspace

TRAINING_FAILED = "failed"
"""The value in `runs` for a training that raised an error."""

PATIENCE = 3 * 3600.0
"""Seconds that a run of a deployment waits while another run holds the state folder; a command does not wait."""


@dataclass(frozen=True)
class Session:
    """A session whose prices are stored, and what the steps of its run share.

    Attributes
    ----------
    workspace : Workspace
    ingested : Ingested
    started : datetime
        For the record only.
    problems : Problems
        Failures so far.
    """

    workspace: Workspace
    ingested: Ingested
    started: datetime
    problems: Problems

    @property
    def as_of(self) -> date:
        return self.ingested.as_of

    @property
    def warehouse(self) -> Warehouse:
        return self.workspace.warehouse

    @property
    def settings(self) -> Settings:
        return self.workspace.settings


@flow(
    name="daily-forecast",
    flow_run_name=first_name,
    on_completion=[print_outcome],
    on_failure=[print_outcome],
    on_cancellation=[print_outcome],
    on_crashed=[print_outcome, start_again],
)
@fails_cleanly
def daily_forecast(
    as_of: date | None = None, reissue: bool = False, home: str | None = None, settings: Settings | None = None
) -> Day | State[Day]:
    """Forecast the sessions after `as_of`, and publish.

    Parameters
    ----------
    as_of : date, optional
        The session to stand on. None: the newest session of the source that has closed, in a scheduled run at its
        scheduled start time, after the missed sessions before it.
    reissue : bool
        Replace the forecasts that were issued for `as_of`.
    home : str, optional
        The state folder. None: found as the command finds it.
    settings : Settings, optional
        None: loaded from the state folder, the environment and pyproject.toml.

    Returns
    -------
    Day
        As the state "Skipped" when the session was done before.

    Raises
    ------
    Busy
        Another run holds the state folder.
    Incomplete
        A step failed after publishing, or the champion could not be used and the random walk was published.
    """
    log.setLevel(logging.INFO)  # a scheduled run has no terminal; Prefect keeps its log
    started = now = datetime.now(UTC)  # the one reading of the clock
    today = latest_day_anywhere(started)
    workspace = open_workspace(home, settings)
    catches_up = as_of is None
    if catches_up and is_of_deployment():
        now = flow_run.scheduled_start_time
        as_of = _scheduled_session(workspace, now)
    with held(workspace.state_folder, "the daily flow"), take_in.forgotten_if_nothing_is_published(workspace):
        workspace, ingested = ingest_prices(workspace, as_of, today, now)
        name_run(str(ingested.as_of))
        session = Session(workspace, ingested, started, Problems())
        if is_done(session.warehouse.runs(), session.as_of) and not reissue:
            day = _repeat(session)
        else:
            _prepare(session, catches_up, today)
            trained, published = _publish(session, reissue)
            day = _follow_up(session, trained, published)
    _show(day)
    return _ended(day)


def is_of_deployment() -> bool:
    """Whether Prefect's API started this run, and not a caller: a flow in a deployed flow of a user's has a caller."""
    run = current_run()
    return run is not None and run.deployment_id is not None


@contextmanager
def held(folder: StateFolder, what: str, home: StateFolder | None = None) -> Iterator[None]:
    """Hold the lock of a folder; a run of a deployment waits for it, a command is refused.

    Parameters
    ----------
    folder : StateFolder
    what : str
        The flow, for messages.
    home : StateFolder, optional
        The state folder, if `folder` is one inside it.
    """
    with marked_alive(home or folder), hold(folder, what, PATIENCE if is_of_deployment() else 0.0, log.info):
        yield


def _show(day: Day) -> None:
    """Show the day on Prefect's pages. A failure there changes nothing in the tables, so it is logged only."""
    if day.was_done_before:
        return
    try:
        show_in_prefect(day)
    except Exception as error:
        log.warning(f"The day could not be shown on Prefect's pages: {type(error).__name__}: {error}")


def _scheduled_session(workspace: Workspace, scheduled: datetime) -> date:
    """The day of the scheduled start time; a later session that was run before it is reported."""
    as_of = scheduled_day(scheduled, workspace.settings)
    newest = workspace.warehouse.runs()["as_of"].max()
    if isinstance(newest, date) and newest > as_of:
        log.warning(f"This run was scheduled for {as_of}, before {newest}, the newest session run: it is late.")
    return as_of


def _repeat(session: Session) -> Day:
    """A session that was done before: only a copy may be missing, because copying failed that day."""
    refuse_lost_forecasts(session.warehouse, session.as_of)
    _copy_elsewhere(session)
    seen = look_around(session.workspace, session.ingested, session.started, session.problems)
    tell(session.workspace, seen, session.problems)
    row = run_of(session.warehouse.runs(), session.as_of) or {}
    return Day(session.workspace, session.as_of, session.ingested, row, problems=tuple(session.problems))


def _prepare(session: Session, catches_up: bool, today: date) -> None:
    """Check the panel, clear up after a killed run, and make up for missed sessions."""
    check_panel(session.workspace, session.as_of, session.ingested.left)
    with session.problems.noted("clearing up after a killed run"):
        recover(session.workspace)
    if catches_up:
        with session.problems.noted("making up for missed sessions"):
            catch_up(session.workspace, session.ingested, today, session.started)


def _publish(session: Session, reissue: bool) -> tuple[str | None, steps.Published]:
    """Publish the champion's forecasts, or the random walk's where it fails. A panel's first run trains before it."""
    workspace, as_of = session.workspace, session.as_of
    trained = published = None
    if steps.is_first(session.warehouse.runs(), as_of):
        trained = _trained(session)
    with session.problems.noted("forecasting with the champion"):
        champion = resolve_champion(workspace, as_of)
        published = publish(workspace, session.ingested, champion, reissue, trained, session.started)
    if published is None:
        walk = resolve_random_walk(workspace, as_of)
        published = publish(workspace, session.ingested, walk, reissue, trained, session.started)
    return trained, published


def _follow_up(session: Session, trained: str | None, published: steps.Published) -> Day:
    """Copy out, score, watch, report, train when it is due, and close the session's row."""
    workspace, as_of, problems = session.workspace, session.as_of, session.problems
    report = None
    _copy_elsewhere(session)
    with problems.noted("scoring"):
        score(workspace, as_of)
    seen = look_around(workspace, session.ingested, session.started, problems)
    with problems.noted("the report"):
        report = write_report(workspace, session.ingested, published, seen.page)
    if seen.demoted or (trained is None and steps.training_is_due(session.warehouse, session.settings, as_of)):
        trained = _trained(session)
    tell(workspace, seen, problems)
    row = close(workspace, published.row, trained, bool(problems))
    return Day(
        workspace, as_of, session.ingested, row, published.champion, published.forecasts, report, tuple(problems)
    )


def _ended(day: Day) -> Day | State[Day]:
    """Return the day, as the state "Skipped" when it was done before; raise when a step failed."""
    if day.outcome == "incomplete":
        raise Incomplete(day)
    if day.outcome == "done before":
        skipped: State[Day] = Completed(name="Skipped", message=f"{day.as_of} was done before.", data=day)
        return skipped
    return day


def _trained(session: Session) -> str:
    """Train; return the outcome, or that it failed."""
    with session.problems.noted("training"):
        return train(session.workspace, session.as_of)
    return TRAINING_FAILED


def _copy_elsewhere(session: Session) -> None:
    """Copy forecasts out where the settings name a table for them."""
    if session.settings.publish_to is not None:
        with session.problems.noted("copying the forecasts out"):
            copy_out(session.workspace)


def open_workspace(home: str | None, settings: Settings | None) -> Workspace:
    """Open the state folder with its settings: those of the call, or those that the command would find.

    Parameters
    ----------
    home : str or None
        Its path. None: the nearest one upwards.
    settings : Settings or None
        None: those of mlflow.yml, panel.json and the environment.

    Raises
    ------
    SettingsError
        A run that Prefect's API started has a home or settings among its parameters. A request must not choose the
        files that are read and the addresses that variables are sent to.
    """
    if is_of_deployment() and (home is not None or settings is not None):
        raise parameters_refused()
    found = find_state_folder(home, os.environ, Path.cwd())
    return Workspace(found, settings or load_settings(found, {}, os.environ, Path.cwd())[0])


def parameters_refused() -> SettingsError:
    """Return the error for a request to Prefect's API that names a home or settings."""
    return SettingsError(
        "A run of a deployment must take its home and settings from where it is served, got them as parameters. Leave "
        "them out; set TIDECAST_HOME and the settings where the deployment is served, as `tidecast schedule` does."
    )


@task(task_run_name=ingest_name, cache_policy=NO_CACHE)
@fails_cleanly
def ingest_prices(workspace: Workspace, as_of: date | None, today: date, now: datetime) -> tuple[Workspace, Ingested]:
    """Source → checks → `prices` and `quarantine`.

    Parameters
    ----------
    workspace : Workspace
    as_of : date or None
        The last session to take in. None: the newest.
    today : date
        The latest day that a price can have.
    now : datetime
        When the run was started or, in a scheduled run, was to start. Rows of sessions that close later wait.
    """
    found = take_in.take_in_prices(workspace.state_folder, workspace.warehouse, workspace.settings, as_of, today, now)
    return Workspace(workspace.state_folder, found.settings), found


@task(task_run_name="check-panel {as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def check_panel(workspace: Workspace, as_of: date, left: int) -> None:
    """Refuse a panel of which nothing can be forecast.

    Parameters
    ----------
    workspace : Workspace
    as_of : date
    left : int
        Rows of the source that wait for a later run.
    """
    take_in.check_panel(workspace.warehouse, workspace.settings, as_of, left)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def recover(workspace: Workspace) -> None:
    """End what a killed run left running in MLflow, log what could not be logged, carry out what was decided.

    Parameters
    ----------
    workspace : Workspace
    """
    for ended in workspace.tracking(log.info).recover():
        log.info(f"Ended {ended}, left behind by a run that was killed.")
    if ended_runs := workspace.tuning_runs(log.info).recover():
        log.info(f"Ended {ended_runs} runs, left behind by a search for settings that was killed.")
    Promoter.of(workspace).settle()


@task(task_run_name="catch-up before {ingested.as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def catch_up(workspace: Workspace, ingested: Ingested, today: date, now: datetime) -> list[date]:
    """Missed sessions, each published as its own run would have done.

    Parameters
    ----------
    workspace : Workspace
    ingested : Ingested
    today : date
        The latest day that a price can have.
    now : datetime
        With a time zone.
    """
    return steps.catch_up(
        workspace.state_folder, workspace.warehouse, workspace.registry(log.info), ingested, today, now
    )


@task(task_run_name="train {as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def train(workspace: Workspace, as_of: date) -> str:
    """Select → gate → refit → MLflow → champion.

    Parameters
    ----------
    workspace : Workspace
    as_of : date

    Returns
    -------
    str
        The outcome of the decision.
    """
    links = {"id": flow_run.id, "url": flow_run.ui_url}
    prefect = {key: str(value) for key, value in links.items() if value}
    return str(Promoter.of(workspace).train(as_of, "the daily flow", prefect)["outcome"])


@task(task_run_name="resolve-champion {as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def resolve_champion(workspace: Workspace, as_of: date) -> Champion:
    """The champion of that day, or its stand-in.

    Parameters
    ----------
    workspace : Workspace
    as_of : date
    """
    return steps.champion_of(workspace.registry(log.info), workspace.warehouse, workspace.settings, as_of)


@task(task_run_name="resolve-random-walk {as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def resolve_random_walk(workspace: Workspace, as_of: date) -> Champion:
    """The random walk, published when the champion cannot be used.

    Parameters
    ----------
    workspace : Workspace
    as_of : date
    """
    reason = "The champion could not be used, so the random walk stands in."
    return steps.random_walk_of(workspace.warehouse, workspace.settings, as_of, reason)


@task(task_run_name="publish {ingested.as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def publish(
    workspace: Workspace, ingested: Ingested, champion: Champion, reissue: bool, trained: str | None, now: datetime
) -> steps.Published:
    """Champion → forecast table → `forecasts`, in one commit.

    Parameters
    ----------
    workspace : Workspace
    ingested : Ingested
    champion : Champion
    reissue : bool
        Whether to replace issued forecasts.
    trained : str or None
        Outcome of a training before; None without one.
    now : datetime
        With a time zone.
    """
    run_id = str(flow_run.id or "")
    return steps.publish(workspace.warehouse, workspace.settings, ingested, champion, now, reissue, trained, run_id)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def copy_out(workspace: Workspace) -> list[date]:
    """`forecasts` → a table of the user's.

    Parameters
    ----------
    workspace : Workspace

    Returns
    -------
    list of date
        Sessions that were copied.
    """
    return publish_out(workspace.warehouse, workspace.settings)


@task(task_run_name="score up to {as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def score(workspace: Workspace, as_of: date) -> int:
    """Forecasts that have come true → `scores`.

    Parameters
    ----------
    workspace : Workspace
    as_of : date

    Returns
    -------
    int
        Scores that are new.
    """
    return steps.score_what_came_true(workspace.warehouse, workspace.settings, as_of)


@task(task_run_name="write-report {ingested.as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def write_report(
    workspace: Workspace, ingested: Ingested, published: steps.Published, watched: WatchData | None = None
) -> Path:
    """The session's page, for people.

    Parameters
    ----------
    workspace : Workspace
    ingested : Ingested
    published : steps.Published
    watched : WatchData, optional
        The watch's part of the page.
    """
    folder = workspace.state_folder.reports
    return steps.write_report_page(workspace.warehouse, workspace.settings, ingested, published, folder, watched)


@task(task_run_name="close {row[as_of]}", cache_policy=NO_CACHE)
@fails_cleanly
def close(workspace: Workspace, row: steps.Row, trained: str | None, failed: bool) -> steps.Row:
    """The final row of `runs`.

    Parameters
    ----------
    workspace : Workspace
    row : steps.Row
        Of `runs`.
    trained : str or None
        Outcome of a training in this run; None without one.
    failed : bool
        Whether a step after the publication failed.
    """
    return steps.close(workspace.warehouse, row, trained, failed, datetime.now(UTC))


@task(task_run_name="show-in-prefect {day.as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def show_in_prefect(day: Day) -> None:
    """A summary, a table, a picture and a link to the model's run, as artifacts.

    Parameters
    ----------
    day : Day
    """
    run_id = day.champion.run_id if day.champion is not None else ""
    url = day.workspace.tracking(log.info).url_of(run_id) if run_id else None
    show_day(day, panel_name(day.workspace.state_folder), url)
