"""Scale: CPU time and peak memory of a fit against series × rows, each size in a process of its own.

One epoch of a GRU with default settings, on random walks. Memory is the peak of the process over what it held once the
panel was loaded (VmHWM, Linux), beside the panel's own bytes; a small fit before it has loaded all code. What a batch
needs, a training step alone, is measured in the same process and taken off the peak in the last column but one.
Anonymous memory (RssAnon, sampled) is what the system cannot drop: without pages of files, such as a mapped panel's.

    python -m benchmarks.scale [--sizes 2000x2500] [--mapped] [--in-memory]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
import torch

from tidecast.features import PanelSchema
from tidecast.forecasting import GRUForecaster
from tidecast.forecasting.estimator import mapped_arrays
from tidecast.forecasting.estimator.freed_memory import give_back_memory
from tidecast.forecasting.estimator.panel_reference import PanelFile
from tidecast.forecasting.network.quantile_head import QuantileHead
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.trainer import batch_losses
from tidecast.forecasting.network.training import Batch, isolated

SIZES = [(250, 250), (500, 500), (1000, 1000), (2500, 2500), (5000, 5000)]
MIB = 1 << 20


def prices(n_series: int, n_rows: int) -> pl.DataFrame:
    """A sorted panel of random walks on weekdays from the year 2000 on, made in place."""
    days = pl.date_range(pl.date(2000, 1, 3), pl.date(2030, 1, 1), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_rows)
    walks = np.random.default_rng(0).standard_normal((n_series, n_rows))
    walks *= 0.01
    np.exp(np.cumsum(walks, axis=1, out=walks), out=walks)
    return pl.DataFrame(
        {
            "series_id": np.repeat([f"S{number:05d}" for number in range(n_series)], n_rows),
            "time": pl.Series(np.tile(days.to_numpy(), n_series)).cast(pl.Date),
            "close": walks.ravel(),
        }
    ).rechunk()


def memory(name: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS now, VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def reset_peak() -> None:
    """Reset VmHWM to the memory held now."""
    Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def anonymous_peak() -> Iterator[list[int]]:
    """Peak bytes of RssAnon over what it is now, in a list that is filled at the end."""
    held, peak, is_over = memory("RssAnon"), [0], threading.Event()

    def sample() -> None:
        while not is_over.wait(0.01):
            peak[0] = max(peak[0], memory("RssAnon") - held)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def write(n_series: int, n_rows: int, path: str) -> None:
    """Write the panel into an Arrow file, each column in one piece."""
    panel = prices(n_series, n_rows)
    panel.write_ipc(path, compression="uncompressed", record_batch_size=len(panel))


def in_a_file(n_series: int, n_rows: int) -> pl.DataFrame:
    """The panel, mapped from a file that another process has written: what it freed would count as held here."""
    with tempfile.TemporaryDirectory() as folder:  # pages stay while they are mapped
        path = f"{folder}/panel.arrow"
        with ProcessPoolExecutor(1, get_context("spawn")) as other:
            other.submit(write, n_series, n_rows, path).result()
        return PanelFile(path).read()


def one_batch(model: GRUForecaster, n_inputs: int) -> int:
    """Peak bytes of one training step of a model's network alone."""
    B, T, H, Q = model.batch_size, model.lookback, model.horizon, len(model.quantiles_)
    with isolated(0):
        network = RecurrentNetwork(model.cell, n_inputs, model.hidden_size, model.num_layers, 0.0, H, Q)
        head = QuantileHead(torch.linspace(-1, 1, Q).expand(H, Q).clone(), torch.ones(H), model.quantiles_)
        give_back_memory()
        reset_peak()
        held = memory("VmRSS")
        batch = Batch(torch.randn(B, T, n_inputs), torch.randn(B, T, H), torch.ones(B, T, H))
        batch_losses(network, head, batch)[0].backward()
    return memory("VmHWM") - held


