"""Compare the rows of a delivery, each dated by when it became known, with the stored revisions."""

from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from tidecast.flows.warehouse.schema import PRICE_KEY, VALUES, values_in

KEY = ["series_id", "time"]

STORED = (*VALUES, "calendar")
"""Columns of a delivery that are stored if it has them."""

BLOCK = 2_000_000
"""Rows that are compared at a time, about; joins and sorts of more would take several times the memory of the rows."""

STORED_PREFIX = "known_"
"""Before the name of a stored value, next to the delivery's own."""


def dated(rows: pl.DataFrame, newest_seen: date, seen: date | None) -> pl.DataFrame:
    """Fill `known_at`, the day from which on a row is known.

    Where the source does not say it, it is the row's session. If the panel has seen that session before, the row is new
    or corrected since, and is known from the newest session seen.

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


def compare(rows: pl.DataFrame, revisions: pl.DataFrame, columns: Sequence[str] = STORED) -> pl.DataFrame:
    """Add a status to each row: "stored" (new), "corrected" (other values) or "unchanged".

    A row is compared with the values in force on the day it became known, from the table or from an earlier row of the
    delivery. Columns that the source does not have keep their known values.

    Parameters
    ----------
    rows : polars.DataFrame
        series_id, time, known_at and values; unique on these three.
    revisions : polars.DataFrame
        Every stored revision of these series and sessions.
    columns : sequence of str
        Names of the values.

    Returns
    -------
    polars.DataFrame
        Sorted by series_id, time and known_at; values of the table that the source does not have are added.
    """
    values = [name for name in columns if name in rows.columns]
    only_stored = [name for name in values_in(revisions) if name != "close" and name not in values]
    status, named = _status(values).alias("status"), {name: STORED_PREFIX + name for name in only_stored}
    return pl.concat(
        _beside_stored(some, stored, [*values, *only_stored])
        .with_columns(status, **named)
        .select(*rows.columns, *only_stored, "status")
        for some, stored in _blocks(rows, revisions)
    )


def _blocks(rows: pl.DataFrame, revisions: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Rows and revisions of the same series, about `BLOCK` rows at a time, in the order of their names."""
    if rows.height <= BLOCK:
        yield rows, revisions
        return
    sizes = rows.group_by("series_id").len().sort("series_id")
    block = sizes.select("series_id", block=(pl.col("len").cum_sum() - 1) // BLOCK)
    for some in block.partition_by("block", maintain_order=True):
        here = pl.col("series_id").is_in(some["series_id"].implode())
        yield rows.filter(here), revisions.filter(here)


def _beside_stored(rows: pl.DataFrame, revisions: pl.DataFrame, values: Sequence[str]) -> pl.DataFrame:
    """The rows with the revision in force when each became known.

    That revision has `since` (its known_at) and its values, prefixed; `series_id_there` is null where nothing of the
    series and session is stored.
    """
    missing = [pl.lit(None, rows.schema[name]).alias(name) for name in values if name not in revisions.columns]
    in_force = revisions.with_columns(missing).select(
        *KEY, "known_at", since="known_at", **{STORED_PREFIX + name: name for name in values}
    )
    compared = rows.sort("known_at").join_asof(
        in_force.sort("known_at"), on="known_at", by=KEY, strategy="backward", check_sortedness=False
    )
    stored_keys = revisions.select(KEY).unique()
    return compared.join(stored_keys, on=KEY, how="left", coalesce=False, suffix="_there").sort(PRICE_KEY)


def _status(values: Sequence[str]) -> pl.Expr:
    """The status of rows of `_beside_stored`, in their order."""
    repeats_key = pl.all_horizontal(pl.col(name) == pl.col(name).shift() for name in KEY).fill_null(False)
    # the row before, of the same delivery, is known later than the stored revision
    follows_row = repeats_key & (pl.col("since").is_null() | (pl.col("known_at").shift() >= pl.col("since")))
    differs = pl.any_horizontal(
        pl.col(name).ne_missing(pl.when(follows_row).then(pl.col(name).shift()).otherwise(STORED_PREFIX + name))
        for name in values
    )
    is_first = ~repeats_key & pl.col("series_id_there").is_null()
    nothing_before = ~follows_row & pl.col("since").is_null()
    return (
        pl.when(is_first)
        .then(pl.lit("stored"))
        .when(nothing_before | differs)
        .then(pl.lit("corrected"))
        .otherwise(pl.lit("unchanged"))
    )


def after_storing(revisions: pl.DataFrame, changes: pl.DataFrame) -> pl.DataFrame:
    """Return the revisions as they are once `changes` are stored.

    Parameters
    ----------
    revisions, changes : polars.DataFrame
        series_id, time, known_at, as_of, of the same series and sessions.
    """
    kept = revisions.select(*PRICE_KEY, "as_of").join(changes, on=PRICE_KEY, how="anti")
    return pl.concat([kept, changes.select(kept.columns)])


def counts_of_run(rows: pl.DataFrame, revisions: pl.DataFrame, as_of: date) -> dict[str, int]:
    """Count what all runs of this `as_of` did with the good rows, from the table alone.

    So repeating a run changes no count. A row is stored if a run of this `as_of` wrote the first revision of its series
    and session, and corrected if such a run wrote a later one. A correction that replaced a row of the same `as_of` is
    not a revision and counts as that row.

    Parameters
    ----------
    rows : polars.DataFrame
        Good rows: series_id, time.
    revisions : polars.DataFrame
        Stored revisions of the same series and sessions: series_id, time, known_at, as_of.
    as_of : date

    Returns
    -------
    dict of str to int
        rows_stored, rows_corrected, rows_unchanged.
    """
    stored = corrected = 0
    for some, there in _blocks(rows, revisions):
        of_block = _counts(some, there, as_of)
        stored, corrected = stored + of_block[0], corrected + of_block[1]
    return {"rows_stored": stored, "rows_corrected": corrected, "rows_unchanged": rows.height - stored - corrected}


def _counts(rows: pl.DataFrame, revisions: pl.DataFrame, as_of: date) -> tuple[int, int]:
    """Rows that runs of this `as_of` stored, and those that they corrected."""
    ours = pl.col("as_of") == as_of
    by_key = rows.group_by(KEY).len("rows").join(revisions, on=KEY).sort(PRICE_KEY).group_by(KEY)
    found = by_key.agg(pl.col("rows").first(), first=ours.first(), later=ours.slice(1).sum()).with_columns(
        corrected=pl.min_horizontal("later", "rows")
    )
    corrected = int(found["corrected"].sum())
    return found.filter(pl.col("first"), pl.col("corrected") < pl.col("rows")).height, corrected
