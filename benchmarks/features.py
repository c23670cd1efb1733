"""Features: the default ones over a large panel, one new day, and a comparison with other libraries.

Each in a process of its own, on random walks of consecutive days: medians of wall and CPU seconds without reading, the
process's peak memory (Linux), the panel among it. Each rival computes the columns that it has, in an environment of its
own (README.md says how to make them), ours the same ones beside it; that the values agree is checked.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.rivals import shared_columns
from benchmarks.rivals.shared_columns import ALL, COLUMNS, START, WINDOWS, measured
from tidecast.features import EwmaVolatility, LogReturn, PanelUnion, PriceFeatures, RollingMean, RollingVolatility

TOLERANCE = {"qlib": 2e-3}
"""Relative difference up to which values agree; qlib stores prices as float32, which changes daily returns."""


def panel_of(close: np.ndarray) -> pl.DataFrame:
    """The panel of the prices that rivals read, sorted, which polars knows as after any sort."""
    n_series, n_rows = close.shape
    days = pl.date_range(pl.lit(START).str.to_date(), pl.lit(START).str.to_date() + pl.duration(days=n_rows - 1))
    names = pl.Series("series_id", [f"S{number:05d}" for number in range(n_series)])
    time = pl.concat([pl.select(time=days).to_series()] * n_series, rechunk=True)
    names = names.gather(np.repeat(np.arange(n_series), n_rows)).set_sorted()
    return pl.DataFrame([names, time, pl.Series("close", close.ravel())], orient="col")


def defaults(panel: pl.DataFrame) -> Callable[[], Any]:
    """`PriceFeatures` of the whole panel."""
    return lambda: PriceFeatures().fit_transform(panel)


def day(panel: pl.DataFrame) -> Callable[[], Any]:
    """`PriceFeatures` of the newest day alone."""
    fitted, newest = PriceFeatures().fit(panel), panel["time"].max()
    return lambda: fitted.transform_tail(panel, newest)


def all_columns(panel: pl.DataFrame) -> Callable[[], Any]:
    """The columns that pandas and qlib also compute."""
    means, spreads = ([kind(k) for k in WINDOWS] for kind in (RollingMean, RollingVolatility))
    union = PanelUnion([LogReturn(), *means, *spreads, EwmaVolatility()])
    return lambda: union.fit_transform(panel)


def means(panel: pl.DataFrame) -> Callable[[], Any]:
    """The columns that mlforecast and functime also compute; the lag is a matter of naming."""
    union = PanelUnion([RollingMean(k) for k in WINDOWS])
    return lambda: union.fit_transform(panel)


OURS = {kind.__name__: kind for kind in (defaults, day, all_columns, means)}


def only(name: str, folder: Path, repeats: int) -> None:
    """Measure one of ours and print its cost; the shared columns are saved."""
    table, cost = measured(OURS[name](panel_of(np.load(folder / "close.npy"))), repeats)
    if name in ("all_columns", "means"):
        np.save(folder / f"{name}.npy", table.drop("series_id", "time", "close").to_numpy())
    print(json.dumps(cost))


def run(command: list[str]) -> dict[str, Any]:
    """Last line of a measured process."""
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def check(rival: str, folder: Path, shape: tuple[int, int]) -> None:
    """Raise AssertionError if a rival's values differ from ours."""
    lagged = COLUMNS[rival] is not ALL
    ours = np.load(folder / f"{'means' if lagged else 'all_columns'}.npy").reshape(*shape, -1)
    theirs = np.load(folder / f"{rival}.npy")
    ours, theirs = (ours[:, :-1], theirs[:, 1:]) if lagged else (ours, theirs)
    full = max(WINDOWS) + 1  # qlib starts its windows short, functime ends its table early: rows that all have
    ours, theirs = ours[:, full:], theirs[:, full:]
    there = ~np.isnan(theirs)
    if there.mean() < 0.9:
        raise AssertionError(f"{rival} has values in {there.mean():.1%} of the places only.")
    np.testing.assert_allclose(theirs[there], ours[there], rtol=TOLERANCE.get(rival, 1e-7), atol=2e-6, err_msg=rival)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1000, help="of each series")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rival", nargs=2, action="append", default=[], metavar=("LIBRARY", "INTERPRETER"),
                        help=f"one of {', '.join(COLUMNS)}, and its environment's python; repeatable")  # fmt: skip
    parser.add_argument("--only", nargs=2, metavar=("WORK", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        only(arguments.only[0], Path(arguments.only[1]), arguments.repeats)
        return
    shape, repeats = (arguments.series, arguments.rows), str(arguments.repeats)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = 0.01 * np.random.default_rng(0).normal(size=shape)
        np.save(folder / "close.npy", np.exp(steps.cumsum(1)))
        print(f"{shape[0]:,} series × {shape[1]:,} rows, polars {version('polars')}, medians of {repeats}")
        costs = {}
        for work in OURS if arguments.rival else ("defaults", "day"):
            costs[work] = run([sys.executable, "-m", "benchmarks.features", "--only", work, name, "--repeats", repeats])
            print(f"{work}: " + "{wall:.2f} s, {cpu:.2f} CPU s, peak {peak:.2f} GB".format(**costs[work]), flush=True)
        for rival, interpreter in arguments.rival:
            theirs = run([interpreter, str(shared_columns.__file__), rival, name, repeats])
            ours = costs["all_columns" if COLUMNS[rival] is ALL else "means"]
            print(
                f"{rival} {theirs['version']}: "
                + "{wall:.2f} s, {cpu:.2f} CPU s, peak {peak:.2f} GB; ".format(**theirs)
                + f"{theirs['wall'] / ours['wall']:.1f} times ours, {theirs['cpu'] / ours['cpu']:.1f} times our CPU s",
                flush=True,
            )
            check(rival, folder, shape)


if __name__ == "__main__":
    main()
