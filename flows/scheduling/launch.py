"""Start a flow from a command: check whether there is anything to do, and choose the Prefect server."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import polars as pl

from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder, hold
from tidecast.flows.ingest.calendars import market_zone, own_calendars
from tidecast.flows.ingest.closing import open_rows, waiting_text
from tidecast.flows.ingest.delivery import first_day_needed
from tidecast.flows.ingest.drop_folder import is_drop_folder, waiting
from tidecast.flows.log import log
from tidecast.flows.os_errors import require_room
from tidecast.flows.parsing.values import dates, names
from tidecast.flows.publish.export import publish_out
from tidecast.flows.scheduling.prefect_server import ServerError, starting
from tidecast.flows.sources.prefetch import prefetch
from tidecast.flows.steps.day import Day, Incomplete, Problems
from tidecast.flows.steps.due import is_done, latest_day_anywhere, refuse_clock_set_back, run_of
from tidecast.flows.steps.take_in import take_in_prices
from tidecast.flows.steps.watching import note_look, say_findings, watch_stored
from tidecast.flows.warehouse.damage import refuse_lost_forecasts
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.watch.check import Checked, with_problems
from tidecast.flows.workspace.workspace import Workspace

if TYPE_CHECKING:
    from tidecast.flows.steps.backfill import Backfilled
    from tidecast.forecasting.tuning.result import TuningResult

EVENTS_SECONDS = 10.0
"""Time that a command waits for its events to be sent."""


def run_day(home: StateFolder, settings: Settings, as_of: date | None, reissue: bool) -> Day:
    """Run the daily flow, unless the tables say that the session is done.

    When it is done, only corrections of the source are stored, and no Prefect server is started. What the watch finds
    is said. A source that cannot be read is reported before a server is started, and before a state folder is made.

    Parameters
    ----------
    home : StateFolder
    settings : Settings
    as_of : date or None
        The session to stand on. None: the newest of the source.
    reissue : bool
        Replace the forecasts that were issued for the session.

    Raises
    ------
    Incomplete
        The forecasts are published, but a step failed.
    """
    workspace = Workspace(home, settings)
    warehouse = workspace.warehouse
    now = datetime.now(UTC)
    today = latest_day_anywhere(now)
    refuse_clock_set_back(warehouse.runs(), today)
    newest, waits = warehouse.newest_session(), ""
    if not is_drop_folder(settings):
        before = min(filter(None, (as_of, newest)), default=None)
        newest, waits = _newest_in_source(warehouse, settings, before, as_of, now)
    elif waiting(warehouse, settings):
        newest = None
    session = min(filter(None, (as_of, newest)), default=None)
    with hold(home, "tidecast run"):
        if not reissue and (day := _done_before(workspace, session, now)):
            if waits:
                log.info(waits)
            if day.problems:
                raise Incomplete(day)
            return day
    log.info("Starting Prefect, and loading the model libraries …")
    with prefect_api(home):
        from tidecast.flows.daily import daily_forecast  # Prefect takes a second to import, its server half a minute

        result = daily_forecast(as_of=as_of, reissue=reissue, home=str(home.path), settings=settings)
    assert isinstance(result, Day)  # Prefect returns what the final state holds
    return result


def run_tuning(
    home: StateFolder, settings: Settings, as_of: date | None, n_trials: int, timeout: float
) -> "TuningResult":
    """Run the flow that searches for settings.

    Parameters
    ----------
    home : StateFolder
    settings : Settings
    as_of : date or None
        None: the newest session.
    n_trials : int
        Trials in all, those of an interrupted search included.
    timeout : float
        Seconds, the last fit included.
    """
    log.info("Starting Prefect, and loading the model libraries …")
    with prefect_api(home):
        from tidecast.flows.tune import tune_forecaster  # Prefect takes a second to import

        return tune_forecaster(as_of, n_trials, timeout, home=str(home.path), settings=settings)


def run_backfill(home: StateFolder, settings: Settings, first: date, last: date) -> "Backfilled":
    """Run the flow that publishes past sessions.

    Parameters
    ----------
    home : StateFolder
    settings : Settings
    first, last : date
        The first and the last session.
    """
    log.info("Starting Prefect, and loading the model libraries …")
    with prefect_api(home):
        from tidecast.flows.backfill import backfill_forecasts  # Prefect takes a second to import

        return backfill_forecasts(first, last, home=str(home.path), settings=settings)


def _newest_in_source(
    warehouse: Warehouse, settings: Settings, session: date | None, as_of: date | None, now: datetime
) -> tuple[date | None, str]:
    """The newest day of the source whose session has closed, None when it has none that can be read; and a message.

    The message is on rows up to `as_of` whose session has not closed; it is empty without any.

    The source is read from the first day on that a run of `session` needs. Where that needs the whole source, because
    no earlier session was run, it is the first day that the next session needs. The rows are kept for that run.
    """
    if session is not None and settings.calendar is not None:
        session = settings.sessions.at_or_before(session)
    since = first_day_needed(warehouse, settings, session) or first_day_needed(warehouse, settings, None)
    rows = prefetch(settings, since).rows
    named = [names(rows[name]).alias(name) for name in ("series_id", "calendar") if name in rows.columns]
    rows = rows.with_columns(dates(rows["time"], market_zone(settings))[0].alias("time"), *named)
    rows = rows.filter(pl.col("time") <= latest_day_anywhere(now)).with_row_index("row")
    waits = ""
    if settings.calendar is not None:
        calendar = PanelCalendar(get_calendar(settings.calendar), own_calendars(rows, warehouse.calendars()))
        waiting_rows = open_rows(rows, calendar, now)
        rows = rows.join(waiting_rows, on="row", how="anti")
        waiting_rows = waiting_rows.filter(pl.col("time") <= (as_of or date.max))
        waits = waiting_text(waiting_rows, calendar) if waiting_rows.height else ""
    newest = rows["time"].max()
    return newest if isinstance(newest, date) else None, waits


def _done_before(workspace: Workspace, as_of: date | None, now: datetime) -> Day | None:
    """The session's result when an earlier run has done it; corrections of the source are stored."""
    warehouse, settings = workspace.warehouse, workspace.settings
    runs = warehouse.runs()
    if as_of is None or settings.calendar is None or runs.is_empty():
        return None
    session = settings.sessions.at_or_before(as_of)
    if not is_done(runs, session):
        return None
    refuse_lost_forecasts(warehouse, session)
    found = take_in_prices(workspace.state_folder, warehouse, settings, session, latest_day_anywhere(now), now)
    problems = Problems()
    if found.settings.publish_to is not None:
        with problems.noted("copying the forecasts out"):
            publish_out(warehouse, found.settings)
    note_look(warehouse, found, now)
    row = run_of(warehouse.runs(), found.as_of)
    if row is None:
        return None
    workspace = Workspace(workspace.state_folder, found.settings)
    if found.as_of >= found.newest:
        with problems.noted("watching"):
            watched = watch_stored(workspace, found.as_of, now)
            say_findings(watched)
            _announce(workspace, with_problems(watched.checked, problems))
    return Day(workspace, found.as_of, found, row, problems=tuple(problems))


