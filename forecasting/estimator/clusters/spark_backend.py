"""joblib's backend for Spark: each task of joblib is a job of one task, which Spark runs again where an executor ends.

joblibspark has no generators, which backtests need, and hides the error of a task; docs/decisions.md has the rest.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from joblib.parallel import ParallelBackendBase
from py4j.protocol import Py4JError

from tidecast.forecasting.estimator.clusters.cluster import FEWEST_TASKS, Cluster, EngineError
from tidecast.forecasting.estimator.clusters.spark_errors import failure_of, no_worker

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the executors."""

ALONE = 60.0
"""Seconds that a cluster has to replace its last executor."""


class SparkBackend(ParallelBackendBase):
    """Runs tasks on a Spark cluster, each with one processor.

    Parameters
    ----------
    cluster : SparkCluster
    context : pyspark.SparkContext
        Its own.
    """

    supports_retrieve_callback = True

    def __init__(self, cluster: Cluster, context: Any) -> None:
        super().__init__()
        self._cluster, self._context, self._group = cluster, context, uuid.uuid4().hex
        self._pool: ThreadPoolExecutor | None = None
        self._ended, self._is_alone = threading.Event(), False

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the number of processors, at least `FEWEST_TASKS`; `n_jobs` is that of one machine.

        Parameters
        ----------
        n_jobs : int
        """
        return max(FEWEST_TASKS, self._cluster.n_workers)

    def start_call(self) -> None:
        """Begin to run tasks, and to look at the executors: Spark would wait for another one for ever."""
        self._ended.clear()
        threading.Thread(target=self._look, daemon=True, name="spark-executors").start()

    def stop_call(self) -> None:
        """End looking at the executors."""
        self._ended.set()

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], Any] | None = None) -> Future[Any]:
        """Start a task.

        Parameters
        ----------
        func : callable
        callback : callable, optional
            Called with its future when it has ended.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.effective_n_jobs(-1), "spark")  # a thread waits for each job
        future = self._pool.submit(self._run, func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return the result of a task, or raise its error.

        Parameters
        ----------
        out : Future
        """
        try:
            result, error = out.result()
        except Py4JError as lost:
            if self._is_alone:
                raise no_worker(self._cluster.place, ALONE) from None
            raise EngineError(
                f"A fit must end on one of the executors of {self._cluster.place}, but it was lost several times: "
                f"{failure_of(lost)} Give the machines more memory, or the workers fewer processors: --cores."
            ) from None
        if error is not None:
            raise error
        return result

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the tasks that are left.

        Parameters
        ----------
        ensure_ready : bool, default=True
        """
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        with suppress(Py4JError):  # the application has ended
            self._context.cancelJobGroup(self._group)

    def terminate(self) -> None:
        """End the threads."""
        self.abort_everything()

    def _run(self, function: Callable[[], Any]) -> tuple[Any, Exception | None]:
        self._context.setJobGroup(self._group, "tidecast", interruptOnCancel=True)
        found: tuple[Any, Exception | None] = (
            self._context.parallelize([0], 1).map(lambda _: _outcome(function)).collect()[0]
        )
        return found

    def _look(self) -> None:
        """End all tasks when the executors have been gone for too long."""
        gone_at = None
        while not self._ended.wait(LOOK_EVERY):
            try:
                alone = not self._cluster.n_workers
            except Py4JError:  # the application has ended, and its tasks with it
                return
            now = time.monotonic()
            if not alone:
                gone_at = None
            elif gone_at is None:
                gone_at = now
                logger.warning("All executors of %s have ended. Waiting %.0f s …", self._cluster.place, ALONE)
            elif now - gone_at > ALONE:
                self._is_alone = True
                self._context.cancelJobGroup(self._group)
                return


def _outcome(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """The result or the error of a task: one that Spark sees would run again."""
    try:
        return function(), None
    except Exception as error:
        return None, error
