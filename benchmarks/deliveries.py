"""Two years of real daily deliveries, replayed day by day, beside one load of them all at once.

    python -m benchmarks.deliveries DATA_FOLDER [--days 511]

Every delivery holds the last two sessions: rows come twice, are corrected, series are listed and vanish. The one load
has the day of delivery as known_at. Both must end in the same tables: the panel now, the panel as it was known on every
day, and each revision with the day from which it was known.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import polars as pl

import flows.ingest
from features.calendar import get_calendar
from flows.settings import Settings
from flows.sources import Fetched
from flows.tables import as_known
from flows.warehouse import Warehouse

COLUMNS = ["series_id", "time", "open", "high", "low", "close", "volume"]
SAID = [*COLUMNS, "known_at"]


def main() -> None:
    """Replay, load, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=511, help="so many deliveries, from the first")
    options = parser.parse_args()
    rows = read(options.folder, options.days)
    days: list[date] = rows["known_at"].unique().sort().to_list()
    print(f"{len(days)} deliveries up to {days[-1]}: {rows.height:,} rows, {rows['series_id'].n_unique()} series")
    with tempfile.TemporaryDirectory() as folder:
        replayed, loaded = (Warehouse(str(Path(folder) / name)) for name in ("replayed", "loaded"))
        begun = time.process_time()
        found = [take_in(replayed, rows.filter(known_at=day).select(COLUMNS), day) for day in days]
        stored, corrected, unchanged, kept_aside = (sum(each) for each in zip(*found, strict=True))
        print(
            f"Replayed: {stored:,} stored, {corrected:,} corrected, {unchanged:,} known, {kept_aside:,} kept aside; "
            f"{(time.process_time() - begun) / len(days):.2f} CPU seconds a delivery"
        )
        print("Loaded at once: {:,} stored, {:,} corrected, {:,} known, {:,} kept aside".format(
            *take_in(loaded, rows, days[-1])))  # fmt: skip
        compare(replayed.revisions(), loaded.revisions(), days)
        asked = days[:: max(1, len(days) // 20)]
        assert all(replayed.prices(day).equals(loaded.prices(day)) for day in asked), "a panel read by as_of differs"
        print(f"Read from the tables by as_of on {len(asked)} days: equal.")


def read(folder: Path, days: int) -> pl.DataFrame:
    """The deliveries as one table, the day of delivery, or the session it came in, as known_at."""
    rows = pl.read_parquet(folder / "stocks_pystock_deliveries_10pct.parquet")
    first = rows["delivered"].unique().sort().head(days)
    calendar = get_calendar("XNYS")
    rows = rows.filter(pl.col("delivered").is_in(first.implode())).rename({"date": "time"})
    session = {day: calendar.at_or_before(day) for day in first}
    return rows.select(*COLUMNS, known_at=pl.col("delivered").replace_strict(session))


def take_in(warehouse: Warehouse, rows: pl.DataFrame, as_of: date) -> tuple[int, int, int, int]:
    """Ingest the rows; how many were stored, corrected, known already and kept aside."""
    with offered(rows):
        found = flows.ingest.ingest(warehouse, Settings(source="deliveries", calendar="XNYS"), as_of)
    return found.stored, found.corrected, found.unchanged, sum(found.quarantined.values())


@contextmanager
def offered(rows: pl.DataFrame) -> Iterator[None]:
    """Let a table at hand be the source, so that what is measured is not the reading of files."""

    class Offered:
        name = "deliveries"

        def fetch(self, since: date | None = None) -> Fetched:
            return Fetched(rows)

    usual = flows.ingest.open_source
    # a function of another name stands in for it, which types do not allow
    flows.ingest.open_source = lambda settings: Offered()  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        flows.ingest.open_source = usual


def compare(replayed: pl.DataFrame, loaded: pl.DataFrame, days: list[date]) -> None:
    """Print what differs: revisions, and the panel as known on each day."""
    one, other = replayed.select(SAID), loaded.select(SAID)
    only = [a.join(b, on=SAID, how="anti", nulls_equal=True) for a, b in ((one, other), (other, one))]
    print(
        f"Revisions: {one.height:,} and {other.height:,}; {only[0].height} only replayed, {only[1].height} only loaded"
    )
    for name, rows in zip(("replayed", "loaded"), only, strict=True):
        if not rows.is_empty():
            print(f"only {name}:\n{rows.head(5)}")
    several = one.group_by("series_id", "time").agg(pl.col("close").n_unique()).filter(pl.col("close") > 1).height
    print(f"Sessions with more than one close: {several}")
    differing = [day for day in days if not as_known(one, day).equals(as_known(other, day))]
    print(f"Panels as known on each of {len(days)} days: {len(differing)} differ {differing[:3] or ''}")


if __name__ == "__main__":
    main()
