"""Two years of real daily deliveries, replayed day by day, and compared with one load of all of them.

    python -m benchmarks.deliveries DATA_FOLDER [--days 508]

Every delivery holds the last two sessions: rows come twice, are corrected, series are listed and vanish. The one load
has the session that a run of the delivery's day stands on as known_at. Both must end in the same tables: the panel now,
the panel as it was known on every session that was run, and each revision with the day from which it was known.

On that day one rule differs: a source that does not say when it knew a row counts as having known it on its own
session, if no run has seen that session before. So a session without a delivery, whose rows come a session later, is
known in time in the replay, and a session later in the one load. The comparison allows for this and for nothing else.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from unittest.mock import patch

import polars as pl

import tidecast.flows.ingest.ingest
from tidecast.flows.config.settings import Settings
from tidecast.flows.sources import Fetched
from tidecast.flows.warehouse.schema import PRICE_KEY, as_known
from tidecast.flows.warehouse.warehouse import Warehouse

COLUMNS = ["series_id", "time", "open", "high", "low", "close", "volume"]
SAID = [*COLUMNS, "known_at"]


def main() -> None:
    """Replay, load, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--days", type=int, default=508, help="number of deliveries, from the first")
    options = parser.parse_args()
    rows = read(options.folder, options.days)
    days: list[date] = rows["delivered"].unique().sort().to_list()
    say(f"{len(days)} deliveries up to {days[-1]}: {rows.height:,} rows, {rows['series_id'].n_unique()} series")
    with tempfile.TemporaryDirectory() as folder:
        replayed, loaded = (Warehouse(str(Path(folder) / name)) for name in ("replayed", "loaded"))
        begun, found = time.process_time(), []
        for number, day in enumerate(days, 1):
            found.append(take_in(replayed, rows.filter(delivered=day).select(COLUMNS), day))
            if number % 50 == 0:
                say(f"  {number} taken in, {(time.process_time() - begun) / number:.2f} CPU seconds each")
        say("Replayed: {:,} stored, {:,} corrected, {:,} known, {:,} kept aside".format(
            *(sum(each) for each in zip(*found, strict=True))))  # fmt: skip
        say("Loaded at once: {:,} stored, {:,} corrected, {:,} known, {:,} kept aside".format(
            *take_in(loaded, last_said(rows).select(SAID), days[-1])))  # fmt: skip
        sessions: list[date] = rows["known_at"].unique().sort().to_list()
        compare(replayed.revisions(), loaded.revisions(), sessions)
        asked = sessions[:: max(1, len(sessions) // 20)]
        say(f"Read from the table by as_of on {len(asked)} days: as computed from its revisions on "
            f"{sum(replayed.prices(day).equals(as_known(replayed.revisions(), day)) for day in asked)}.")  # fmt: skip
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(f"Peak memory {peak:.0f} MB.")


def say(text: str) -> None:
    """Print and flush, so that a killed run has shown its results so far."""
    print(text, flush=True)


def read(folder: Path, days: int) -> pl.DataFrame:
    """The deliveries as one table; known_at is the session of a run on the day of delivery: the newest one delivered by
    then."""
    rows = pl.read_parquet(folder / "stocks_pystock_deliveries_10pct.parquet").rename({"date": "time"})
    first = rows["delivered"].unique().sort().head(days)
    rows = rows.filter(pl.col("delivered").is_in(first.implode()))
    stands = rows.group_by("delivered").agg(known_at=pl.col("time").max()).sort("delivered")
    stands = stands.with_columns(pl.min_horizontal(pl.col("known_at").cum_max(), "delivered"))
    return rows.join(stands, on="delivered").select(*SAID, "delivered")


def last_said(rows: pl.DataFrame) -> pl.DataFrame:
    """The last version of each row, of all deliveries for one session."""
    newest = pl.col("delivered") == pl.col("delivered").max().over("series_id", "time", "known_at")
    return rows.filter(newest)


def take_in(warehouse: Warehouse, rows: pl.DataFrame, as_of: date) -> tuple[int, int, int, int]:
    """Ingest the rows; return how many were stored, corrected, unchanged and quarantined."""
    with offered(rows):
        found = tidecast.flows.ingest.ingest.ingest(warehouse, Settings(source="deliveries", calendar="XNYS"), as_of)
    return found.stored, found.corrected, found.unchanged, sum(found.quarantined.values())


@contextmanager
def offered(rows: pl.DataFrame) -> Iterator[None]:
    """Make a table the source, so that reading files is not measured."""

    class Offered:
        name = "deliveries"

        def fetch(self, since: date | None = None) -> Fetched:
            return Fetched(rows)

    with patch.object(tidecast.flows.ingest.ingest, "open_source", lambda settings: Offered()):
        yield


def compare(replayed: pl.DataFrame, loaded: pl.DataFrame, sessions: list[date]) -> None:
    """Print the differences in revisions, and in the panel as known on each session that was run."""
    one, other = replayed.select(SAID), loaded.select(SAID)
    before = pl.Series([date.min, *sessions[:-1]])
    unseen = pl.col("time") > pl.col("known_at").replace_strict(sessions, before)
    in_time = other.with_columns(known_at=pl.when(unseen).then("time").otherwise("known_at"))
    say(f"Sessions without a run of their own: {other.filter(unseen, pl.col('time') < pl.col('known_at')).height} rows "
        f"of {other.filter(unseen, pl.col('time') < pl.col('known_at'))['time'].n_unique()} days")  # fmt: skip
    only = [a.join(b, on=SAID, how="anti", nulls_equal=True) for a, b in ((one, in_time), (in_time, one))]
    say(f"Revisions: {one.height:,} and {other.height:,}; {only[0].height} only replayed, {only[1].height} only loaded")
    for name, rows in zip(("replayed", "loaded"), only, strict=True):
        if not rows.is_empty():
            say(f"only {name}:\n{rows.head(5)}")
    several = one.group_by("series_id", "time").agg(pl.col("close").n_unique()).filter(pl.col("close") > 1).height
    say(f"Rows with more than one close: {several}")
    differing = [day for day in sessions if not as_known(one, day).equals(as_known(in_time.sort(PRICE_KEY), day))]
    say(f"Panels as known on each of {len(sessions)} sessions: {len(differing)} differ {differing[:3] or ''}")


if __name__ == "__main__":
    main()
