"""Time and memory to ingest a new day, and late corrections, into a table of 25 million prices.

    python -m benchmarks.warehouse FOLDER [--series 5000] [--sessions 5000]

The table is built in FOLDER once, a year at a time, and copied for each measurement, so that all begin from the same.
Each delivery is a Parquet file that is taken in by `tidecast.flows.ingest`, rules and all, in a process of its own.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

FIRST = date(2005, 1, 3)


def main() -> None:
    """Build, then measure each delivery."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", type=int, default=5000)
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--ingest", nargs=2, metavar=("WAREHOUSE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ingest:
        take_in(*options.ingest)
        return
    days = sessions(options.sessions + 1)
    made = options.folder / f"{options.series}x{options.sessions}"
    if not (made / "done").exists():
        build(made, days[:-1], options.series)
    new, last = days[-1:], days[-2:-1]
    rows = prices(days[:-1], options.series, every=100)  # one row in a hundred, spread over all series and years
    deliveries = {
        "one new day": prices(new, options.series),
        "late corrections of 1 % of one day": worse(prices(last, options.series, every=100)),
        "late corrections of 1 % of the table": worse(rows),
    }
    for name, delivery in deliveries.items():
        file, copy = options.folder / "delivery.parquet", options.folder / "measured"
        delivery.write_parquet(file)
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(made / "warehouse", copy)
        command = [sys.executable, "-m", "benchmarks.warehouse", str(options.folder), "--ingest", str(copy), str(file)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{name} ({delivery.height:,} rows): " + ", ".join(f"{key} {value}" for key, value in found.items()))
        shutil.rmtree(copy)
        file.unlink()


def sessions(count: int) -> pl.Series:
    """That many weekdays, about 250 a year: every 25th is a holiday."""
    days = pl.date_range(FIRST, FIRST + timedelta(days=2 * count), eager=True).alias("time")
    days = days.filter(days.dt.weekday() <= 5)
    return days.filter(pl.int_range(days.len(), eager=True) % 25 != 24).head(count)


def prices(days: pl.Series, series: int, every: int = 1) -> pl.DataFrame:
    """Random walks of 1 % a day, always the same; with `every`, one row in that many."""
    numbers = np.arange(series)
    tables = []
    for day in days:
        generator = np.random.default_rng(day.toordinal())
        level = 100 + numbers % 97 + 10 * np.sin(day.toordinal() / 250 + numbers)  # slow, so that no jump breaks a rule
        close = level * np.exp(0.01 * generator.standard_normal(series))
        kept = (numbers + day.toordinal()) % every == 0
        names = np.char.add("S", np.char.zfill(numbers[kept].astype(str), 5))
        tables.append(pl.DataFrame({"series_id": names, "close": close[kept]}).with_columns(time=pl.lit(day)))
    return pl.concat(tables).select("series_id", "time", "close")


def worse(rows: pl.DataFrame) -> pl.DataFrame:
    """The same rows with prices a little higher."""
    return rows.with_columns(pl.col("close") * 1.001)


def build(folder: Path, days: pl.Series, series: int) -> None:
    """Write the table that years of daily ingests would leave, compacted."""
    from tidecast.flows.warehouse.warehouse import Warehouse

    shutil.rmtree(folder, ignore_errors=True)
    warehouse = Warehouse(str(folder / "warehouse"))
    for (year,), part in pl.DataFrame({"time": days}).group_by(pl.col("time").dt.year(), maintain_order=True):
        rows = prices(part["time"], series).with_columns(known_at="time", as_of="time")
        print(f"{year}: {warehouse.store_prices(rows):,} rows", flush=True)
    (folder / "done").touch()


def take_in(warehouse: str, file: str) -> None:
    """Ingest a file, and print its cost."""
    from tidecast.flows.config.settings import Settings
    from tidecast.flows.ingest.ingest import ingest
    from tidecast.flows.warehouse.warehouse import Warehouse

    settings = Settings(source=file, calendar="weekdays")
    before = peak()
    wall, cpu = time.perf_counter(), time.process_time()
    found = ingest(Warehouse(warehouse), settings)
    measured = {
        "wall s": round(time.perf_counter() - wall, 2),
        "CPU s": round(time.process_time() - cpu, 2),
        "peak MB": peak(),
        "MB after imports": before,
        "stored": found.stored,
        "corrected": found.corrected,
        "quarantined": sum(found.quarantined.values()),
    }
    print(json.dumps(measured))


def peak() -> int:
    """Peak memory of this process in MB; Linux only. (getrusage would count the parent's too.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


if __name__ == "__main__":
    main()
