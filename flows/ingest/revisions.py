"""What of a delivery is new: its rows, dated by when they became known, beside the revisions that are stored."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from tidecast.flows.warehouse.schema import PRICE_KEY, VALUES, values_in

KEY = ["series_id", "time"]

STORED = (*VALUES, "calendar")
"""Columns of a delivery that are stored, where it has them."""


def dated(rows: pl.DataFrame, newest_seen: date, seen: date | None) -> pl.DataFrame:
    """The rows, each with the day from which on it is known.

    That is what the source says, where it does. Else it is the row's session; if
    the panel has seen that before, the row is new or corrected since, and known from the newest session seen.

    Parameters
    ----------
    rows : polars.DataFrame
        time; known_at (Date), null where the source does not say.
    newest_seen : date
        The newest `as_of` the panel has seen, this run's included.
    seen : date or None
        The same before this run.
    """
    first_seen = pl.when(pl.col("time") > (seen or date.min)).then("time").otherwise(pl.lit(newest_seen))
    return rows.with_columns(pl.coalesce("known_at", first_seen).alias("known_at"))


def compare(rows: pl.DataFrame, known: pl.DataFrame, columns: Sequence[str] = STORED) -> pl.DataFrame:
    """The rows with a status: "stored" (new), "corrected" (says something else) or "unchanged".

    Each is compared with what is known on the day it became known, from the table or from an earlier row of the same
    delivery. Values that the source does not have at all stay as they are known.

    Parameters
    ----------
    rows : polars.DataFrame
        series_id, time, known_at and values; unique on these three.
    known : polars.DataFrame
        Every stored revision of these series and sessions.
    columns : sequence of str
        Names of the values.

    Returns
    -------
    polars.DataFrame
        Sorted by series_id, time and known_at; values of the table that the source does not have are added.
    """
    values = [name for name in columns if name in rows.columns]
    stored = [name for name in values_in(known) if name != "close"]
    missing = [pl.lit(None, rows.schema[name]).alias(name) for name in values if name not in known.columns]
    there = known.with_columns(missing).select(
        *KEY, "known_at", since="known_at", **{f"known_{name}": name for name in {*values, *stored}}
    )
    rows = rows.sort("known_at").join_asof(
        there.sort("known_at"), on="known_at", by=KEY, strategy="backward", check_sortedness=False
    )
    rows = rows.join(known.select(KEY).unique(), on=KEY, how="left", coalesce=False, suffix="_there").sort(PRICE_KEY)
    again = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in KEY).fill_null(False)
    after = again & (pl.col("since").is_null() | (pl.col("known_at").shift() >= pl.col("since")))
    differs = pl.any_horizontal(
        pl.col(name).ne_missing(pl.when(after).then(pl.col(name).shift()).otherwise(f"known_{name}")) for name in values
    )
    first = ~again & pl.col("series_id_there").is_null()
    nothing_before = ~after & pl.col("since").is_null()
    status = pl.when(first).then(pl.lit("stored")).when(nothing_before | differs).then(pl.lit("corrected"))
    return rows.with_columns(
        status.otherwise(pl.lit("unchanged")).alias("status"),
        **{name: f"known_{name}" for name in stored if name not in values},
    ).select(*rows.columns[: rows.columns.index("since")], *(name for name in stored if name not in values), "status")


def after_storing(known: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """The revisions of the same series and sessions once `changes` are stored."""
    kept = known.select(*PRICE_KEY, "as_of").join(changes, on=PRICE_KEY, how="anti")
    return pl.concat([kept, changes.select(kept.columns)])


def counts_of_run(rows: pl.DataFrame, revisions: pl.DataFrame, as_of: date) -> dict[str, int]:
    """What all runs of this `as_of` did with the good rows, from the table alone: repeating a run changes no count.

    A row is corrected when it is one of ours after the first revision of its series and session, stored when that first
    one is ours. A correction that took the place of today's row within the same session left no revision, and counts as
    the row it is.
    """
    ours = pl.col("as_of") == as_of
    by_key = rows.group_by(KEY).len("rows").join(revisions, on=KEY).sort(PRICE_KEY).group_by(KEY)
    found = by_key.agg(pl.col("rows").first(), first=ours.first(), later=ours.slice(1).sum()).with_columns(
        corrected=pl.min_horizontal("later", "rows")
    )
    corrected = int(found["corrected"].sum())
    stored = found.filter(pl.col("first"), pl.col("corrected") < pl.col("rows")).height
    return {"rows_stored": stored, "rows_corrected": corrected, "rows_unchanged": rows.height - stored - corrected}
