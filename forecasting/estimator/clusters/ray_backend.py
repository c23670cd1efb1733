"""joblib's backend for Ray: each task of joblib is one of Ray, which runs it again where its process or machine ends.

Ray's own backend keeps its processes in a pool, and waits for ever for one that was killed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

import ray
from joblib.parallel import ParallelBackendBase
from ray.exceptions import RayError, RayTaskError

from tidecast.forecasting.estimator.clusters.cluster import FEWEST_TASKS, Cluster, EngineError

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the head, and at the processors."""

GONE = 10.0
"""Seconds for which a head need not answer. After a minute Ray ends this process."""

ALONE = 60.0
"""Seconds that a cluster has to replace its last processor. Ray would wait for one for ever."""


class RayBackend(ParallelBackendBase):
    """Runs tasks on a Ray cluster, each with one processor.

    Parameters
    ----------
    cluster : RayCluster
    check_head, check_processors : callable
        Raise `EngineError` if the head does not answer, or no machine offers a processor.
    """

    supports_retrieve_callback = True

    def __init__(self, cluster: Cluster, check_head: Callable[[], None], check_processors: Callable[[], None]) -> None:
        super().__init__()
        self._cluster, self._check_head, self._check_processors = cluster, check_head, check_processors
        self._ended = threading.Event()
        self._running: dict[Future[Any], Any] = {}
        self._task = ray.remote(num_cpus=1)(_call)

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the number of processors, at least `FEWEST_TASKS`; `n_jobs` is that of one machine.

        Parameters
        ----------
        n_jobs : int
        """
        return max(FEWEST_TASKS, self._cluster.n_workers)

    def start_call(self) -> None:
        """Begin to run tasks, and to look at the cluster."""
        self._ended.clear()
        threading.Thread(target=self._look, daemon=True, name="ray-cluster").start()

    def stop_call(self) -> None:
        """End looking at the cluster."""
        self._ended.set()

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], Any] | None = None) -> Future[Any]:
        """Start a task.

        Parameters
        ----------
        func : callable
        callback : callable, optional
            Called with its future when it has ended.
        """
        task, future = self._task.remote(func), Future[Any]()
        self._running[future] = task  # Ray forgets a task that nobody refers to

        def ended(found: Future[Any]) -> None:
            self._running.pop(future, None)
            with suppress(InvalidStateError):  # the head had ended before
                error = found.exception()
                future.set_result(found.result()) if error is None else future.set_exception(error)

        if callback is not None:
            future.add_done_callback(callback)
        task.future().add_done_callback(ended)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the result of a task, or raise its error.

        Parameters
        ----------
        out : Future
        """
        try:
            return out.result()
        except RayTaskError as error:
            raise error.cause from None
        except RayError as error:
            raise EngineError(
                f"A task must end on one of the processors of {self._cluster.place}, but it was lost several times: "
                f"{' '.join(str(error).split())[:300]} Give the machines more memory, or run fewer fits on each: ray "
                "start --num-cpus."
            ) from None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the tasks that are left.

        Parameters
        ----------
        ensure_ready : bool, default=True
        """
        tasks = list(self._running.values())
        self._running.clear()
        for task in tasks:
            with suppress(RayError, ValueError):  # it has ended
                ray.cancel(task, force=True)

    def _look(self) -> None:
        """End all tasks when the head has not answered, or there has been no processor, for too long."""
        answered = supplied = time.monotonic()
        is_alone = False
        while not self._ended.wait(LOOK_EVERY):
            try:
                self._check_head()  # first: a head that has ended is not asked for processors, as Ray waits for it
                answered = time.monotonic()
                self._check_processors()
                supplied, is_alone = time.monotonic(), False
            except EngineError as error:
                now = time.monotonic()
                if now - answered >= GONE:
                    self._fail(error)
                    self._running = {}  # there is nobody who could cancel them
                    return
                if now - supplied >= ALONE:
                    self._fail(error)
                    return
                if answered > supplied and not is_alone:
                    is_alone = True
                    logger.warning("All machines of %s have ended. Waiting %.0f s …", self._cluster.place, ALONE)

    def _fail(self, error: EngineError) -> None:
        for future in list(self._running):
            with suppress(InvalidStateError):  # it has just ended
                future.set_exception(error)


def _call(function: Callable[[], Any]) -> Any:
    return function()
