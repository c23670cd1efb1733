"""Trying again: only what may pass by itself, each time later and at a moment of its own, and never unnoticed."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from tidecast.flows.log import log

ATTEMPTS = 6
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0
"""Seconds. Each wait is twice the one before, and up to as much again at random: many readers do not come in step."""

Result = TypeVar("Result")


def retried(
    call: Callable[[], Result],
    what: str,
    may_pass: Callable[[Exception], bool],
    asked: Callable[[Exception], float] = lambda error: 0.0,
) -> Result:
    """What `call` returns, once it succeeds. When it has failed for good, or `ATTEMPTS` times, its own error comes.

    Parameters
    ----------
    call : callable
        Begins anew each time.
    what : str
        What does not answer, for the log.
    may_pass : callable
        Whether an error may pass by itself.
    asked : callable
        Seconds the other side asks to be left alone for (Retry-After), 0 if it does not say. Never cut short: asked
        for more than `LONGEST_WAIT`, it is not tried again.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return call()
        except Exception as error:
            if not may_pass(error) or asked(error) > LONGEST_WAIT:
                raise
            backoff = min(FIRST_WAIT * 2 ** (attempt - 1), LONGEST_WAIT / 2) * random.uniform(1, 2)
            wait = max(backoff, asked(error))
            why = type(getattr(error, "orig", None) or error).__name__
            log.info(f"{what} does not answer as it should ({why}); trying again in {wait:.1f} s …")
            time.sleep(wait)
    return call()
