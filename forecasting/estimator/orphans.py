"""End a worker process when the process that started it is gone.

A process that is killed cannot stop its workers. Without this, those of joblib finish their fit, and then wait for a
parent that no longer exists, with all their memory.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import current_process
from typing import Any

SECONDS = 0.2
"""Between two looks at the parent."""

_watched = threading.Event()


class EndsWithParent:
    """A function that, in a worker process, ends the worker when its parent has ended.

    Called in the process that made it, in a thread, or on another machine, it is the function alone.

    Parameters
    ----------
    function : callable
        Must be importable, like any work that is sent to a process.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._parent = os.getpid()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if type(current_process()).__module__.startswith("joblib.externals.loky"):  # a worker of this machine
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent ends its workers
            end_with(self._parent)
        return self._function(*args, **kwargs)


def end_with(parent: int) -> None:
    """End this process, without clearing up, soon after its parent has ended. Further calls do nothing.

    Parameters
    ----------
    parent : int
        Process id of the parent.
    """
    if _watched.is_set():
        return
    _watched.set()
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="end-with-parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:  # Windows never changes it, so that this waits there for good
        time.sleep(SECONDS)
    os._exit(1)
