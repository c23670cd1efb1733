"""Serve the daily flow on a schedule, with a Prefect server that is found or started.

The server that Prefect embeds in a flow run schedules nothing, so a real one must run first.
"""

import os
from contextlib import suppress

from prefect.flows import EntrypointType
from prefect.schedules import Cron

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.log import log
from tidecast.flows.scheduling.launch import prefect_api
from tidecast.flows.scheduling.prefect_server import DEFAULT_PORT, free_port
from tidecast.flows.scheduling.served_flow import bind, scheduled_forecast

NAME = "daily"


def serve_daily(home: StateFolder, settings: Settings, port: int | None = None) -> None:
    """Schedule the daily forecast of this state folder, and run it when it is due, until stopped.

    Runs that came due while nothing served them start as soon as this serves. Each forecasts from the session of its
    own scheduled time, and does nothing when that session is done.

    Parameters
    ----------
    home : StateFolder
    settings : Settings
        With `cron` and `time_zone`.
    port : int, optional
        Port of a server that is started here.
    """
    log.info("Looking for a Prefect server, or starting one …")
    with prefect_api(home, port or free_port(DEFAULT_PORT), schedules=True) as api:
        log.info(f"Prefect's pages: {api.removesuffix('/api')}")
        log.info(f"daily-forecast/{NAME} runs at {settings.cron!r} ({settings.time_zone}). Stop with Ctrl-C.")
        with suppress(KeyboardInterrupt):
            bind(home, os.environ)
            scheduled_forecast.serve(
                name=NAME,
                schedule=Cron(settings.cron, timezone=settings.time_zone),
                description=f"Forecasts of the panel in {home.path}.",
                paused=False,
                pause_on_shutdown=False,  # runs that come due meanwhile are made up for
                limit=1,
                print_starting_message=False,
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
        log.info("Stopped.")
