"""Retries of temporary failures, with growing random waits; each retry is logged."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tidecast.flows.log import log

ATTEMPTS = 6
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds. Each wait doubles, plus up to as much again at random, so that many readers do not retry at once."""

Result = TypeVar("Result")


def retried(
    call: Callable[[], Result],
    what: str,
    may_pass: Callable[[Exception], bool],
    retry_after: Callable[[Exception], float] = lambda error: 0.0,
) -> Result:
    """Return the result of `call`; raise its own error if that is permanent, or after `ATTEMPTS` attempts.

    Parameters
    ----------
    call : callable
        Must start afresh each time.
    what : str
        Name of the other side, for the log.
    may_pass : callable
        Whether an error may be temporary.
    retry_after : callable
        Seconds that the other side asks for (Retry-After), 0 if it does not say. With more than `LONGEST_WAIT`, there
        is no retry.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return call()
        except Exception as error:
            if not may_pass(error) or retry_after(error) > LONGEST_WAIT:
                raise
            backoff = min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT / 2) * random.uniform(1, 2)
            wait = max(backoff, retry_after(error))
            why = type(getattr(error, "orig", None) or error).__name__
            log.info(f"{what} does not answer as it should ({why}); next attempt in {wait:.1f} s …")
            time.sleep(wait)
    return call()