def _announce(workspace: Workspace, checked: Checked) -> None:
    """Send findings as events to the user's own Prefect server; without one, none is started for it."""
    folder = workspace.state_folder
    if os.environ.get("PREFECT_HOME") == str(folder.prefect) and "PREFECT_API_URL" not in os.environ:
        return
    from prefect.events.worker import EventsWorker  # Prefect takes a second to import
    from prefect.settings import PREFECT_API_URL

    from tidecast.flows.watch.events import announce

    if PREFECT_API_URL.value() is not None:
        announce(checked, folder.panel_id(), str(folder.path))
        EventsWorker.drain_all(timeout=EVENTS_SECONDS, at_exit=False)


@contextlib.contextmanager
def prefect_api(
    home: StateFolder, port: int | None = None, schedules: bool = False, when_ended: Callable[[], None] | None = None
) -> Iterator[str]:
    """Give the address of the user's own Prefect server, else of one that ends with the body.

    Prefect is imported while the server starts. Logs are sent before the server ends.

    Parameters
    ----------
    home : StateFolder
        Prefect's files lie in it.
    port : int, optional
        Port of a server that is started here. None: any free one.
    schedules : bool
        Whether a server that is started here serves schedules and pages, too.
    when_ended : callable, optional
        Called, in a thread, when a server that was started here ends before the body.

    Raises
    ------
    OSError
        The disk of the state folder is full.
    ServerError
        The server does not answer.
    """
    with contextlib.ExitStack() as stack:
        require_room(home.path)
        server = None
        no_profile = os.environ.get("PREFECT_HOME") == str(home.prefect)  # a user's profile may name a server
        if no_profile and "PREFECT_API_URL" not in os.environ:
            server = stack.enter_context(starting(home.prefect, port, schedules))
        # takes a second; the server starts meanwhile
        from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_UI_ENABLED, temporary_settings

        address = PREFECT_API_URL.value()
        if address is None:
            server = server or stack.enter_context(starting(home.prefect, port, schedules))
            address = server.wait(say=log.info)
            if when_ended is not None:
                server.when_ended(when_ended)
            pages = {} if schedules else {PREFECT_SERVER_UI_ENABLED: False}  # a link to it would be dead after the run
            stack.enter_context(temporary_settings({PREFECT_API_URL: address} | pages))
        stack.callback(send_logs)
        try:
            yield address
        except Exception as error:
            if server is not None and _is_server_fault(error):
                require_room(home.path)  # Prefect says 500, and the reason only in its log
            if "Failed to reach API" not in str(error) and not _is_unreached(error):
                raise
            raise no_reply(address) from error


def no_reply(address: str) -> ServerError:
    """Return the error for a server that does not answer.

    Parameters
    ----------
    address : str
        Of its API.
    """
    return ServerError(
        f"Prefect's server must answer at {address}, but there is no reply. Start it, or unset PREFECT_API_URL (or "
        "leave the profile that names it) to have one started here."
    )


def _is_unreached(error: Exception) -> bool:
    """Whether Prefect's client could not connect: its errors are those of httpx."""
    return type(error).__name__ in ("ConnectError", "ConnectTimeout")


def _is_server_fault(error: Exception) -> bool:
    """Whether Prefect's server answered with 500 or more: its client's errors are those of httpx."""
    response = getattr(error, "response", None)
    return type(error).__name__ == "PrefectHTTPStatusError" and getattr(response, "status_code", 0) >= 500


def send_logs() -> None:
    """Send the logs to Prefect now; by itself it would do so after the server has ended."""
    for handler in logging.getLogger("prefect.flow_runs").handlers:
        handler.flush()
