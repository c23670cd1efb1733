"""A Prefect server that goes away for a while, as Prefect's runner sees it: said in one line, and survived."""

import asyncio
import sys
from functools import partial

import httpx
from prefect.runner import Runner
from prefect.utilities import services

from tidecast.flows.log import log

LOOK_SECONDS = 5.0
"""Between two looks at whether the runner has ended."""

LOOKS = 4
"""Looks at a runner that is ending after an outage, before what it waits for is cancelled."""

GIVEN_UP = "Service exceeded error threshold"
"""How Prefect says that the server did not answer several times in a row."""


class ServerLostError(Exception):
    """The runner ended because the server did not answer."""


async def run_until_it_ends(runner: Runner, look_seconds: float = LOOK_SECONDS) -> None:
    """Run what comes due until the runner ends.

    After an outage, the runner's listener for cancellations may wait for its events for good. Then nothing runs any
    more, though the process lives. So what hangs while the runner ends is cancelled.

    Parameters
    ----------
    runner : Runner
    look_seconds : float, default=5.0

    Raises
    ------
    ServerLostError
        The runner hung while it ended.
    Exception
        Whatever ended the runner.
    """
    serving = asyncio.create_task(runner.start())
    began = ending = 0
    while not (await asyncio.wait({serving}, timeout=look_seconds))[0]:
        began += runner.started
        ending += bool(began) and not runner.started and not runner.stopping
        if ending > LOOKS:
            serving.cancel()
    if serving.cancelled() and ending:
        raise ServerLostError("The runner must end when the server does not answer, but hung.")
    await serving


def is_outage(error: BaseException) -> bool:
    """Whether an error of the runner says that the server did not answer.

    Parameters
    ----------
    error : BaseException
        It may be a group.
    """
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_outage, error.exceptions))
    return isinstance(error, httpx.TransportError | ServerLostError) or GIVEN_UP in str(error)


def say_outages_in_one_line() -> None:
    """Keep Prefect's loops from printing tracebacks when the server does not answer; they go to the log for --debug.

    The loops print with a function that their callers cannot choose, so each reference to them is replaced.
    """
    loop = services.critical_service_loop
    if isinstance(loop, partial):
        return
    quiet = partial(loop, printer=lambda *texts: log.debug(" ".join(map(str, texts))))
    for module in list(sys.modules.values()):
        if getattr(module, "critical_service_loop", None) is loop:
            vars(module)["critical_service_loop"] = quiet
