"""A Dask cluster of this machine, as the documentation starts one: a scheduler and worker processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Cluster:
    """The address of a scheduler, and its processes."""

    def __init__(self, folder: Path, environ: dict[str, str] | None = None) -> None:
        self.folder, self.environ = folder, environ or {}
        self.processes: list[subprocess.Popen] = []
        self.workers: list[subprocess.Popen] = []
        place = folder / "scheduler.json"
        self._arguments = ["--scheduler-file", str(place), "--dashboard-address", "127.0.0.1:0"]
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", *self._arguments)
        self.start_worker()
        self.start_worker()
        until(lambda: self.log().count("Registered to") == 2)
        address = next(word for word in place.read_text().split('"') if word.startswith("tcp://"))
        self.engine = address.replace("tcp://", "dask://")

    def _start(self, what: str, *arguments: str) -> subprocess.Popen:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self.environ}
        command = [sys.executable, "-m", "distributed.cli.dask_" + what, *arguments]
        log = self.folder / f"{what}-{len(self.processes)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(command, cwd=self.folder, env=environ, stdout=file, stderr=file)
        self.processes.append(process)
        return process

    def start_worker(self) -> None:
        self.workers.append(self._start("worker", "--nthreads", "1", "--no-nanny", *self._arguments))

    def log(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("worker-*.log"))

    def kill_worker(self) -> None:
        """Kill a worker that is left, once."""
        if len(self.workers) == 2:
            self.workers.pop().send_signal(signal.SIGKILL)

    def kill_workers(self) -> None:
        """Kill all workers."""
        for worker in self.workers:
            worker.send_signal(signal.SIGKILL)

    def kill_scheduler(self) -> None:
        """Kill the scheduler; the workers stay."""
        self.scheduler.send_signal(signal.SIGKILL)


@contextmanager
def started_cluster(folder: Path, environ: dict[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster that ends with the body; `environ` is added to the environment of its processes."""
    cluster = Cluster(folder, environ)
    try:
        yield cluster
    finally:
        for process in reversed(cluster.processes):
            process.kill()
            process.wait()


def until(done, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.1)