def measure(n_series: int, n_rows: int, mapped: bool, in_memory: bool) -> dict[str, float]:
    """CPU seconds and peak bytes of one fit, in this process."""
    model = GRUForecaster(max_epochs=1, schema=PanelSchema(calendar="weekdays"))
    model.fit(prices(3, 400)).predict()
    panel = in_a_file(n_series, n_rows) if mapped else prices(n_series, n_rows)
    if in_memory:
        mapped_arrays.MAPPED_FROM = sys.maxsize
    give_back_memory()
    reset_peak()
    loaded, started = memory("VmRSS"), time.process_time()
    with anonymous_peak() as anonymous:
        model.fit(panel)
    seconds = time.process_time() - started
    peak = memory("VmHWM") - loaded
    return {
        "series": n_series,
        "rows": n_rows,
        "seconds": seconds,
        "panel": panel.estimated_size(),
        "peak": peak,
        "anonymous": anonymous[0],
        "batch": one_batch(model, len(model.inputs_)),
    }


def in_a_process(n_series: int, n_rows: int, *how: str) -> dict[str, float]:
    """Run `measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.scale", "--one", str(n_series), str(n_rows), *how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def draw(results: pl.DataFrame, path: str) -> None:
    """Both lines on logarithmic scales, time with the straight line through its largest size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    n_rows = (results["series"] * results["rows"]).to_numpy()
    left.loglog(n_rows, results["seconds"], "o-", label="fit, one epoch")
    left.loglog(n_rows, results["seconds"][-1] * n_rows / n_rows[-1], ":", color="grey", label="linear")
    left.set_ylabel("CPU time (s)")
    right.loglog(n_rows, results["peak"] / MIB, "o-", label="peak of fit over the loaded panel")
    right.loglog(n_rows, results["panel"] / MIB, ":", color="grey", label="the panel")
    right.set_ylabel("memory (MiB)")
    for axes in (left, right):
        axes.set_xlabel("rows of the panel (series × sessions)")
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def size(text: str) -> tuple[int, int]:
    """Series and rows of "2000x2500"."""
    n_series, _, n_rows = text.partition("x")
    return int(n_series), int(n_rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=25_000_000, metavar="ROWS", help="skip larger panels")
    parser.add_argument("--png", default="", metavar="FILE", help="file for a picture of the lines")
    parser.add_argument("--one", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="+", type=size, default=SIZES, metavar="SERIESxROWS")
    parser.add_argument("--mapped", action="store_true", help="the panel is mapped from a file")
    parser.add_argument("--in-memory", action="store_true", help="no array of the fit lies in a file")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments.mapped, arguments.in_memory)))
        return
    how = [f"--{name.replace('_', '-')}" for name in ("mapped", "in_memory") if getattr(arguments, name)]
    results = []
    print("series × rows    CPU s  µs a row  panel MiB  peak MiB  a batch  (peak − batch) ÷ panel  anonymous MiB")
    for n_series, n_rows in arguments.sizes:
        if n_series * n_rows > arguments.most:
            continue
        found = in_a_process(n_series, n_rows, *how)
        results.append(found)
        per_row = 1e6 * found["seconds"] / (n_series * n_rows)
        print(
            f"{n_series:>6,} × {n_rows:<5,} {found['seconds']:>7.1f} {per_row:>9.1f} "
            f"{found['panel'] / MIB:>10.1f} {found['peak'] / MIB:>9.1f} {found['batch'] / MIB:>8.1f} "
            f"{(found['peak'] - found['batch']) / found['panel']:>23.2f} {found['anonymous'] / MIB:>14.1f}",
            flush=True,
        )
    if not results:
        parser.error(f"--most must be at least {SIZES[0][0] * SIZES[0][1]:,} rows, got {arguments.most:,}")
    if arguments.png:
        draw(pl.from_dicts(results), arguments.png)


if __name__ == "__main__":
    main()
