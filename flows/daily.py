"""The daily forecast, a table of contents. The steps are in `daily_steps`, what is due in `due`."""

import logging
import os
from datetime import UTC, date, datetime
from pathlib import Path
from typing import cast

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import deployment, flow_run
from prefect.states import Completed

from tidecast.flows.config.settings import Settings, load_settings
from tidecast.flows.config.state_folder import find_state_folder, hold
from tidecast.flows.errors import SettingsError
from tidecast.flows.ingest.ingest import Ingested
from tidecast.flows.log import log
from tidecast.flows.outcome import tell
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.steps import daily_steps as steps
from tidecast.flows.steps import promote
from tidecast.flows.steps import take_in as intake
from tidecast.flows.steps.due import latest_day_anywhere, scheduled_day
from tidecast.flows.tracking.registry import Champion
from tidecast.flows.warehouse.damage import refuse_lost_forecasts
from tidecast.flows.workspace.workspace import Day, Incomplete, Place


@flow(name="daily-forecast", on_completion=[tell], on_failure=[tell])
@fails_cleanly
def daily_forecast(
    as_of: date | None = None, reissue: bool = False, home: str | None = None, settings: Settings | None = None
) -> Day:
    """Forecast the sessions after `as_of`, and publish.

    Parameters
    ----------
    as_of : date, optional
        The session to stand on. None: that of the scheduled start time, and the missed ones before it, in a scheduled
        run; else the newest session of the source.
    reissue : bool
        Replace what was issued for `as_of`.
    home : str, optional
        The state folder. None: found as the command finds it.
    settings : Settings, optional
        None: loaded from the state folder, the environment and pyproject.toml.

    Raises
    ------
    Busy
        Another run holds the state folder.
    Incomplete
        A step failed after publishing, or the champion could not be used and the random walk was published.
    """
    log.setLevel(logging.INFO)  # a scheduled run has no terminal; Prefect keeps its log
    now = datetime.now(UTC)  # for the record; what is forecast depends on as_of alone
    today = latest_day_anywhere(now)
    place = open_place(home, settings)
    is_scheduled = as_of is None and deployment.id is not None
    if is_scheduled:
        as_of = scheduled_day(flow_run.scheduled_start_time, place.settings)
        if (newest := place.warehouse.runs()["as_of"].max()) is not None and cast(date, newest) > as_of:
            log.warning(f"This run was scheduled for {as_of}, before {newest!s}, the newest session run: it is late.")

    with hold(place.home, "the daily flow"):
        place, ingested = ingest_prices(place, as_of, today)
        as_of = ingested.as_of
        problems = steps.Problems()
        if place.is_done(as_of) and not reissue:
            refuse_lost_forecasts(place.warehouse, as_of)
            publish_elsewhere(place, problems)  # a copy may have failed that day
            done = Day(place, as_of, ingested, place.run_of(as_of) or {}, problems=tuple(problems))
            if problems:
                raise Incomplete(done)
            return cast(Day, Completed(name="Skipped", message=f"{as_of} was done before.", data=done))
        check_panel(place, as_of)
        with problems.noted("clearing up after a killed run"):
            recover(place)
        if is_scheduled:
            with problems.noted("making up for missed sessions"):
                catch_up(place, ingested, today, now)

        is_first = steps.is_first(place, as_of)
        trained = published = report = None
        if is_first:
            with problems.noted("training"):
                trained = "failed"
                trained = train(place, as_of)
        with problems.noted("forecasting with the champion"):
            champion = resolve_champion(place, as_of)
            published = publish(place, ingested, champion, reissue, trained, now)
        if published is None:
            published = publish(place, ingested, resolve_random_walk(place, as_of), reissue, trained, now)
        publish_elsewhere(place, problems)
        with problems.noted("scoring"):
            score(place, as_of)
        with problems.noted("the report"):
            report = write_report(place, ingested, published)
        if not is_first and steps.training_is_due(place, as_of):
            with problems.noted("training"):
                trained = "failed"
                trained = train(place, as_of)
        row = close(place, published.row, trained, bool(problems))
        day = Day(place, as_of, ingested, row, published.champion, published.forecasts, report, tuple(problems))
    if problems:
        raise Incomplete(day)
    return day


