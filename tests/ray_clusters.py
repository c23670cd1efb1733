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
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def kill_head(self) -> None:
        """Kill the processes of the head, the one that knows all machines among them."""
        kill_with_children(self.processes[0])

    def kill_worker(self) -> None:
        """Kill the processes of the other machine."""
        kill_with_children(self.processes[1])


@contextmanager
def started_ray(of_head: int = 1) -> Iterator[RayProcesses]:
    """A cluster of two nodes that ends with the body; `of_head` are the processors of the first."""
    cluster = RayProcesses()
    try:
        at = ["--node-ip-address", "127.0.0.1", "--port", str(cluster.port), "--num-cpus", str(of_head)]
        cluster.start("--head", *at, *QUIET)
        until_open(cluster.port)
        cluster.start("--address", f"127.0.0.1:{cluster.port}", "--num-cpus", "1")
        yield cluster
    finally:
        for process in reversed(cluster.processes):
            process.send_signal(signal.SIGTERM)
        for process in cluster.processes:
            process.wait(60)


def kill_with_children(process: subprocess.Popen) -> None:
    """Kill a process and those that it started, if it has not ended."""
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(process.pid)
        for one in [*found.children(recursive=True), found]:
            with suppress(psutil.NoSuchProcess):  # it ended with another
                one.kill()


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
