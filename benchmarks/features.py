"""Features: the default ones over a large panel, one new day, and what pandas computes, too, side by side.

Each in a process of its own, on one Parquet file of random walks: wall and CPU seconds without reading the file, and
the process's peak memory (Linux), the file's rows among it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features import EwmaVolatility, LogReturn, PriceFeatures, RollingMean, RollingVolatility

SHARED = (LogReturn((1,)), RollingMean(21), RollingMean(63), RollingVolatility(21), RollingVolatility(63),
          EwmaVolatility())  # fmt: skip
COLUMNS = [name for transformer in SHARED for name in transformer.added_]


def measured(work: Callable[[], Any]) -> Any:
    """What `work` gives; prints how long it took, and what the process has needed at most."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{wall:.2f} s, {cpu:.2f} CPU seconds, peak {peak:.2f} GB", flush=True)
    return result


def defaults(path: str) -> None:
    """`PriceFeatures` of the whole panel."""
    panel = pl.read_parquet(path)
    measured(lambda: PriceFeatures().fit_transform(panel))


def day(path: str) -> None:
    """`PriceFeatures` of the newest day alone."""
    panel = pl.read_parquet(path)
    measured(lambda: PriceFeatures().fit(panel).transform_tail(panel, panel["time"].max()))


def ours(path: str) -> None:
    """The shared columns."""
    panel = pl.read_parquet(path)

    def all_of_them() -> pl.DataFrame:
        return pl.concat([one.fit(panel).compute(panel) for one in SHARED], how="horizontal")

    np.save(f"{path}.ours.npy", measured(all_of_them).select(COLUMNS).to_numpy())


def pandas(path: str) -> None:
    """The same with pandas' grouped windows."""
    panel = pl.read_parquet(path).to_pandas()

    def all_of_them() -> np.ndarray:
        series, level = panel["series_id"], np.log(panel["close"])
        change = level.groupby(series, sort=False).diff()
        square, price = (change**2).groupby(series, sort=False), panel["close"].groupby(series, sort=False)
        means = [price.rolling(k).mean().to_numpy() for k in (21, 63)]
        spreads = [np.sqrt(square.rolling(k).mean().to_numpy()) for k in (21, 63)]
        weighted = np.sqrt(square.ewm(alpha=1 - 0.94, ignore_na=True).mean().to_numpy())
        return np.column_stack([change, *means, *spreads, weighted])

    np.save(f"{path}.pandas.npy", measured(all_of_them))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000, help="of each series")
    parser.add_argument("--only", nargs=2, metavar=("WORK", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    work = {kind.__name__: kind for kind in (defaults, day, ours, pandas)}
    if arguments.only:
        work[arguments.only[0]](arguments.only[1])
        return
    from benchmarks.serving import prices  # with torch, which the measured processes need not have in memory

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "panel.parquet")
        prices(arguments.series, arguments.rows).write_parquet(path)
        print(f"{arguments.series:,} series × {arguments.rows:,} rows, polars {pl.__version__}")
        for name in work:
            print(f"{name}: ", end="", flush=True)
            subprocess.run([sys.executable, "-m", "benchmarks.features", "--only", name, path], check=True)
        found, expected = (np.load(f"{path}.{name}.npy") for name in ("ours", "pandas"))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
        print("ours and pandas agree")


if __name__ == "__main__":
    main()
