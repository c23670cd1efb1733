"""From the command to the flow: is there anything to do, and whose Prefect server runs it."""

import contextlib
import logging
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder, hold
from tidecast.flows.ingest.calendars import market_zone
from tidecast.flows.ingest.delivery import first_day_needed
from tidecast.flows.ingest.drop_folder import is_drop_folder, waiting
from tidecast.flows.log import log
from tidecast.flows.parsing.values import dates
from tidecast.flows.publish.export import publish_out
from tidecast.flows.scheduling.prefect_server import ServerError, starting
from tidecast.flows.sources.prefetch import prefetch
from tidecast.flows.steps.due import latest_day_anywhere, refuse_clock_set_back
from tidecast.flows.steps.take_in import take_in_prices
from tidecast.flows.workspace.workspace import Day, Place

if TYPE_CHECKING:
    from tidecast.forecasting.tuning.result import TuningResult


def run_day(home: StateFolder, settings: Settings, as_of: date | None, reissue: bool) -> Day:
    """Run the daily flow, unless the tables say that the session is done.

    Then the source is only looked at for corrections, and no Prefect server is started. A source that cannot be read is
    found before one is started, too, and before a state folder is made.
    """
    place = Place(home, settings)
    today = latest_day_anywhere(datetime.now(UTC))
    refuse_clock_set_back(place.warehouse.runs(), today)
    newest = place.warehouse.newest_session()
    if not is_drop_folder(settings):
        newest = _newest_in(place, min(filter(None, (as_of, newest)), default=None), today)
    elif waiting(place.warehouse, settings):
        newest = None
    session = min(filter(None, (as_of, newest)), default=None)
    with hold(home, "tidecast run"):
        if not reissue and (day := _settled(place, session, today)):
            return day
    log.info("Starting Prefect, and loading the model libraries …")
    with prefect_api(home):
        from tidecast.flows.daily import daily_forecast

        return daily_forecast(as_of=as_of, reissue=reissue, home=str(home.path), settings=settings)


def run_tuning(
    home: StateFolder, settings: Settings, as_of: date | None, n_trials: int, timeout: float
) -> "TuningResult":
    """Run the flow that searches for settings."""
    log.info("Starting Prefect, and loading the model libraries …")
    with prefect_api(home):
        from tidecast.flows.tune import tune_forecaster

        return tune_forecaster(as_of, n_trials, timeout, home=str(home.path), settings=settings)


def _newest_in(place: Place, session: date | None, today: date) -> date | None:
    """The newest day the source speaks of; None when it has none that can be read.

    It is asked for what a run of `session` needs, a stored one. So it need not be asked again when that was done
    before, nor for the session that follows, which needs less.
    """
    settings = place.settings
    if session is not None and settings.calendar is not None:
        session = settings.sessions.at_or_before(session)
    rows = prefetch(settings, first_day_needed(place.warehouse, settings, session)).rows
    times, _ = dates(rows["time"], market_zone(settings))
    newest = times.filter(times <= today).max()
    return newest if isinstance(newest, date) else None


def _settled(place: Place, as_of: date | None, today: date) -> Day | None:
    """The session's day when its run is done; corrections of the source are taken in."""
    if as_of is None or place.settings.calendar is None or place.warehouse.runs().is_empty():
        return None
    session = place.settings.sessions.at_or_before(as_of)
    if not place.is_done(session):
        return None
    place, found = take_in_prices(place, session, today)
    if place.settings.publish_to is not None:
        publish_out(place.warehouse, place.settings)
    row = place.run_of(found.as_of)
    return Day(place, found.as_of, found, row) if row is not None else None


@contextlib.contextmanager
def prefect_api(home: StateFolder, port: int | None = None, schedules: bool = False) -> Iterator[str]:
    """The address of the user's own Prefect server if he has one, else of one that ends with the body.

    Importing Prefect and starting a server go side by side. What was logged is handed over before the server ends.
    """
    with contextlib.ExitStack() as stack:
        own_home = os.environ.get("PREFECT_HOME") == str(
            home.prefect
        )  # no profile of the user's that may name a server
        server = None
        if own_home and "PREFECT_API_URL" not in os.environ:
            server = stack.enter_context(starting(home.prefect, port, schedules))
        from prefect.settings import PREFECT_API_URL, temporary_settings

        address = PREFECT_API_URL.value()
        if address is None:
            server = server or stack.enter_context(starting(home.prefect, port, schedules))
            address = server.wait()
            stack.enter_context(temporary_settings({PREFECT_API_URL: address}))
        stack.callback(hand_over_logs)
        try:
            yield address
        except RuntimeError as error:
            if "Failed to reach API" not in str(error):
                raise
            raise ServerError(
                f"Prefect's server must answer at {address}, found silence. Start it, or unset PREFECT_API_URL (or "
                "leave the profile that names it) to have one started here."
            ) from error


def hand_over_logs() -> None:
    """Send what was logged to Prefect, which else does so after the server has ended."""
    for handler in logging.getLogger("prefect.flow_runs").handlers:
        handler.flush()