def publish_elsewhere(place: Place, problems: steps.Problems) -> None:
    """Copy out what is not there yet, where the settings name a table for it."""
    if place.settings.publish_to is not None:
        with problems.noted("copying the forecasts out"):
            copy_out(place)


def open_place(home: str | None, settings: Settings | None) -> Place:
    """The state folder and its settings, as given or as the command would find them.

    Raises
    ------
    SettingsError
        A run that Prefect's API started has a home or settings among its parameters: who can send a request is not who
        may choose the files that are read and the addresses that variables are sent to.
    """
    if deployment.id is not None and (home is not None or settings is not None):
        raise SettingsError(
            "A run of a deployment must take its home and settings from where it is served, got them as parameters. "
            "Leave them out; set TIDECAST_HOME and the settings where the deployment is served, as `tidecast schedule` "
            "does."
        )
    found = find_state_folder(home, os.environ, Path.cwd())
    return Place(found, settings or load_settings(found, {}, os.environ, Path.cwd())[0])


@task(cache_policy=NO_CACHE)
@fails_cleanly
def ingest_prices(place: Place, as_of: date | None, today: date) -> tuple[Place, Ingested]:
    """Source → checks → `prices` and `quarantine`."""
    return intake.take_in_prices(place, as_of, today)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def check_panel(place: Place, as_of: date) -> None:
    """Refuse a panel of which nothing can be forecast."""
    intake.check_panel(place, as_of)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def recover(place: Place) -> None:
    """End what a killed run left behind in MLflow, log what could not be logged, carry out what was decided."""
    for ended in place.tracking(log.info).recover():
        log.info(f"Ended {ended}, left behind by a run that was killed.")
    if ended_runs := place.tuning_runs(log.info).recover():
        log.info(f"Ended {ended_runs} runs, left behind by a search for settings that was killed.")
    promote.settle(place)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def catch_up(place: Place, ingested: Ingested, today: date, now: datetime) -> list[date]:
    """Missed sessions, each published as its own run would have."""
    return steps.catch_up(place, ingested, today, now)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def train(place: Place, as_of: date) -> str:
    """Select → gate → refit → MLflow → champion."""
    links = {"id": flow_run.id, "url": flow_run.ui_url}
    known = {key: str(value) for key, value in links.items() if value}
    return str(promote.train_and_promote(place, as_of, "the daily flow", known)["outcome"])


@task(cache_policy=NO_CACHE)
@fails_cleanly
def resolve_champion(place: Place, as_of: date) -> Champion:
    """The champion of that day, or its stand-in."""
    return steps.champion_of(place, as_of)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def resolve_random_walk(place: Place, as_of: date) -> Champion:
    """What is published when the champion cannot be used."""
    return steps.random_walk_of(place, as_of, "The champion could not be used, so the random walk stands in.")


@task(cache_policy=NO_CACHE)
@fails_cleanly
def publish(
    place: Place, ingested: Ingested, champion: Champion, reissue: bool, trained: str | None, now: datetime
) -> steps.Published:
    """Champion → forecast table → `forecasts`, in one commit."""
    return steps.publish(place, ingested, champion, now, reissue, trained, str(flow_run.id or ""))


@task(cache_policy=NO_CACHE)
@fails_cleanly
def copy_out(place: Place) -> list[date]:
    """`forecasts` → a table of the user's."""
    return steps.copy_out(place)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def score(place: Place, as_of: date) -> int:
    """Forecasts that have come true → `scores`."""
    return steps.score_what_came_true(place, as_of)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def write_report(place: Place, ingested: Ingested, published: steps.Published) -> Path:
    """One page a person wants to read."""
    return steps.write_report_page(place, ingested, published)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def close(place: Place, row: steps.Row, trained: str | None, failed: bool) -> steps.Row:
    """The session's row of `runs`, as it stays."""
    return steps.close(place, row, trained, failed, datetime.now(UTC))
