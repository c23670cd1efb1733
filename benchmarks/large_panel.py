"""A panel's first run, its next day, and a training, by stage: seconds, CPU seconds and memory of all processes.

python -m benchmarks.large_panel FOLDER [--series 50 500 5000] [--sessions 2500] [--calendar 24/7]

Prices are made up (`benchmarks.market`), with open, high, low and volume. The commands are `tidecast run` and `tidecast
train`; a stage ends with the line that is printed at its end. Memory is proportional (PSS): pages that processes share
count once. "Held" is the part that the system cannot drop: pages of no file. FOLDER is emptied of what
earlier runs of this benchmark left there. Linux only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.market import market

STAGES = {
    "Starting Prefect": "read the source",
    "Prices up to": "start Prefect, ingest",
    "Panel:": "check the panel",
    "Comparing": "plan",
    "Testing": "selection",
    "Fitting ": "gate",  # lines of progress begin with "Fitting:"
    "Making the MLflow store": "fit the winner",
    "Logging the training": "start MLflow",
    "Published": "log, register, predict, publish",
    "Scored": "score",
    "Median forecasts": "watch and report",
}
"""Stages of a run by the beginning of the line that ends each."""

OF_TRAINING = {"Fitting ": "read the panel", "Logging the training": "fit the winner", "Champion": "log and register"}
"""Those of a training that holds no gate."""

Rows = list[tuple[str, float, float, float, float]]
"""Stage, seconds, CPU seconds, peak MiB, and peak MiB of no file."""

TICKS, EVERY = os.sysconf("SC_CLK_TCK"), 1.0  # a look at gigabytes takes a tenth of a second


@dataclass
class Tree:
    """A process and its descendants, sampled while it runs."""

    root: int
    peak: float = 0.0
    held: float = 0.0
    is_over: bool = False
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def _sample(self) -> None:
        while not self.is_over:
            now = np.sum([_mib(pid) for pid in _family(self.root)], axis=0)
            self.peak, self.held = np.maximum((self.peak, self.held), now).tolist()
            time.sleep(EVERY)

    def take_peaks(self) -> tuple[float, float]:
        """MiB since the last call, and MiB of no file."""
        peaks, self.peak, self.held = (self.peak, self.held), 0.0, 0.0
        return peaks

    def cpu(self) -> float:
        """CPU seconds of all, those that have ended included."""
        return sum(map(_cpu_seconds, _family(self.root)))


def _family(pid: int) -> list[int]:
    found = [pid]
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            children = Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
            found += [one for child in children for one in _family(int(child))]
    except OSError:
        pass
    return found


def _mib(pid: int) -> tuple[float, float]:
    """Proportional memory, and the part of no file."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0.0, 0.0
    kib = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    return kib.get("Pss", 0) / 1024, kib.get("Anonymous", 0) / 1024


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / TICKS


def timed(stages: dict[str, str], *command: object) -> Rows:
    """Run a command of Tidecast, and return its stages.

    Parameters
    ----------
    stages : dict of str to str
        As `STAGES`.
    *command : object
        Its words.
    """
    words = [sys.executable, "-u", "-m", "tidecast", *map(str, command)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    tree, found = Tree(process.pid), []
    wall, cpu = time.perf_counter(), 0.0
    for line in process.stdout:
        said = line.strip().split(" s  ", 1)[-1].strip()
        stage = next((name for begins, name in stages.items() if said.startswith(begins)), None)
        if stage is None:
            continue
        now, spent = time.perf_counter(), tree.cpu()
        found.append((stage, now - wall, spent - cpu, *tree.take_peaks()))
        wall, cpu = now, spent
    tree.is_over = True
    if process.wait():
        raise SystemExit(f"The command must succeed, but ended with {process.returncode}: {' '.join(words)}")
    return found


def next_day(source: Path, every_day: bool = False) -> None:
    """Add a session to a source, each price moved at random.

    Parameters
    ----------
    source : Path
    every_day : bool, default=False
        Whether the day after a Friday is a session.
    """
    panel = pl.read_parquet(source)
    newest = panel.filter(pl.col("time") == panel["time"].max())
    moves = np.exp(0.015 * np.random.default_rng(5).standard_normal(len(newest)))
    prices = [pl.col(name) * moves for name in ("open", "high", "low", "close")]
    later = pl.col("time").dt.offset_by("1d") if every_day else pl.col("time").dt.add_business_days(1)
    added = newest.with_columns(later, *prices)
    pl.concat([panel, added]).sort("series_id", "time").write_parquet(source)


def with_total(rows: Rows) -> Rows:
    """The stages, and all of them together: sums of time, peaks of memory."""
    wall, cpu, peak, held = np.array([row[1:] for row in rows]).T.tolist()
    return [*rows, ("all", sum(wall), sum(cpu), max(peak), max(held))]


def print_growth(what: str, tables: dict[int, Rows]) -> None:
    """Print how CPU seconds and held memory of each stage grow with the number of series."""
    sizes = list(tables)
    heads = [f"{unit}, {size:,} series" for unit in ("CPU s", "held MiB") for size in sizes]
    print(f"\n{what}: from {sizes[0]:,} to {sizes[-1]:,} series\n")
    print(f"| stage | {' | '.join(heads)} |\n|{'---|' * (1 + len(heads))}")
    by_name = [{row[0]: row for row in rows} for rows in tables.values()]
    for name in by_name[-1]:
        rows = [table[name] for table in by_name if name in table]  # a panel may be too short for a gate
        if len(rows) == len(by_name):
            numbers = [f"{row[2]:.1f}" for row in rows] + [f"{row[4]:,.0f}" for row in rows]
            print(f"| {name} | {' | '.join(numbers)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--sessions", type=int, default=2500)
    parser.add_argument("--ragged", action="store_true", help="series begin on different days")
    parser.add_argument("--calendar", choices=["weekdays", "24/7"], default="weekdays")
    arguments = parser.parse_args()
    every_day, found = arguments.calendar == "24/7", dict[str, dict[int, Rows]]()
    for n_series in arguments.series:
        home, source = arguments.folder / f"home{n_series}", arguments.folder / f"{n_series}.parquet"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        market(n_series, arguments.sessions, ragged=arguments.ragged, every_day=every_day).write_parquet(source)
        on_calendar = ("run", "--home", home, "--source", source, "--calendar", arguments.calendar)
        for what in ("first run", "next day", "training"):
            if what == "next day":
                next_day(source, every_day)
            print(f"\n{n_series:,} series × {arguments.sessions:,} sessions, {what}\n")
            print("| stage | s | CPU s | peak MiB | held MiB |\n|---|---|---|---|---|", flush=True)
            rows = timed(OF_TRAINING, "train", "--home", home) if what == "training" else timed(STAGES, *on_calendar)
            found.setdefault(what, {})[n_series] = with_total(rows)
            for name, *numbers in found[what][n_series]:
                print("| {} | {:.1f} | {:.1f} | {:,.0f} | {:,.0f} |".format(name, *numbers), flush=True)
    if len(arguments.series) > 1:
        for what, tables in found.items():
            print_growth(what, tables)


if __name__ == "__main__":
    main()
