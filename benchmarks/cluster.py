"""A training on a Dask cluster of two hosts, against the same on this machine.

The hosts are two network namespaces, each with a folder for temporary files of its own; workers reach the scheduler by
a virtual cable. Needs Linux, root and `ip`. Prints wall and CPU seconds, what the tasks carried, and the cost of a task
that does nothing. With --shared, both hosts see that folder, as a warehouse on a network drive; without it, Dask sends
the panel.

    sudo .venv/bin/python -m benchmarks.cluster --workers 2 [--shared FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from joblib import Parallel, delayed, parallel_config

from tidecast.flows.config.settings import Settings
from tidecast.flows.training.train import train
from tidecast.forecasting.estimator import dask_cluster, engine
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

HERE, THERE, PLACE = "10.201.0.1", "10.201.0.2", "10.201.0.1:8786"
CABLE = ("tide-here", "tide-there")
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


def timed(panel: pl.DataFrame) -> tuple[float, pl.DataFrame]:
    """Wall seconds of a training, and the forecasts of its winner."""
    begun = time.perf_counter()
    newest = panel["time"].max()
    result = train(panel, newest, SETTINGS, None, True, lambda text: None, {})
    losses = result.evaluation.losses if result.evaluation is not None else pl.DataFrame()
    return time.perf_counter() - begun, losses


@contextmanager
def two_hosts(n_workers: int) -> Iterator[None]:
    """A scheduler in this namespace and workers in another one."""
    for line in (
        "ip netns add tide", f"ip link add {CABLE[0]} type veth peer name {CABLE[1]}",
        f"ip link set {CABLE[1]} netns tide", f"ip addr add {HERE}/24 dev {CABLE[0]}", f"ip link set {CABLE[0]} up",
        f"ip netns exec tide ip addr add {THERE}/24 dev {CABLE[1]}",
        f"ip netns exec tide ip link set {CABLE[1]} up", "ip netns exec tide ip link set lo up",
    ):  # fmt: skip
        subprocess.run(line.split(), check=True)
    dask = str(Path(sys.executable).with_name("dask"))
    host, port = PLACE.split(":")
    scheduler = [dask, "scheduler", "--host", host, "--port", port, "--no-dashboard"]
    worker = (
        f"mount -t tmpfs none /tmp && exec {dask} worker {PLACE} --nworkers {n_workers} --nthreads 1 --no-dashboard"
    )
    there = ["ip", "netns", "exec", "tide", "unshare", "--mount", "sh", "-c", worker]
    environ = {**os.environ, "PYTHONPATH": os.getcwd()}
    started = []
    try:
        started.extend(subprocess.Popen(each, env=environ, stderr=subprocess.DEVNULL) for each in (scheduler, there))
        yield
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()
        subprocess.run(["ip", "netns", "del", "tide"], check=True)
        subprocess.run(["ip", "link", "del", CABLE[0]], check=False, stderr=subprocess.DEVNULL)


def cost_of_a_task(client: object, n_tasks: int = 300) -> float:
    """Wall milliseconds of a task that does nothing."""
    with parallel_config("dask", client=client):
        Parallel(batch_size=1)(delayed(abs)(1) for _ in range(10))
        begun = time.perf_counter()
        Parallel(batch_size=1)(delayed(abs)(1) for _ in range(n_tasks))
    return 1000 * (time.perf_counter() - begun) / n_tasks


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--series", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--shared", default=None, help="folder that both hosts see")
    given = parser.parse_args()
    panel = market(given.series, given.rows)
    found: dict[str, object] = {"load": os.getloadavg()[0], "rows": panel.height}
    found["local_wall"], local = timed(panel)
    with two_hosts(given.workers):
        dask_cluster.WAIT = 120.0  # workers import their libraries first
        with engine.open_engine(f"dask://{PLACE}", given.shared):
            client = engine._in_force.get().client
            found["hosts"] = sorted({address.split(":")[1] for address in client.ncores()})
            with engine.on_engine(panel, 1) as reference:
                found["carried"] = type(reference).__name__
            found["ms_per_task"] = cost_of_a_task(client)
            found["cluster_wall"], there = timed(panel)
    found["tables_are_equal"] = local.equals(there)
    print(json.dumps(found))


if __name__ == "__main__":
    tempfile.tempdir = "/tmp"  # which is another folder on the other host
    main()
