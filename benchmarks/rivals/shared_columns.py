"""Columns that another library also computes; run by benchmarks/features.py, in an environment of that library's own.

`python shared_columns.py LIBRARY FOLDER REPEATS`: reads FOLDER/close.npy, float64 of shape (n_series, n_rows), of
consecutive days; writes FOLDER/LIBRARY.npy of shape (n_series, n_rows, n_columns), and prints what it took.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

START = "2000-01-01"
WINDOWS = (21, 63)
LAGGED = ["lagged_mean_21", "lagged_mean_63"]
ALL = ["log_return_1", "close_mean_21", "close_mean_63", "volatility_21", "volatility_63", "ewma_volatility_0.94"]
COLUMNS = {"pandas": ALL, "qlib": ALL, "mlforecast": LAGGED, "functime": LAGGED}
"""Columns computed by each library, by our names; `lagged_mean_k` is `close_mean_k` of the row before."""

DISTRIBUTION = {"qlib": "pyqlib"}


def measured(work: Callable[[], Any], repeats: int) -> tuple[Any, dict[str, float]]:
    """Result of `work`, medians of wall and CPU seconds, and the peak memory of the process in GB."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return result, {"wall": statistics.median(walls), "cpu": statistics.median(cpus), "peak": peak}


def long_panel(close: np.ndarray) -> Any:
    """The prices as a pandas frame: unique_id, ds, y."""
    import pandas as pd

    n_series, n_rows = close.shape
    days = pd.date_range(START, periods=n_rows, unit="ns")
    names = [f"S{number:05d}" for number in range(n_series)]
    return pd.DataFrame({"unique_id": np.repeat(names, n_rows), "ds": np.tile(days, n_series), "y": close.ravel()})


def pandas(close: np.ndarray) -> Callable[[], Any]:
    """Grouped windows."""
    panel = long_panel(close)

    def work() -> Any:
        series, level = panel["unique_id"], np.log(panel["y"])
        change = level.groupby(series, sort=False).diff()
        square, price = (change**2).groupby(series, sort=False), panel["y"].groupby(series, sort=False)
        means = [price.rolling(k).mean().to_numpy() for k in WINDOWS]
        spreads = [np.sqrt(square.rolling(k).mean().to_numpy()) for k in WINDOWS]
        weighted = np.sqrt(square.ewm(alpha=1 - 0.94, ignore_na=True).mean().to_numpy())
        return np.column_stack([change, *means, *spreads, weighted])

    return work


def mlforecast(close: np.ndarray) -> Callable[[], Any]:
    """Its transforms see the rows before only, so the windows end with the row before."""
    from mlforecast import MLForecast
    from mlforecast.lag_transforms import RollingMean

    panel = long_panel(close)

    def work() -> Any:
        transforms = MLForecast([], freq="D", lag_transforms={1: [RollingMean(k) for k in WINDOWS]}, num_threads=2)
        table = transforms.preprocess(panel, dropna=False, static_features=[])
        return table[[f"rolling_mean_lag1_window_size{k}" for k in WINDOWS]].to_numpy()

    return work


def functime(close: np.ndarray) -> Callable[[], Any]:
    """Its windows are of days and lagged by one; rows that have none are not in its table."""
    import polars as pl
    from functime.preprocessing import roll

    n_series, n_rows = close.shape
    names = [f"S{number:05d}" for number in range(n_series)]
    days = pl.date_range(pl.lit(START).str.to_date(), pl.lit(START).str.to_date() + pl.duration(days=n_rows - 1))
    days = pl.select(days).to_series().to_numpy()
    panel = pl.DataFrame(
        {"series_id": np.repeat(names, n_rows), "time": np.tile(days, n_series), "close": close.ravel()}
    )

    def work() -> Any:
        transform = roll(window_sizes=list(WINDOWS), stats=["mean"], freq="1d")
        table = panel.lazy().pipe(transform).collect()
        return panel.join(table, on=["series_id", "time"], how="left", maintain_order="left")

    return lambda: work().select(f"close__rolling_mean_{k}" for k in WINDOWS).to_numpy()


def qlib(close: np.ndarray) -> Callable[[], Any]:
    """The expression engine, over its own files (float32), in one process; nothing is cached."""
    import pandas as pd
    import qlib
    from qlib.data import D
    from qlib.data.cache import H

    n_series, n_rows = close.shape
    folder = Path(tempfile.mkdtemp())
    days = [f"{day:%Y-%m-%d}" for day in pd.date_range(START, periods=n_rows)]
    names = [f"S{number:05d}" for number in range(n_series)]
    listed = [f"{name}\t{days[0]}\t{days[-1]}" for name in names]
    for name, text in (("calendars/day.txt", days), ("instruments/all.txt", listed)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("\n".join(text))
    for name, prices in zip(names, close, strict=True):
        path = folder / "features" / name.lower() / "close.day.bin"
        path.parent.mkdir(parents=True)
        np.append(0, prices).astype("<f").tofile(path)
    qlib.init(provider_uri=str(folder), kernels=1, expression_cache=None, dataset_cache=None, logging_level=40)
    change = "Log($close/Ref($close,1))"
    fields = [
        change,
        *(f"Mean($close,{k})" for k in WINDOWS),
        *(f"Power(Mean(Power({change},2),{k}),0.5)" for k in WINDOWS),
        f"Power(EMA(Power({change},2),{1 - 0.94}),0.5)",
    ]

    def work() -> Any:
        H.clear()
        return D.features(names, fields, start_time=days[0], end_time=days[-1], freq="day").to_numpy()

    return work


if __name__ == "__main__":
    library, where, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    close = np.load(where / "close.npy")
    values, cost = measured(globals()[library](close), repeats)
    np.save(where / f"{library}.npy", values.reshape(*close.shape, -1))
    print(json.dumps(cost | {"version": version(DISTRIBUTION.get(library, library))}))
