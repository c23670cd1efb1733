"""Faults that the rules find in real dirty prices, and faults that they miss.

python -m benchmarks.dirt DATA_FOLDER

DATA_FOLDER holds dirty_yahoo_repair_cases.parquet (faulty files of yfinance's tests, each with its repaired twin) and
stocks_google30y_5pct_daily.parquet (333 shares, 30 years, as a public feed delivered them).
"""

from __future__ import annotations

import argparse
import resource
import time
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from tidecast.features.calendars.by_name import get_calendar
from tidecast.flows.config.rule_actions import UNUSABLE
from tidecast.flows.config.settings import Settings
from tidecast.flows.rules.check import Checked, check_rows

KEY = ["issue", "series_id", "time"]
PRICES = ("open", "high", "low", "close")

CLASSES = {  # fault: the rules that report it
    "price 100 times off": ("unit_error",),
    "price off by a split": ("split_not_applied",),
    "dividend off, or of nobody": ("dividend_unit", "dividend_repeated"),
    "adjusted close forgets a dividend, or counts it twice": ("adjusted_close",),
}


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    repaired_cases(folder / "dirty_yahoo_repair_cases.parquet")
    whole_feed(folder / "stocks_google30y_5pct_daily.parquet")


def repaired_cases(file: Path) -> None:
    """Precision and recall per fault class, by rows.

    Positive is a row whose raw value differs from its twin's by more than a per cent (of an adjusted close: whose step
    from the row before does, by more than a thousandth, which is where the fault lies: all rows before it inherit it).
    Negatives are all others, those of the files without a fault among them.
    """
    data = pl.read_parquet(file).filter(frequency="1d")
    data = data.with_columns(time=pl.col("timestamp_raw").str.slice(0, 10).str.to_date())
    data = data.rename({"dividends": "dividend", "stock_splits": "split_ratio"}).sort("series_id", "time")
    raw, twin = (data.filter(version=version) for version in ("raw", "repaired"))
    faults = _faults(raw, twin)
    checked = check_rows(raw, raw.clear(), get_calendar("weekdays"), Settings())
    found = _found(checked)
    print(f"{raw.height:,} rows of {raw['series_id'].n_unique()} files; {_worst(checked)}")
    for name, rules in CLASSES.items():
        named = set(found.filter(pl.col("rule").is_in(rules))["row"])
        faulty = set(faults.filter(name)["row"])
        hits = len(named & faulty)
        share = f"{hits / len(named):.0%}" if named else "–"
        print(f"  {name}: {len(faulty)} rows, precision {share}, recall {hits / len(faulty):.0%} ({hits})")
        files = _by_file(raw, named, faulty)
        print("    " + "; ".join(f"{file} {true}/{there} found, {false} false" for file, there, true, false in files))
    jumps = found.filter(rule="jump").join(faults, on="row")
    print(f"  jumps: {jumps.height}, of which {jumps.filter('price off by a split').height} at a misplaced split")


def _faults(raw: pl.DataFrame, twin: pl.DataFrame) -> pl.DataFrame:
    """A Boolean column per fault class, for each raw row."""
    both = raw.with_row_index("row").join(twin, on=KEY, how="left", suffix="_twin").sort("row")

    def differs(name: str) -> pl.Expr:
        mine, other = pl.col(name), pl.col(f"{name}_twin")
        return ((mine - other).abs() > 0.01 * pl.max_horizontal(mine.abs(), other.abs())).fill_null(False)

    def step(suffix: str) -> pl.Expr:
        factor = (pl.col(f"adj_close{suffix}") / pl.col(f"close{suffix}")).log()
        return (factor - factor.shift()).over("series_id", "issue")

    price = pl.any_horizontal(differs(name) for name in PRICES)
    adjusted = ((step("") - step("_twin")).abs() > 1e-3) | (pl.col("adj_close") < 0)
    masks = [
        price & (pl.col("issue") == "100x-error"),
        price & (pl.col("issue") == "bad-stock-split"),
        differs("dividend"),
        adjusted.fill_null(False) & ~price,
    ]
    twinned = pl.col("close_twin").is_not_null()
    columns = {name: mask & twinned for name, mask in zip(CLASSES, masks, strict=True)}
    return both.select(pl.col("row").cast(pl.Int64), **columns)


def _found(checked: Checked) -> pl.DataFrame:
    """Row and rule of every row that was quarantined or flagged."""
    aside = pl.DataFrame({"row": np.arange(len(checked.rule)), "rule": checked.rule}).drop_nulls()
    return pl.concat([aside, checked.flags.drop_nulls("row").select("row", "rule")])


def _by_file(raw: pl.DataFrame, named: set[int], faulty: set[int]) -> list[tuple[str, int, int, int]]:
    rows = sorted(named | faulty)
    marks = pl.DataFrame({
        "series_id": raw["series_id"].gather(rows), "fault": [row in faulty for row in rows],
        "named": [row in named for row in rows],
    })  # fmt: skip
    return (
        marks.group_by("series_id")
        .agg(
            pl.col("fault").sum(), (pl.col("fault") & pl.col("named")).sum().alias("true"),
            (pl.col("named") & ~pl.col("fault")).sum().alias("false"),
        )
        .sort("series_id")
        .rows()
    )  # fmt: skip


def _worst(checked: Checked) -> str:
    counts = {name: count for name, count in checked.counts.items() if count}
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def whole_feed(file: Path) -> None:
    """Print counts, cost, and the share of a real feed that is quarantined."""
    rows = pl.read_parquet(file).rename({"date": "time"}).drop("exchange")
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    checked = check_rows(rows, rows.clear(), get_calendar("XNYS"), Settings(), date(2017, 12, 12))
    seconds = time.process_time() - began
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(
        f"{rows.height:,} rows of {rows['series_id'].n_unique()} shares: {seconds:.1f} CPU seconds, {more:.1f} GB more"
    )
    print("  " + _worst(checked))
    aside = checked.rule.drop_nulls()
    doubted = int((~aside.is_in(UNUSABLE)).sum())
    flagged = checked.flags.drop_nulls("row")["row"].n_unique()
    print(
        f"  kept aside {aside.len() / rows.height:.3%}, {doubted} of them readable; flagged {flagged / rows.height:.2%}"
    )
    crash = rows.with_columns(checked.rule).sort("series_id", "time")
    fall = (pl.col("close") / pl.col("close").shift().over("series_id")) < 0.5
    crashes = crash.filter(fall & (pl.col("close") > 0))
    lost = crashes["rule"].drop_nulls().len()
    print(f"  falls by more than half: {crashes.height}, kept aside: {lost}")


if __name__ == "__main__":
    main()
