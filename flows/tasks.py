"""The steps of the flows as Prefect tasks."""

from datetime import UTC, date, datetime
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from tidecast.features.error_text import counted
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.log import log
from tidecast.flows.prefect_ui.artifacts import show_day
from tidecast.flows.prefect_ui.panel_names import panel_name
from tidecast.flows.prefect_ui.run_names import ingest_name, run_links
from tidecast.flows.publish.export import publish_out
from tidecast.flows.reporting.watch_section import WatchData
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps import take_in
from tidecast.flows.steps.day import Day
from tidecast.flows.steps.promote import Promoter
from tidecast.flows.steps.take_in_ahead import take_in_ahead
from tidecast.flows.training.champion import Champion
from tidecast.flows.workspace.workspace import Workspace


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


@task(task_run_name="ingest-ahead {as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def ingest_ahead(workspace: Workspace, as_of: date) -> Workspace:
    """Sources of future covariates and events → `future_values` and `events`.

    Parameters
    ----------
    workspace : Workspace
    as_of : date

    Returns
    -------
    Workspace
        Its settings name the kinds of events.
    """
    settings = take_in_ahead(workspace.state_folder, workspace.warehouse, workspace.settings, as_of)
    return Workspace(workspace.state_folder, settings)


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
        log.info(f"Ended {counted(ended_runs, 'run')}, left behind by a search for settings that was killed.")
    Promoter.of(workspace).settle()


@task(task_run_name="catch-up before {ingested.as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def catch_up(workspace: Workspace, ingested: Ingested, today: date, now: datetime) -> dict[date, str]:
    """Missed sessions, each published as its own run would have done, and what its forecasts lack.

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
    return str(Promoter.of(workspace).train(as_of, "the daily flow", run_links())["outcome"])


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
    return steps.score_what_came_true(workspace.warehouse, workspace.settings, as_of, workspace.state_folder.walks)


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


@task(task_run_name="file-report {as_of}", cache_policy=NO_CACHE)
@fails_cleanly
def file_report(workspace: Workspace, as_of: date, report: Path) -> list[str]:
    """The session's page → the run of its training in MLflow, if it was trained before the page was written.

    Parameters
    ----------
    workspace : Workspace
    as_of : date
    report : Path
        The page.

    Returns
    -------
    list of str
        Ids of runs.
    """
    return steps.file_report(workspace.tracking(log.info), workspace.warehouse, as_of, report)


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
