"""A Ray cluster of this machine, as the documentation starts one: two machines' processes, each with a processor."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
QUIET = ["--disable-usage-stats", "--include-dashboard", "false"]


class RayProcesses:
    """The address of a head, and the processes of the cluster."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.engine = f"ray://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen] = []

    def start(self, *arguments: str) -> subprocess.Popen:
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1", *arguments]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def kill_head(self) -> None:
        """Kill the processes of the head, the one that knows all machines among them."""
        for process in psutil.Process(self.processes[0].pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it ended with another
                process.kill()


@contextmanager
def started_ray() -> Iterator[RayProcesses]:
    """A cluster of two nodes that ends with the body."""
    cluster = RayProcesses()
    try:
        cluster.start("--head", "--node-ip-address", "127.0.0.1", "--port", str(cluster.port), *QUIET)
        until_open(cluster.port)
        cluster.start("--address", f"127.0.0.1:{cluster.port}")
        yield cluster
    finally:
        for process in reversed(cluster.processes):
            process.send_signal(signal.SIGTERM)
        for process in cluster.processes:
            process.wait(60)


def until_open(port: int, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.2)
        else:
            return
