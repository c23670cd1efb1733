"""joblib's backend for Dask, made to end when the cluster has.

joblib's own waits for ever for a fit whose worker was lost several times, and for one that no worker is left for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from distributed.scheduler import KilledWorker
from joblib._dask import DaskDistributedBackend  # joblib registers it by name only, and it has no hook for errors

from tidecast.forecasting.estimator.clusters.cluster import FEWEST_TASKS, EngineError

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the workers."""

ALONE = 60.0
"""Seconds that a cluster has to replace its last worker."""


class DaskBackend(DaskDistributedBackend):
    """Runs tasks on a cluster; a fit that was lost several times, and a cluster without workers, are errors.

    Parameters
    ----------
    client : distributed.Client
    place : str
        Host and port of the scheduler, for errors.
    no_worker : callable
        Returns the error for a cluster that had no worker for some seconds.
    scatter : list, optional
        Objects that each worker gets once.
    """

    def __init__(
        self, client: Any, place: str, no_worker: Callable[[str, float], EngineError], scatter: list[Any] | None = None
    ) -> None:
        super().__init__(client=client, scatter=scatter)
        self._place, self._no_worker = place, no_worker

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the number of workers, at least `FEWEST_TASKS`; `n_jobs` is that of one machine.

        Parameters
        ----------
        n_jobs : int
        """
        return max(FEWEST_TASKS, super().effective_n_jobs(n_jobs))

    def start_call(self) -> None:
        """Begin to run tasks, and to look at the workers."""
        super().start_call()
        self.client.loop.add_callback(self._look)

    async def _collect(self) -> None:
        """Hand each result to joblib; an error is one, too: joblib raises what is an exception."""
        while self._continue:
            async for future, result in self.waiting_futures:
                self._hand_over(future, result[1] if future.status == "error" else result)
            await asyncio.sleep(0.01)

    async def _look(self) -> None:
        """End with an error when all workers have been gone for too long."""
        gone_at = None
        while self._continue:
            await asyncio.sleep(LOOK_EVERY)
            try:
                alone = not await self.client.scheduler.ncores()
            except OSError:  # the client notices that itself, and ends all tasks
                continue
            now = time.monotonic()
            if not alone or not self._callbacks:
                gone_at = None
            elif gone_at is None:
                gone_at = now
                logger.warning("All workers of %s have ended. Waiting %.0f s for another …", self._place, ALONE)
            elif now - gone_at > ALONE:
                for future in list(self._callbacks):
                    self._hand_over(future, self._no_worker(self._place, ALONE))

    def _hand_over(self, future: Any, result: Any) -> None:
        """Tell joblib the result of a task, once."""
        waiting, callback = self._results.pop(future, None), self._callbacks.pop(future, None)
        if waiting is None or callback is None:
            return
        if isinstance(result, KilledWorker):
            result = EngineError(
                f"A task must end on one of the workers of {self._place}, but several ended while they ran it: "
                f"{result} Give each worker more memory, or run fewer workers on a machine."
            )
        waiting.set_result(result)
        callback(result)
