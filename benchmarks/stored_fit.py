"""Fits on a panel that is read from Delta tables: seconds, and the memory that the system cannot drop.

python -m benchmarks.stored_fit FOLDER [--series 5000 10000] [--sessions 2500]

Prices are made up (`benchmarks.market`), with open, high, low and volume. Each size is fitted in a process of its own,
the GRU for three epochs. Run it under a limit, such as `systemd-run --scope -p MemoryMax=1100M`, to see that no more is
needed. FOLDER and the folder for temporary files must be on a disk. Tables of an earlier run are used again. Linux.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl

from benchmarks.market import market
from tidecast.features import PanelSchema
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting import GRUForecaster, VolatilityRegression

AT_A_TIME = 1000
"""Series that are stored at a time."""


class Held:
    """Anonymous memory of this process, in MiB, sampled while it runs."""

    def __init__(self) -> None:
        self.peak = 0.0
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) / 1024 for line in status if line.startswith("RssAnon"))
            self.peak = max(self.peak, now)
            time.sleep(0.02)

    def take_peak(self) -> float:
        """Peak since the last call."""
        peak, self.peak = self.peak, 0.0
        return peak


def store(uri: Path, n_series: int, n_sessions: int) -> None:
    """Store a panel, some series at a time."""
    warehouse = Warehouse(str(uri))
    for first in range(0, n_series, AT_A_TIME):
        prices = market(min(AT_A_TIME, n_series - first), n_sessions)
        names = pl.format("{}-{}", pl.lit(f"{first:06}"), "series_id")
        warehouse.store_prices(prices.with_columns(names.alias("series_id"), known_at="time", as_of="time"))


class Table:
    """Prints a line for each step that has ended."""

    def __init__(self) -> None:
        self.held = Held()
        self.begun, self.cpu = time.perf_counter(), time.process_time()

    def add(self, step: str) -> None:
        """Print what a step took since the last one."""
        now, spent = time.perf_counter(), time.process_time()
        numbers = f"{now - self.begun:.1f} | {spent - self.cpu:.1f} | {self.held.take_peak():,.0f}"
        print(f"| {step} | {numbers} |", flush=True)
        self.begun, self.cpu = now, spent


def fit(uri: Path) -> None:
    """Read the tables and fit on them, with a line for each step."""
    table, schema, warehouse = Table(), PanelSchema(calendar="weekdays"), Warehouse(str(uri))
    newest = warehouse.newest_session()
    table.add("libraries")
    prices = warehouse.prices(newest)
    table.add(f"read {prices.height:,} rows, {prices.estimated_size('mb'):,.0f} MiB")
    VolatilityRegression(schema=schema).fit(prices)
    table.add("fit a regression")
    GRUForecaster(max_epochs=3, schema=schema).fit(prices)
    table.add("fit a GRU")


def main() -> None:
    """Store the panels that are not there, and fit each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, nargs="+", default=[5000, 10000])
    parser.add_argument("--sessions", type=int, default=2500)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        fit(given.fit)
        return
    for n_series in given.series:
        uri = given.folder / f"tables-{n_series}-{given.sessions}"
        if not uri.exists():
            store(uri, n_series, given.sessions)
        print(f"\n{n_series:,} series × {given.sessions:,} sessions\n")
        print("| step | s | CPU s | held, MiB |\n|---|---|---|---|", flush=True)
        command = [sys.executable, "-m", "benchmarks.stored_fit", str(given.folder), "--fit", str(uri)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


if __name__ == "__main__":
    main()
