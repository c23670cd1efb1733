"""Detection of splits that are reported but not where they belong, made from clean shares, real or synthetic.

python -m benchmarks.splits [--prices FILE ...] [--trials 100]

FILE is a Parquet file with series_id, date (or time) and close of shares without splits in their prices; without one,
synthetic shares are made. Each trial is 250 rows of a share into which one split is put, in one of the ways of `WAYS`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.corporate_actions.adjustment import adjust
from tidecast.features.corporate_actions.shown_actions import shown_actions
from tidecast.flows.config.settings import Settings
from tidecast.flows.rules.check import check_rows

ROWS, PLACE = 250, 150
RATIOS = (1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 50.0)
FARTHEST = 20

Way = Callable[[np.random.Generator, float], tuple[np.ndarray, dict[int, float]]]
"""From a split's ratio to the factor of each row's clean price, and the reported ratio by row."""


def before(row: int, factor: float) -> np.ndarray:
    """`factor` for the rows before `row`, 1 from it on."""
    return np.where(np.arange(ROWS) < row, factor, 1.0)


def misplaced(rng: np.random.Generator, ratio: float) -> tuple[np.ndarray, dict[int, float]]:
    """The price moves 1 to 20 rows before or after the reported day."""
    off = int(rng.integers(1, FARTHEST + 1)) * int(rng.choice([-1, 1]))
    return before(PLACE + off, ratio), {PLACE: ratio}


def island(rng: np.random.Generator, ratio: float) -> tuple[np.ndarray, dict[int, float]]:
    """Prices are restated except for 1 to 10 rows near the split."""
    first = PLACE + int(rng.integers(-12, 2))
    inside = (np.arange(ROWS) >= first) & (np.arange(ROWS) < first + rng.integers(1, 11))
    return np.where(inside, ratio, 1.0), {PLACE: ratio}


WAYS: dict[str, tuple[Way, bool]] = {  # with whether a flag is right
    "on its day": (lambda rng, ratio: (before(PLACE, ratio), {PLACE: ratio}), False),
    "restated, or not applied": (lambda rng, ratio: (np.ones(ROWS), {PLACE: ratio}), True),
    "misplaced by 1 to 20 rows": (misplaced, True),
    "1 to 10 rows not restated": (island, True),
    "told as one over its ratio": (lambda rng, ratio: (before(PLACE, ratio), {PLACE: 1 / ratio}), True),
    "told twice, 5 rows apart": (lambda rng, ratio: (before(PLACE, ratio), {PLACE: ratio, PLACE + 5: ratio}), True),
    "restated twice": (lambda rng, ratio: (before(PLACE, 1 / ratio), {PLACE: ratio}), True),
    "told as ten times its ratio": (lambda rng, ratio: (before(PLACE, ratio), {PLACE: 10 * ratio}), True),
}


def main() -> None:
    """Print a table for each source of clean shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prices", type=Path, nargs="*", default=[])
    parser.add_argument("--trials", type=int, default=100)
    arguments = parser.parse_args()
    sources = {file.name: stretches(pl.read_parquet(file)) for file in arguments.prices}
    for name, closes in (sources or {"synthetic shares": synthetic()}).items():
        print(f"{name}: {len(closes):,} stretches of {ROWS} rows")
        for way in WAYS:
            measure(closes, way, arguments.trials)


def stretches(prices: pl.DataFrame, most: int = 3000, seed: int = 0) -> np.ndarray:
    """Closes of shares, cut into segments of `ROWS` rows above 0 that move on at least two days of three."""
    time = "date" if "date" in prices.columns else "time"
    parts = []
    for share in prices.sort("series_id", time).filter(pl.col("close") > 0).partition_by("series_id"):
        closes = share["close"].to_numpy()
        parts += [closes[start : start + ROWS] for start in range(0, len(closes) - ROWS + 1, ROWS)]
    found = np.array([part for part in parts if np.mean(np.diff(part) != 0) > 2 / 3])
    return np.random.default_rng(seed).permutation(found)[:most]


def synthetic(n_shares: int = 1000, seed: int = 0) -> np.ndarray:
    """Shares with GARCH(1, 1) volatility of 1 to 4 % a day, Student-t(4) returns, and a jump of 8 % every 63 rows."""
    rng = np.random.default_rng(seed)
    usual = np.exp(rng.uniform(np.log(0.01), np.log(0.04), n_shares))
    variance, returns = usual**2, np.zeros((n_shares, ROWS))
    for row in range(ROWS):
        shock = np.sqrt(variance) * rng.standard_t(4, n_shares) / np.sqrt(2)
        variance = 0.05 * usual**2 + 0.08 * np.minimum(shock**2, 25 * variance) + 0.87 * variance
        returns[:, row] = shock + (rng.normal(0, 0.08, n_shares) if row % 63 == 40 else 0.0)
    return np.round(50 * np.exp(np.cumsum(returns, axis=1)), 4)


def measure(closes: np.ndarray, way: str, trials: int, ratios: Sequence[float] = RATIOS, seed: int = 1) -> None:
    """Print, by ratio and one over it, the shares of trials that are flagged, and whose prices are right."""
    rng = np.random.default_rng(seed)
    calendar = get_calendar("weekdays")
    days = calendar.times(np.arange(13_000, 13_000 + ROWS))
    make, wanted = WAYS[way]
    signed = [(ratio, power) for ratio in ratios for power in (1, -1)]
    panels, told, clean = [], [], []
    for ratio, power in signed:
        for trial in range(trials):
            true = closes[rng.integers(len(closes))]
            factor, splits = make(rng, ratio**power)
            name = f"{ratio:g} {power} {trial:04}"
            panels.append(pl.DataFrame({"series_id": name, "time": days, "close": true * factor}))
            clean.append(true)
            told += [(name, days[row], split, 0.0) for row, split in splits.items()]
    panel = pl.concat(panels)
    actions = pl.DataFrame(told, schema=["series_id", "time", "split_ratio", "dividend"], orient="row")
    rows = panel.join(actions, on=["series_id", "time"], how="left", maintain_order="left")
    flags = check_rows(rows, rows.clear(), calendar, Settings()).flags
    flagged = set(flags.filter(rule="split_not_applied")["series_id"])
    found = adjust(panel, shown_actions(panel, actions)).select("series_id", "close", true=pl.Series(np.ravel(clean)))
    off = (pl.col("close") / pl.col("true")).log().abs().max() < 1e-9
    right = set(found.group_by("series_id").agg(off).filter("close")["series_id"])
    print(f"  {way} ({'a flag is right' if wanted else 'a flag is a false alarm'})")
    for power, label in ((1, "splits        "), (-1, "reverse splits")):
        names = {ratio: [f"{ratio:g} {power} {trial:04}" for trial in range(trials)] for ratio in ratios}
        for what, these in (("flagged", flagged), ("prices right", right)):
            shares = (f"{ratio:g}: {sum(name in these for name in names[ratio]) / trials:.0%}" for ratio in ratios)
            print(f"    {label} {what:12} {', '.join(shares)}")


if __name__ == "__main__":
    main()
