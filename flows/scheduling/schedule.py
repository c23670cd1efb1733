"""Serve a panel's deployments, with a Prefect server that is found or started.

The server that Prefect embeds in a flow run schedules nothing, so a real one must run first.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.flows import EntrypointType
from prefect.runner import Runner

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.log import log
from tidecast.flows.prefect_ui.lost_runs import end_lost_runs, schedule_again
from tidecast.flows.scheduling.deployments import PanelDeployment, deployments_of, make_room
from tidecast.flows.scheduling.launch import no_reply, prefect_api
from tidecast.flows.scheduling.outages import is_outage, run_until_it_ends, say_outages_in_one_line
from tidecast.flows.scheduling.prefect_server import DEFAULT_PORT, free_port
from tidecast.flows.scheduling.served_flow import bind

LOST_SERVER = 1
"""Exit code when the server that was started here has ended."""

LOOK_SECONDS = 5.0
"""Between two looks at a server of the user's that does not answer."""


def serve_panel(home: StateFolder, settings: Settings, port: int | None = None) -> None:
    """Serve the deployments of this state folder, and run them when they are due, until stopped.

    Runs that came due while nothing served them start as soon as this serves. Each forecasts from the session of its
    own scheduled time, and does nothing when that session is done. A run that was killed starts again.

    A server of the user's may be away for a while: this waits for it. A server that was started here and ends takes
    this process with it, because nothing else would start it again.

    Parameters
    ----------
    home : StateFolder
    settings : Settings
    port : int, optional
        Port of a server that is started here.

    Raises
    ------
    ServerError
        There is no reply from a server of the user's when this starts.
    SettingsError
        The server has a deployment of something else by one of the names, or of a copy of the state folder.
    """
    log.info("Looking for a Prefect server, or starting one …")
    say_outages_in_one_line()
    with prefect_api(home, port or free_port(DEFAULT_PORT), True, _end_without_server) as api:
        if not _answers():
            raise no_reply(api)
        planned = deployments_of(home, settings, datetime.now(UTC).date())
        bind(home, os.environ, os.getpid())
        log.info(f"Prefect's pages: {api.removesuffix('/api')}")
        for one in planned:
            log.info(f"{one.full_name} runs {one.times.text}.")
        log.info("Stop with Ctrl-C.")
        with suppress(KeyboardInterrupt):
            while not _serve(home, planned):
                log.warning(f"Prefect's server at {api} does not answer. Waiting for it; missed runs are made up for …")
                while not _answers():
                    time.sleep(LOOK_SECONDS)
                log.info("It answers again.")
        log.info("Stopped.")


def _answers() -> bool:
    """Whether the server replies, by Prefect's own client: it knows passwords and Prefect Cloud."""
    with get_client(sync_client=True) as client:
        return client.api_healthcheck() is None


def _serve(home: StateFolder, planned: Sequence[PanelDeployment]) -> bool:
    """Serve until stopped; return whether it was stopped, and not left by the server."""
    try:
        with get_client(sync_client=True) as client:
            make_room(client, home, planned)
        asyncio.run(_run(home, planned))
    except Exception as error:
        if not is_outage(error) and _answers():  # after a short outage, it may answer again by now
            raise
        return False
    return True


async def _run(home: StateFolder, planned: Sequence[PanelDeployment]) -> None:
    """Register the deployments and run what comes due."""
    runner = Runner(name=planned[0].name, pause_on_shutdown=False, limit=None)  # missed runs are made up for
    known = [
        await runner.aadd_flow(
            one.flow,
            name=one.name,
            schedules=[one.schedule],
            description=one.description,
            tags=list(one.tags),
            paused=False,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for one in planned
    ]
    await asyncio.to_thread(_start_lost_runs_again, home, known)
    await run_until_it_ends(runner)


def _start_lost_runs_again(home: StateFolder, deployments: list[UUID]) -> None:
    """Start the runs again whose process was killed with the schedule before this one."""
    for run in end_lost_runs(home, deployments):
        with get_client(sync_client=True) as client:
            again = schedule_again(client, run)
        log.warning(f"The run {run.name} was killed. {'It starts again.' if again else 'It was killed before, too.'}")


def _end_without_server() -> NoReturn:
    """End this process at once: without its server it can neither run nor record anything."""
    sys.stdout.flush()
    sys.stderr.write(
        "tidecast: Prefect's server must run as long as the schedule, but it has ended. Start the schedule again; runs "
        "that were missed are made up for.\n"
    )
    sys.stderr.flush()
    os._exit(LOST_SERVER)
