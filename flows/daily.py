"""The daily forecast, a table of contents. The steps are in `steps.daily_steps`, what is due in `steps.due`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

from prefect import flow
from prefect.client.schemas import State
from prefect.runtime import flow_run
from prefect.states import Completed

from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.log import log
from tidecast.flows.opening import held, is_of_deployment, open_workspace
from tidecast.flows.prefect_ui.lost_runs import start_again
from tidecast.flows.prefect_ui.outcome import print_outcome
from tidecast.flows.prefect_ui.run_names import first_name, name_run
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps import take_in
from tidecast.flows.steps.day import Day, Incomplete, Problems
from tidecast.flows.steps.due import is_done, latest_day_anywhere, run_of, scheduled_day
from tidecast.flows.tasks import (
    catch_up,
    check_panel,
    close,
    copy_out,
    file_report,
    ingest_ahead,
    ingest_prices,
    publish,
    recover,
    resolve_champion,
    resolve_random_walk,
    score,
    show_in_prefect,
    train,
    write_report,
)
from tidecast.flows.warehouse.damage import refuse_lost_forecasts
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.watching import look_around, tell
from tidecast.flows.workspace.workspace import Workspace

TRAINING_FAILED = "failed"
"""The value in `runs` for a training that raised an error."""


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
    made_up : dict of date to str
        As of `Day.made_up`.
    """

    workspace: Workspace
    ingested: Ingested
    started: datetime
    problems: Problems
    made_up: Mapping[date, str] = field(default_factory=dict)

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
            session = _prepare(session, catches_up, today)
            trained, published = _publish(session, reissue)
            day = _follow_up(session, trained, published)
    _show(day)
    return _ended(day)


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


def _prepare(session: Session, catches_up: bool, today: date) -> Session:
    """Check the panel, take in what is known ahead, clear up after a killed run, and make up for missed sessions."""
    check_panel(session.workspace, session.as_of, session.ingested.left)
    session = _with_what_is_known_ahead(session)
    with session.problems.noted("clearing up after a killed run"):
        recover(session.workspace)
    if catches_up:
        with session.problems.noted("making up for missed sessions"):
            made_up = catch_up(session.workspace, session.ingested, today, session.started)
            session = replace(session, made_up=made_up)
    return session


def _with_what_is_known_ahead(session: Session) -> Session:
    """Take in future covariates and events, where the settings name sources. If it fails, forecasts do without."""
    if session.settings.future is None and session.settings.events is None:
        return session
    with session.problems.noted("reading what is known ahead"):
        workspace = ingest_ahead(session.workspace, session.as_of)
        ingested = replace(session.ingested, settings=workspace.settings)
        return replace(session, workspace=workspace, ingested=ingested)
    return session


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
    if report is not None:
        with problems.noted("storing the report in MLflow"):
            file_report(workspace, as_of, report)
    if seen.demoted or (trained is None and steps.training_is_due(session.warehouse, session.settings, as_of)):
        trained = _trained(session)
    tell(workspace, seen, problems)
    row = close(workspace, published.row, trained, bool(problems))
    return Day(
        workspace, as_of, session.ingested, row, published.champion, published.forecasts, report, tuple(problems),
        session.made_up,
    )  # fmt: skip


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
