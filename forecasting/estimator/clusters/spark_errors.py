"""What can be wrong with a Spark cluster, in words."""

from __future__ import annotations

from tidecast.forecasting.estimator.clusters.cluster import EngineError


def no_master(place: str) -> EngineError:
    """Return the error for a master that does not answer.

    Parameters
    ----------
    place : str
        Host and port where it should be.
    """
    port = place.rpartition(":")[2]
    return EngineError(
        f"A Spark master of the same version must answer at {place}; it did not. Start one with: spark-class "
        f"org.apache.spark.deploy.master.Master --port {port} or set engine to 'processes'."
    )


def no_worker(place: str, seconds: float) -> EngineError:
    """Return the error for a cluster without workers.

    Parameters
    ----------
    place : str
        Host and port of the master.
    seconds : float
        Time that it had to start one.
    """
    return EngineError(
        f"The Spark master at {place} must have a worker with a free processor and memory; it gave none within "
        f"{seconds:g} s. Start one with: spark-class org.apache.spark.deploy.worker.Worker spark://{place} or end "
        "other applications."
    )


def failure_of(error: Exception) -> str:
    """Return what failed in Python, out of the pages of Java that Spark adds to it.

    Parameters
    ----------
    error : py4j.protocol.Py4JError
    """
    lines = [line.strip() for line in str(error).splitlines()]
    python = [line for line in lines if line.partition(":")[0].endswith(("Error", "Exception")) and "java" not in line]
    java = [line.removeprefix(":").strip() for line in lines if line.startswith(":")]
    return (python[-1:] or java or [str(error)])[0][:300]
