"""A Ray cluster that fits run on."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from joblib.parallel import ParallelBackendBase

from tidecast.forecasting.estimator.clusters.cluster import Cluster, EngineError, ended
from tidecast.forecasting.estimator.panel_reference import PanelReference

WAIT = 10.0
"""Seconds that a head has to answer."""

PROBE = 60.0
"""Seconds that a machine has to say what is installed; a process there must start first."""


@contextmanager
def ray_cluster(place: str) -> Iterator[RayCluster]:
    """Connect to a cluster that this machine belongs to, check its workers, and disconnect at the end.

    Parameters
    ----------
    place : str
        Host and port of the head.

    Yields
    ------
    RayCluster

    Raises
    ------
    EngineError
        Ray is not installed, no cluster is at this address, or its workers are not alike.
    """
    try:
        import ray  # optional, and takes a second to load
    except ImportError:
        raise EngineError(
            f"The engine ray://{place} must find Ray installed, it did not. Install it here and on the workers: "
            'pip install "tidecast[ray]"'
        ) from None
    port = place.rpartition(":")[2]
    connected = ray.is_initialized()  # by the caller, who also disconnects
    try:
        _connect(place)  # Ray itself would try for minutes
        ray.init(place, ignore_reinit_error=True, logging_level=logging.CRITICAL, log_to_driver=False)
    except (OSError, RuntimeError, ValueError):
        raise EngineError(
            f"A Ray cluster must have its head at {place}, and this machine must belong to it; it was not found. On "
            f"the head's machine: ray start --head --port {port}. On each other one, this one too: ray start "
            f"--address {place}. Or set engine to 'processes'."
        ) from None
    try:
        cluster = RayCluster(place, ray)
        cluster.check_workers()
        yield cluster
    finally:
        if not connected:
            ray.shutdown()


class RayCluster(Cluster):
    """The processors of a Ray cluster.

    Parameters
    ----------
    place : str
        Host and port of the head.
    ray : module
        Ray itself, which is optional.
    """

    library = "ray"

    def __init__(self, place: str, ray: Any) -> None:
        super().__init__(place)
        self._ray = ray

    @property
    def n_workers(self) -> int:
        """Number of processors that the cluster gives to tasks."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Call a function once on every machine; see `Cluster.everywhere`."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = self._ray
        task, calls = ray.remote(num_cpus=0, max_retries=0)(function), {}
        for node in ray.nodes():
            if node["Alive"] and node["Resources"].get("CPU"):
                here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                name = f"{node['NodeManagerAddress']}, node {node['NodeID'][:8]}"
                calls[name] = task.options(scheduling_strategy=here).remote(*arguments)
        found: dict[str, Any] = {}
        for name, call in calls.items():
            try:
                found[name] = ray.get(call, timeout=PROBE)
            except ray.exceptions.RayTaskError as error:
                found[name] = error.cause
            except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
                continue  # it has just ended, or had before; the head notices some seconds later
            except ray.exceptions.RayError as error:
                found[name] = error
        return found

    def held(self, panel: Any) -> PanelReference:
        """Return a reference to the panel in Ray's object store, which each machine gets once."""
        return StoredPanel(self._ray.put(panel))

    def backend(self, panel: PanelReference) -> ParallelBackendBase:
        """See `Cluster.backend`."""
        from tidecast.forecasting.estimator.clusters.ray_backend import RayBackend  # loads Ray, which is optional

        return RayBackend(self, self.check_head, self.check_processors)

    def check_head(self) -> None:
        """Refuse a head that has ended; Ray would end this process, a minute later.

        Raises
        ------
        EngineError
            It does not answer.
        """
        try:
            _connect(self.place)
        except OSError:
            raise ended("head", self.place) from None

    def check_processors(self) -> None:
        """Refuse a cluster without processors.

        Raises
        ------
        EngineError
            There is none.
        """
        if not self.n_workers:
            raise EngineError(
                f"The Ray cluster at {self.place} must have a processor for tasks; it has none. Start a machine with: "
                f"ray start --address {self.place} --num-cpus 2"
            )

    def check_workers(self) -> None:
        """Refuse a cluster without processors as well.

        Raises
        ------
        EngineError
            As `Cluster.check_workers`, the head has ended, or there is no processor.
        """
        self.check_head()
        self.check_processors()
        super().check_workers()


def _connect(place: str) -> None:
    host, _, port = place.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), WAIT).close()


class StoredPanel(PanelReference):
    """A panel in Ray's object store.

    Parameters
    ----------
    stored : ray.ObjectRef
    """

    def __init__(self, stored: Any) -> None:
        self._stored = stored

    def read(self) -> Any:
        """Return the panel, which a process unpacks once."""
        return _unpacked(self._stored)


@lru_cache(maxsize=1)
def _unpacked(stored: Any) -> Any:
    import ray

    return ray.get(stored)
