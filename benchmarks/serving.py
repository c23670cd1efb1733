"""Serving: CPU time of forecasts, updates and backtests of a fitted model, compared with the bare network and darts.

CPU seconds of one thread, medians of repeats. Prices are random walks; what they are makes no difference to the time.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch

from tidecast.forecasting import GRUForecaster, LSTMForecaster

HERE = Path(__file__).parent / "rivals"

BELOW_GLIBCS_LARGEST = 8_000_000  # float32: 30.5 MiB; glibc requests arrays from 32 MiB on from the system


def prices(n_series: int, n_rows: int) -> pl.DataFrame:
    """A panel of random walks on weekdays up to 2024-12-31, sorted."""
    days = pl.date_range(pl.date(1990, 1, 1), pl.date(2024, 12, 31), eager=True)
    days = days.filter(days.dt.weekday() <= 5).tail(n_rows)
    steps = 0.01 * np.random.default_rng(0).normal(size=(n_series, n_rows))
    names = [f"S{number:05d}" for number in range(n_series)]
    return pl.DataFrame({"series_id": np.repeat(names, n_rows), "close": np.exp(steps.cumsum(1)).ravel()}).with_columns(
        time=pl.concat([days] * n_series)
    )


def milliseconds(work: Callable[[], object], repeats: int = 9) -> float:
    """Median CPU time of one call, after a warm-up call."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return 1000 * float(np.median(taken))


def from_the_kept_state() -> None:
    """`predict()` without a panel."""
    for n_series, allowed in ((24, 5), (1000, 60)):
        model = LSTMForecaster(hidden_size=64, max_epochs=0).fit(prices(n_series, 400))
        print(f"predict(), {n_series:,} series: {milliseconds(model.predict):.1f} ms (at most {allowed})")


def from_a_panel() -> None:
    """`predict(panel)` compared with the forward pass of the same network on windows of the same rows."""
    panel = prices(1000, 64)
    model = LSTMForecaster(hidden_size=64, max_epochs=0).fit(prices(50, 400))
    network, windows = model._network, torch.zeros(1000, 64, len(model.inputs_))
    torch.set_num_threads(1)

    def forward() -> None:
        with torch.inference_mode():
            network(windows)

    def compare(memory: str) -> None:
        bare, whole = milliseconds(forward), milliseconds(lambda: model.predict(panel))
        print(
            f"predict(panel), 1,000 series × 64 rows, {memory} memory: {whole:.0f} ms, the bare network {bare:.0f} ms, "
            f"{whole / bare:.2f}×"
        )

    compare("fresh")
    torch.zeros(BELOW_GLIBCS_LARGEST)  # once this is freed, glibc reuses its memory: the network needs no new pages
    compare("kept")


def updates() -> None:
    """`update` of many series by one row each."""
    history = prices(10_000, 90)
    days = history["time"].unique().sort()
    model = GRUForecaster(max_epochs=0).fit(history.filter(pl.col("time") < days[-10]))
    rows = iter([history.filter(time=day) for day in days[-10:]])
    print(f"update, 10,000 series by one row: {milliseconds(lambda: model.update(next(rows)), 8):.0f} ms (at most 60)")


def all_origins(python: str) -> None:
    """Every origin of two years in one pass, and darts' historical forecasts of the same width and lookback."""
    panel = prices(24, 1500)
    model = LSTMForecaster(hidden_size=25, max_epochs=0).fit(panel.filter(pl.col("time") < panel["time"][-510]))
    ours = milliseconds(lambda: model.predict(panel, origins="new"), 3)
    n_origins = model.predict(panel, origins="new")["origin"].n_unique()
    print(f"all {n_origins} origins of 24 series: {ours:.0f} ms")
    if python:
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/prices.npy", panel["close"].to_numpy().reshape(24, -1))
            command = [python, str(HERE / "darts_origins.py"), f"{folder}/prices.npy", str(n_origins)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        theirs = 1000 * float(done.stdout.split()[-1])
        print(f"darts: {theirs:.0f} ms, {theirs / ours:.0f}×")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--darts", default="", help="interpreter of an environment with darts")
    arguments = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, polars {pl.__version__}")
    from_the_kept_state()
    from_a_panel()
    updates()
    all_origins(arguments.darts)


if __name__ == "__main__":
    main()
