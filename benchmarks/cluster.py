"""A training on a Dask cluster of two hosts, against the same on this machine.

The hosts are two network namespaces, each with a folder for temporary files of its own; workers reach the scheduler by
a virtual cable. Needs Linux, root and `ip`. Prints wall and CPU seconds, what the tasks carried, the cost of a task
that does nothing, and whether the tables are equal. With --shared, both hosts see that folder, as a warehouse on a
network drive; without it, Dask sends the panel. With --kill, a worker is killed after the first fit.

    sudo .venv/bin/python -m benchmarks.cluster --workers 2 [--shared FOLDER] [--kill]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil
from joblib import Parallel, delayed

from tidecast.flows.config.settings import Settings
from tidecast.flows.training.train import train
from tidecast.forecasting.estimator import engine
from tidecast.forecasting.estimator.clusters import dask_cluster
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

HERE, THERE, PLACE = "10.201.0.1", "10.201.0.2", "10.201.0.1:8786"
HOST, CABLE = f"tide{os.getpid()}", (f"tideA{os.getpid()}", f"tideB{os.getpid()}")
SETTINGS = Settings(
    calendar="weekdays", models=("GRU", "MINGRU", "volatility_regression"), n_jobs=2,
    gate=GatePolicy(max_origins=252, min_origins=252),
)  # fmt: skip


def market(n_series: int, n_rows: int) -> pl.DataFrame:
    """Random walks on weekdays."""
    days = pl.date_range(pl.date(2000, 1, 3), pl.date(2030, 1, 1), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_rows)
    steps = 0.01 * np.random.default_rng(0).standard_normal((n_series, n_rows))
    names = np.repeat([f"S{number:05d}" for number in range(n_series)], n_rows)
    times = pl.Series(np.tile(days.to_numpy(), n_series)).cast(pl.Date)
    return pl.DataFrame({"series_id": names, "time": times, "close": np.exp(steps.cumsum(axis=1)).ravel()})


@dataclass(frozen=True)
class Timed:
    """A training, and what it cost.

    Attributes
    ----------
    wall : float
        Seconds.
    cpu : float
        Seconds, of all processes of this program, workers included.
    fits : int
        Folds that were forecast; the refit is not among them.
    tables : tuple of DataFrame
        Selection, losses and the winner's forecasts.
    """

    wall: float
    cpu: float
    fits: int
    tables: tuple[pl.DataFrame, ...]


def timed(panel: pl.DataFrame, on_fit: Callable[[], None] = lambda: None) -> Timed:
    """Train, and measure."""
    fits = 0

    def say(text: str) -> None:
        nonlocal fits
        if ", fold " in text:
            fits += 1
            on_fit()

    newest = panel["time"].max()
    assert isinstance(newest, date)
    begun, cpu = time.perf_counter(), cpu_seconds()
    result = train(panel, newest, SETTINGS, None, True, say, {})
    wall, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    assert result.evaluation is not None
    return Timed(wall, cpu, fits, (result.selection, result.evaluation.losses, result.model.predict()))


def cpu_seconds() -> float:
    """CPU time of this program and what it has started; that of processes that were killed is lost."""
    total = 0.0
    for process in (here := psutil.Process(), *here.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@contextmanager
def second_host() -> Iterator[list[str]]:
    """Another network namespace, at the end of a virtual cable; yields what a command there begins with."""
    try:
        for line in (
            f"ip netns add {HOST}", f"ip link add {CABLE[0]} type veth peer name {CABLE[1]}",
            f"ip link set {CABLE[1]} netns {HOST}", f"ip addr add {HERE}/24 dev {CABLE[0]}",
            f"ip link set {CABLE[0]} up", f"ip netns exec {HOST} ip addr add {THERE}/24 dev {CABLE[1]}",
            f"ip netns exec {HOST} ip link set {CABLE[1]} up", f"ip netns exec {HOST} ip link set lo up",
        ):  # fmt: skip
            subprocess.run(line.split(), check=True)
        yield ["ip", "netns", "exec", HOST]
    finally:
        subprocess.run(["ip", "netns", "del", HOST], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", CABLE[0]], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def two_hosts(n_workers: int) -> Iterator[None]:
    """A scheduler in this namespace and workers in another one."""
    dask = str(Path(sys.executable).with_name("dask"))
    host, port = PLACE.split(":")
    scheduler = [dask, "scheduler", "--host", host, "--port", port, "--no-dashboard"]
    worker = (
        f"mount -t tmpfs none /tmp && exec {dask} worker {PLACE} --nworkers {n_workers} --nthreads 1 --no-dashboard"
    )
    environ = {**os.environ, "PYTHONPATH": os.getcwd()}
    with second_host() as there:
        commands = [scheduler, [*there, "unshare", "--mount", "sh", "-c", worker]]
        started = [subprocess.Popen(each, env=environ, stderr=subprocess.DEVNULL) for each in commands]
        try:
            yield
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait()


def loaded() -> None:
    """Load what fits need, and wait, so that each worker does so."""
    import torch  # noqa: F401  # takes seconds, which belong to no fit

    import tidecast.flows.training.train  # noqa: F401  # as above

    time.sleep(1)


class Killer:
    """Kills a worker of the cluster, once.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self.pids = sorted(client.run(os.getpid).values())
        self.killed = False

    def __call__(self) -> None:
        if not self.killed:
            os.kill(self.pids[0], signal.SIGKILL)
        self.killed = True


