"""A Dask cluster that fits run on: connect, and refuse workers that would compute something else."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from joblib.parallel import ParallelBackendBase

from tidecast.features.error_text import shorten
from tidecast.forecasting.estimator.clusters.cluster import Cluster, EngineError, ended
from tidecast.forecasting.estimator.panel_reference import HeldPanel, PanelReference

WAIT = 10.0
"""Seconds that a scheduler has to answer, and a cluster without workers to start one."""

LOGS = ("distributed", "distributed.client")
"""Loggers of Dask, each of which it gives a level of its own."""

CLOSING = 2.0
"""Seconds that the connection may take to close."""


@contextmanager
def dask_cluster(place: str) -> Iterator[DaskCluster]:
    """Connect to a scheduler, check its workers, and disconnect at the end.

    Parameters
    ----------
    place : str
        Host and port of the scheduler.

    Yields
    ------
    DaskCluster

    Raises
    ------
    EngineError
        Dask is not installed, the scheduler does not answer, or ends before the body, it has no worker, or its workers
        are not alike.
    """
    try:
        from distributed import Client  # optional, and takes a second to load
    except ImportError:
        raise EngineError(
            f"The engine dask://{place} must find Dask installed, it did not. Install it here and on the workers: "
            'pip install "tidecast[dask]"'
        ) from None
    try:
        with _quiet():
            client = Client(f"tcp://{place}", timeout=WAIT, set_as_default=False, name="tidecast")
    except OSError:
        raise EngineError(
            f"A Dask scheduler must answer at {place}; no reply within {WAIT:g} s. Start one with: dask scheduler "
            f"--port {place.rpartition(':')[2]} or set engine to 'processes'."
        ) from None
    with _quiet():
        try:
            cluster = DaskCluster(client, place)
            cluster.check_workers()
            yield cluster
        except (Exception, CancelledError) as error:
            if isinstance(error, CancelledError) and client.status == "running":
                raise EngineError(
                    f"The panel that workers of {place} were sent must stay with one of them, but the last that had it "
                    "ended, and what the tasks had done is lost. Run the same command again, with a folder that all "
                    "workers see, or set engine to 'processes'."
                ) from error
            if isinstance(error, EngineError) or client.status == "running":
                raise
            raise ended("scheduler", place) from error
        finally:
            client.close(timeout=CLOSING)


class DaskCluster(Cluster):
    """The workers of a Dask scheduler.

    Parameters
    ----------
    client : distributed.Client
    place : str
        Host and port of the scheduler.
    """

    library = "distributed"

    def __init__(self, client: Any, place: str) -> None:
        super().__init__(place)
        self.client = client

    @property
    def n_workers(self) -> int:
        """Number of workers."""
        return len(self.client.ncores())

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """See `Cluster.everywhere`."""
        found = self.client.run(function, *arguments, on_error="return")
        return {name: there for name, there in found.items() if not isinstance(there, OSError)}  # it has just ended

    def held(self, panel: Any) -> PanelReference:
        """Return the panel in memory, which `backend` sends to each worker once."""
        return HeldPanel(panel)

    def backend(self, panel: PanelReference) -> ParallelBackendBase:
        """See `Cluster.backend`."""
        from tidecast.forecasting.estimator.clusters.dask_backend import DaskBackend  # loads Dask, which is optional

        sent = isinstance(panel, HeldPanel) and panel.read() is not None
        return DaskBackend(self.client, self.place, no_worker, [panel] if sent else None)

    def check_workers(self) -> None:
        """Refuse workers with several threads as well.

        Raises
        ------
        EngineError
            As `Cluster.check_workers`, or a worker has several threads.
        """
        if not self.client.ncores():
            try:  # a cluster that grows on demand starts one for a task
                self.client.submit(os.getpid, pure=False).result(timeout=WAIT)
            except TimeoutError:
                raise no_worker(self.place, WAIT) from None
        if shared := sorted(name for name, threads in self.client.ncores().items() if threads != 1):
            raise EngineError(
                f"Each worker of {self.place} must have one thread, because a fit's numbers depend on the threads of "
                f"its process; more have {shorten(shared)}. Start them with --nthreads 1, and --nworkers for their "
                "number."
            )
        super().check_workers()


def no_worker(place: str, seconds: float) -> EngineError:
    """Return the error for a cluster without workers.

    Parameters
    ----------
    place : str
        Host and port of the scheduler.
    seconds : float
        Time that it had to start one.
    """
    return EngineError(
        f"The scheduler at {place} must have a worker; it had none within {seconds:g} s. Start some with: "
        f"dask worker {place} --nworkers 2 --nthreads 1"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what Dask logs about connections that end."""
    logs = [logging.getLogger(name) for name in LOGS]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)
