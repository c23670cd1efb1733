"""joblib's backend for Ray: each task of joblib is one of Ray, which runs it again where its process or machine ends.

Ray's own backend keeps its processes in a pool, and waits for ever for one that was killed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import ray
from joblib.parallel import ParallelBackendBase
from ray.exceptions import RayError, RayTaskError

from tidecast.forecasting.estimator.clusters.cluster import Cluster, EngineError


class RayBackend(ParallelBackendBase):
    """Runs tasks on a Ray cluster, each with one processor.

    Parameters
    ----------
    cluster : RayCluster
    """

    supports_retrieve_callback = True

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._running: dict[Future[Any], Any] = {}
        self._task = ray.remote(num_cpus=1)(_call)

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Return the number of processors; `n_jobs` is that of one machine.

        Parameters
        ----------
        n_jobs : int
        """
        return max(1, self._cluster.n_workers)

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], Any] | None = None) -> Future[Any]:
        """Start a task.

        Parameters
        ----------
        func : callable
        callback : callable, optional
            Called with its future when it has ended.
        """
        task = self._task.remote(func)
        future: Future[Any] = task.future()
        self._running[future] = task  # Ray forgets a task that nobody refers to

        def ended(future: Future[Any]) -> None:
            self._running.pop(future, None)
            if callback is not None:
                callback(future)

        future.add_done_callback(ended)
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


def _call(function: Callable[[], Any]) -> Any:
    return function()