def cost_of_a_task(panel: pl.DataFrame, n_tasks: int = 300) -> tuple[float, float]:
    """Wall and CPU milliseconds of a task that does nothing, client, scheduler and workers together."""
    with engine.on_engine(panel, 1):
        Parallel(batch_size=1)(delayed(abs)(1) for _ in range(10))
        begun, cpu = time.perf_counter(), cpu_seconds()
        Parallel(batch_size=1)(delayed(abs)(1) for _ in range(n_tasks))
    wall, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    return round(1000 * wall / n_tasks, 2), round(1000 * cpu / n_tasks, 2)


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--series", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--shared", default=None, help="folder that both hosts see")
    parser.add_argument("--kill", action="store_true", help="kill a worker after the first fit")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that the namespace is removed
    panel = market(given.series, given.rows)
    found: dict[str, object] = {"load": os.getloadavg()[0], "rows": panel.height}
    with engine.on_engine(panel, SETTINGS.n_jobs):
        Parallel(batch_size=1)(delayed(loaded)() for _ in range(SETTINGS.n_jobs))
    local = timed(panel)
    with two_hosts(given.workers):
        dask_cluster.WAIT = 300.0  # workers import their libraries first
        with engine.open_engine(f"dask://{PLACE}", given.shared):
            client = engine._in_force.get().cluster.client
            client.wait_for_workers(given.workers)
            found["hosts"] = sorted({address.split(":")[1].strip("/") for address in client.ncores()})
            with engine.on_engine(panel, 1) as reference:
                found["carried"] = type(reference).__name__
            found["ms_per_task"], found["cpu_ms_per_task"] = cost_of_a_task(panel)
            client.run(loaded)
            killer = Killer(client)
            there = timed(panel, killer if given.kill else lambda: None)
            found["killed"] = killer.killed
    found |= {"fits": there.fits, "local_wall": round(local.wall, 1), "cluster_wall": round(there.wall, 1)}
    found |= {"local_cpu": round(local.cpu, 1), "cluster_cpu": round(there.cpu, 1)}
    found["tables_are_equal"] = all(map(pl.DataFrame.equals, local.tables, there.tables))
    print(json.dumps(found))


if __name__ == "__main__":
    tempfile.tempdir = "/tmp"  # which is another folder on the other host
    main()
