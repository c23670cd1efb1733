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
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.rivals.task import LEVELS, Task

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
METRICS = ("mae", "rmse", "crps")
UNTRAINED = {
    "values": {"class": "SeasonalNaive", "baseline": {"season": 24}, "quantiles": LEVELS.tolist()},
    "prices": {"class": "RandomWalk", "quantiles": LEVELS.tolist()},
}
"""Forecasts without training, by kind of task: the same hour of the day before, the last price."""


def run(python: str, script: str, task: Path, options: dict) -> dict[str, np.ndarray]:
    """One library's "answer", the CPU "seconds" of its training, and its curve where it has one."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.npz"
        command = [python, str(HERE / script), str(task), str(answer), json.dumps(options)]
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**_environment(), **one_thread})
        if done.returncode:
            raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
        with np.load(answer) as found:
            return dict(found)


def kept(arguments: argparse.Namespace, script: str, task: Path) -> dict[str, np.ndarray]:
    """Run the other library once, and return its time and answer."""
    answer = arguments.keep / f"{arguments.task}-{arguments.library}.npz" if arguments.keep else None
    if answer is None or not answer.exists():
        found = run(arguments.python, script, task, json.loads(arguments.options))
        if answer is not None:
            answer.parent.mkdir(parents=True, exist_ok=True)
            np.savez(answer, **found)
        return found
    with np.load(answer) as before:
        return dict(before)


def points(task: Task, found: dict[str, np.ndarray], metric: str) -> list[dict[str, float]]:
    """Epochs, CPU seconds and loss of another library: intermediate ones if it reports them, and the final one."""
    way = zip(*(found.get(f"curve_{name}", ()) for name in ("epochs", "seconds", "answers")), strict=True)
    curve = [
        {"epochs": int(epochs), "seconds": float(seconds), metric: task.loss(answer, metric)}
        for epochs, seconds, answer in way
    ]
    return [*curve, {"seconds": float(found["seconds"]), metric: task.loss(found["answer"], metric)}]


def shown(losses: dict[str, float]) -> str:
    """Losses as a line of text."""
    return ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the data files")
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("library", choices=["neuralforecast", "gluonts", "darts", "none"])
    parser.add_argument("--python", type=os.path.abspath, default=sys.executable, help="the library's interpreter")
    parser.add_argument("--options", default="{}", help="JSON, for the library")
    parser.add_argument("--ours", default="{}", help="JSON, settings of ours besides cell, width and layers")
    parser.add_argument("--epochs", default="1,2,4,8,16", help="our budgets of epochs")
    parser.add_argument("--choose", action="store_true", help="use the training rows alone, to choose our settings")
    parser.add_argument("--metric", choices=METRICS, help="default: the loss that the library trains on")
    parser.add_argument("--keep", type=Path, help="folder for the library's answer, which is reused if it exists")
    parser.add_argument("--json", type=Path, help="file to append the result to, for benchmarks.curves")
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
        answer = run(sys.executable, "tidecast_rnn.py", path, UNTRAINED[task.kind])["answer"]
        point = answer[..., len(LEVELS) // 2]
        untrained = {name: task.loss(answer if name == "crps" else point, name) for name in METRICS}
        print(f"{UNTRAINED[task.kind]['class']}: {shown(untrained)}", flush=True)
        theirs: list[dict[str, float]] = []
        if script:
            theirs = points(task, kept(arguments, script, path), metric)
            for point in theirs:
                epochs = f", {point['epochs']} epochs" if "epochs" in point else ""
                found = f"{metric} {point[metric]:.4f} after {point['seconds']:.1f} CPU s"
                print(f"{arguments.library}{epochs}: {found}", flush=True)
        ours: list[dict[str, float]] = []
        for epochs in map(int, arguments.epochs.split(",")):
            options = {**shape, "max_epochs": epochs, **json.loads(arguments.ours)}
            fitted = run(sys.executable, "tidecast_rnn.py", path, options)
            seconds, losses = float(fitted["seconds"]), {name: task.loss(fitted["answer"], name) for name in METRICS}
            ours.append({"epochs": epochs, "seconds": seconds, **losses})
            passed = theirs and losses[metric] <= theirs[-1][metric]
            share = f", passed in 1/{theirs[-1]['seconds'] / seconds:.1f} of its time" if passed else ""
            print(f"tidecast, {epochs} epochs: {shown(losses)} after {seconds:.1f} CPU s{share}", flush=True)
    if arguments.json:
        measured = {"task": task.name, "library": arguments.library, "metric": metric, "date": str(date.today())}
        measured |= {"options": json.loads(arguments.options), "untrained": untrained, "theirs": theirs, "ours": ours}
        with arguments.json.open("a") as file:
            file.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    main()
