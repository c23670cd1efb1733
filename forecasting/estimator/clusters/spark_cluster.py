"""A Spark cluster that fits run on."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from joblib.parallel import ParallelBackendBase

from tidecast.forecasting.estimator.clusters.cluster import Cluster, EngineError
from tidecast.forecasting.estimator.clusters.spark_errors import failure_of, no_master, no_worker
from tidecast.forecasting.estimator.panel_reference import PanelReference

WAIT = 10.0
"""Seconds that a master has to answer."""

START = 60.0
"""Seconds that the workers have to start an executor, which is a Java process."""

STEADY = 2.0
"""Seconds without another executor, after which all are expected to be there."""

SETTINGS = {
    "spark.app.name": "tidecast",
    "spark.dynamicAllocation.enabled": "false",  # all executors stay, so that all can be asked what they have
    "spark.executorEnv.OMP_NUM_THREADS": "1",  # numbers depend on it
    "spark.log.level": "OFF",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "3",  # 45 s for an executor that has just ended
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""Of the application that runs the fits."""

SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
"""Where the lines of Java go, which names its own settings at each start."""


@contextmanager
def spark_cluster(place: str) -> Iterator[SparkCluster]:
    """Start an application on a standalone master, check its workers, and end it after the body.

    Parameters
    ----------
    place : str
        Host and port of the master.

    Yields
    ------
    SparkCluster

    Raises
    ------
    EngineError
        Spark or Java is not installed, no master answers, it has no worker, or its workers are not alike.
    """
    try:
        import pyspark  # optional, and takes a second to load
    except ImportError:
        raise EngineError(
            f"The engine spark://{place} must find Spark installed, it did not. Install it here and on the workers: "
            'pip install "tidecast[spark]"'
        ) from None
    if pyspark.SparkContext._active_spark_context is not None:
        raise EngineError(
            f"A process can have one Spark application; this one has another than that of spark://{place}. Stop it "
            "first: SparkContext.getOrCreate().stop()"
        )
    context = _connected(place, pyspark)
    try:
        cluster = SparkCluster(place, context)
        cluster.check_workers()
        yield cluster
    finally:
        java = context._gateway
        context.stop()
        _end_java(pyspark, java)


class SparkCluster(Cluster):
    """The processors that a Spark master gives to an application.

    Parameters
    ----------
    place : str
        Host and port of the master.
    context : pyspark.SparkContext
    """

    library = "pyspark"

    def __init__(self, place: str, context: Any) -> None:
        super().__init__(place)
        self.context = context

    @property
    def n_workers(self) -> int:
        """Number of tasks that the executors run at a time."""
        java = self.context._jsc.sc()  # PySpark itself counts two, before there is any
        return int(java.maxNumConcurrentTasks(java.resourceProfileManager().resourceProfileFromId(0)))

    def everywhere(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Call a function in each process of executors; see `Cluster.everywhere`."""
        packed, n = pickle.dumps((function, arguments)), max(self.n_workers, 1)

        def call(_: Any) -> list[tuple[str, Any]]:  # travels as code, so that a worker without Tidecast can say so
            import pickle
            import socket

            from pyspark import TaskContext

            name = f"{socket.gethostname()}, task {TaskContext.get().partitionId()}"
            try:
                function, arguments = pickle.loads(packed)
                return [(name, function(*arguments))]
            except Exception as error:
                return [(name, error)]

        # a barrier: all tasks run at the same time, so that each processor has one
        return dict(self.context.parallelize(range(n), n).barrier().mapPartitions(call).collect())

    def held(self, panel: Any) -> PanelReference:
        """Return a reference to the panel as a broadcast of Spark, which each machine gets once."""
        return SentPanel(self.context.broadcast(panel))

    def backend(self, panel: PanelReference) -> ParallelBackendBase:
        """See `Cluster.backend`."""
        from tidecast.forecasting.estimator.clusters.spark_backend import SparkBackend  # loads Spark, which is optional

        return SparkBackend(self, self.context)

    def check_workers(self) -> None:
        """Refuse a cluster without workers as well.

        Raises
        ------
        EngineError
            As `Cluster.check_workers`, or no worker starts an executor.
        """
        from py4j.protocol import Py4JError  # comes with Spark, which is optional

        self._await_executors()
        try:
            super().check_workers()
        except Py4JError as error:
            raise EngineError(
                f"Each worker of {self.place} must start the Python that has Tidecast, {self.context.pythonExec}; a "
                f"task failed: {failure_of(error)} Name the interpreter that all have: PYSPARK_PYTHON=/path/to/python"
            ) from None

    def _await_executors(self) -> None:
        begun = changed = time.monotonic()
        before = self.n_workers
        while not before or time.monotonic() - changed < STEADY:
            if self.context._jsc.sc().isStopped():  # what answered is no master, or refused the application
                raise no_master(self.place)
            if time.monotonic() - begun > START:
                raise no_worker(self.place, START)
            time.sleep(0.1)
            if (now := self.n_workers) != before:
                before, changed = now, time.monotonic()


class SentPanel(PanelReference):
    """A panel that Spark sends to each machine.

    Parameters
    ----------
    sent : pyspark.Broadcast
    """

    def __init__(self, sent: Any) -> None:
        self._sent = sent

    def read(self) -> Any:
        """Return the panel, which a process unpacks once."""
        return self._sent.value


def _connected(place: str, pyspark: Any) -> Any:
    """A context whose Java process prints nothing."""
    from py4j.protocol import Py4JError  # comes with Spark, which is optional

    host, _, port = place.rpartition(":")
    configuration = pyspark.SparkConf().setMaster(f"spark://{place}").setAll(SETTINGS.items())
    try:
        socket.create_connection((host.strip("[]"), int(port)), WAIT).close()  # Spark itself would try for a minute
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, which is not used
            java = pyspark.SparkContext._gateway or pyspark.java_gateway.launch_gateway(configuration, dict(SILENT))
            try:
                context = pyspark.SparkContext(conf=configuration, gateway=java)
            except Py4JError:
                _end_java(pyspark, java)
                raise
    except pyspark.errors.PySparkRuntimeError:
        raise EngineError(
            f"The engine spark://{place} must find Java, 17 or later, on this machine and the workers; Spark could not "
            "start it here. Install it, or set JAVA_HOME to its folder."
        ) from None
    except (OSError, Py4JError):
        raise no_master(place) from None
    context.pythonExec = os.environ.get("PYSPARK_PYTHON", sys.executable)
    return context


def _end_java(pyspark: Any, java: Any) -> None:
    """End Spark's Java process, which would otherwise stay until this process ends."""
    java.shutdown()
    if java.proc is not None:  # it was started from here
        java.proc.stdin.close()
        java.proc.wait()
    pyspark.SparkContext._gateway = pyspark.SparkContext._jvm = None
