"""A Spark cluster of this machine, as the documentation starts one: a master and two workers, each with a processor."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ray_clusters import kill_with_children, until_open
from tidecast.flows.scheduling.prefect_server import free_port

ROOT = Path(__file__).parents[1]
MASTER, WORKER = "org.apache.spark.deploy.master.Master", "org.apache.spark.deploy.worker.Worker"


class SparkProcesses:
    """The address of a master, and the processes of the cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.engine = f"spark://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen] = []

    def start(self, kind: str, *arguments: str) -> subprocess.Popen:
        import pyspark

        home = Path(pyspark.__file__).parent
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1"}
        command = [str(home / "bin" / "spark-class"), kind, "--host", "127.0.0.1", "--webui-port", "0", *arguments]
        with (self.folder / f"{len(self.processes)}.log").open("w") as log:
            process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def start_worker(self) -> subprocess.Popen:
        folder = str(self.folder / f"work{len(self.processes)}")
        return self.start(WORKER, "--cores", "1", "--memory", "1g", "--work-dir", folder, self.engine)

    def kill_worker(self) -> None:
        """Kill a worker and its executors."""
        kill_with_children(self.processes[-1])


@contextmanager
def started_spark(folder: Path) -> Iterator[SparkProcesses]:
    """A cluster of two workers that ends with the body."""
    cluster = SparkProcesses(folder)
    try:
        cluster.start(MASTER, "--port", str(cluster.port))
        until_open(cluster.port)
        for _ in range(2):
            cluster.start_worker()
        yield cluster
    finally:
        for process in reversed(cluster.processes):
            process.send_signal(signal.SIGTERM)
        for process in cluster.processes:
            process.wait(60)
