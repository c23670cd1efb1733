"""Time to equal accuracy: CPU seconds until our held-out loss passes the loss at which another library ends.

Each library trains with its own defaults on the same rows; ours has its cell, width and layers, and is fitted whole
with one more budget of epochs after the other. Each fit is a process of its own, with one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.rivals.task import Task

HERE = Path(__file__).parent / "rivals"


def etth1(folder: Path) -> Task:
    """ETTh1: seven hourly series, a year to train on, the four months after it held out."""
    table = pl.read_parquet(folder / "ltsf_etth1_wide.parquet")[: 16 * 30 * 24]
    series = [table[name].cast(pl.Float64).to_numpy() for name in table.columns[1:]]
    return Task("ETTh1", "h", 24, 96, "values", series, 4 * 30 * 24, np.arange(24, 4 * 30 * 24 + 1, 96)[::-1])


def m4_hourly(folder: Path) -> Task:
    """M4 Hourly's training rows: 414 series, the last 48 hours of them held out. Its test rows are not touched."""
    table = pl.read_parquet(folder / "m4_hourly.parquet").filter(pl.col("split") == "train").sort("series_id", "t")
    series = [
        part["value"].cast(pl.Float64).to_numpy() for part in table.partition_by("series_id", maintain_order=True)
    ]
    return Task("M4 Hourly", "h", 48, 96, "values", series, 48, np.array([48]))


def ecb(folder: Path) -> Task:
    """ECB rates of 24 currencies from 2000 on, without pegs; the last 504 sessions up to 2019 held out."""
    table = pl.read_parquet(folder / "ecb_fx_daily.parquet")
    table = table.filter(pl.col("date").dt.year().is_between(2000, 2019)).drop_nulls()
    whole = table.group_by("series_id").agg(n=pl.len(), moves=(pl.col("value").diff() != 0).mean())
    kept = whole.filter((pl.col("n") == pl.col("n").max()) & (pl.col("moves") > 0.8))["series_id"].sort()
    series = [table.filter(series_id=name).sort("date")["value"].to_numpy() for name in kept]
    return Task("ECB", "B", 5, 64, "prices", series, 504, np.arange(5, 505, 5)[::-1])


TASKS = {"etth1": etth1, "m4": m4_hourly, "ecb": ecb}


def run(python: str, script: str, task: Path, options: dict) -> tuple[float, np.ndarray]:
    """CPU seconds of one library's training, and its answer."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.npz"
        command = [python, str(HERE / script), str(task), str(answer), json.dumps(options)]
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**_environment(), **one_thread})
        if done.returncode:
            raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
        with np.load(answer) as found:
            return float(found["seconds"]), found["answer"]


def kept(arguments: argparse.Namespace, script: str, task: Path) -> tuple[float, np.ndarray]:
    """What the other library took and answered, run once."""
    answer = arguments.keep / f"{arguments.task}-{arguments.library}.npz" if arguments.keep else None
    if answer is None or not answer.exists():
        seconds, found = run(arguments.python, script, task, json.loads(arguments.options))
        if answer is not None:
            answer.parent.mkdir(parents=True, exist_ok=True)
            np.savez(answer, seconds=seconds, answer=found)
        return seconds, found
    with np.load(answer) as before:
        return float(before["seconds"]), before["answer"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the data files")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("library", choices=["neuralforecast", "gluonts", "darts", "none"])
    parser.add_argument("--python", type=os.path.abspath, default=sys.executable, help="the library's interpreter")
    parser.add_argument("--options", default="{}", help="JSON, for the library")
    parser.add_argument("--ours", default="{}", help="JSON, settings of ours beside cell, width and layers")
    parser.add_argument("--epochs", default="1,2,4,8,16", help="our budgets")
    parser.add_argument("--choose", action="store_true", help="on the training rows alone: to choose settings of ours")
    parser.add_argument("--metric", choices=["mae", "rmse", "crps"], help="default: what the library trains on")
    parser.add_argument("--keep", type=Path, help="folder for the library's answer: once there, it is not run again")
    arguments = parser.parse_args()
    script, metric, shape = {
        "neuralforecast": ("neuralforecast_lstm.py", "mae", {"hidden_size": 128, "num_layers": 2}),
        "gluonts": ("gluonts_deepar.py", "crps", {"hidden_size": 40, "num_layers": 2}),
        "darts": ("darts_rnn.py", "rmse", {"hidden_size": 25, "num_layers": 1}),
        "none": ("", "crps", {}),
    }[arguments.library]
    metric = arguments.metric or metric
    task = TASKS[arguments.task](arguments.data)
    if arguments.choose:
        task, script = task.earlier(), ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.npz"
        task.save(path)
        rows = sum(len(values) for values in task.training())
        print(f"{task.name}: {len(task.series)} series, {rows:,} training rows, {len(task.histories())} forecasts")
        target = np.inf
        if script:
            seconds, answer = kept(arguments, script, path)
            target = task.loss(answer, metric)
            print(f"{arguments.library}: {metric} {target:.4f} after {seconds:.1f} CPU s", flush=True)
        for epochs in map(int, arguments.epochs.split(",")):
            options = {**shape, "max_epochs": epochs, **json.loads(arguments.ours)}
            ours, answer = run(sys.executable, "tidecast_rnn.py", path, options)
            losses = {name: task.loss(answer, name) for name in ("mae", "rmse", "crps")}
            passed = f", passed in 1/{seconds / ours:.1f} of its time" if script and losses[metric] <= target else ""
            found = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
            print(f"tidecast, {epochs} epochs: {found} after {ours:.1f} CPU s{passed}", flush=True)


if __name__ == "__main__":
    main()
