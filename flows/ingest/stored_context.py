"""Stored revisions that incoming rows are compared with and checked against: of their sessions, and of some before."""

from datetime import date, timedelta

import polars as pl

from tidecast.flows.ingest.revisions import KEY
from tidecast.flows.warehouse.schema import PRICE_KEY, last_known
from tidecast.flows.warehouse.warehouse import Warehouse

HISTORY = 99
"""Days of history that the rules see before an incoming row: at least 63 sessions of weekdays."""

SHORTEST = 5
"""The same where old rows are many: enough for the session before."""

MOST_HISTORY = 1_000_000
"""Days before old rows that are looked up one by one. With more, each row gets less history."""

MOST_KEYS = 4_000_000
"""The same, with the rows' own days. With more, the whole table is read, as the delivery was."""


def revisions_around(rows: pl.DataFrame, warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """Every stored revision of the incoming rows' sessions and of sessions before them.

    Of the newest sessions, or of all if there are many rows, the revisions of all series are read. Older rows of a
    series that lie close together form a span; `HISTORY` days before each span are read, fewer if there are many spans.
    A scattered row is then checked against its neighbour and its series' earlier spans.

    Parameters
    ----------
    rows : polars.DataFrame
        series_id, time.
    warehouse : Warehouse
    as_of : date
        The session the run stands on; no later session is read.

    Returns
    -------
    polars.DataFrame
        Rows of the table `prices`.
    """
    back = timedelta(days=HISTORY)
    wanted = rows.select(KEY).drop_nulls().filter(pl.col("time") <= as_of).unique().sort(KEY)
    first: date = wanted.select(pl.col("time").min()).item() or as_of
    since = max(date.min + back, first if first >= as_of - 2 * back else as_of) - back
    older = wanted.filter(pl.col("time") < since + back)
    spans = _spans(older, HISTORY)
    if spans["days"].sum() > MOST_HISTORY:
        spans = _spans(older, max(SHORTEST, MOST_HISTORY // spans.height))
    if spans["days"].sum() > MOST_KEYS:
        return warehouse.revisions_between(date.min, as_of)
    recent = warehouse.revisions_between(since, as_of)
    if older.is_empty() or warehouse.newest_session() is None:
        return recent
    keys = spans.select("series_id", time=pl.date_ranges("since", "until")).explode("time")
    return pl.concat([warehouse.revisions_of(keys.filter(pl.col("time") < since)), recent]).sort(PRICE_KEY)


def with_actions(history: pl.DataFrame, warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """Add the splits and dividends known at `as_of` to stored prices.

    Parameters
    ----------
    history : polars.DataFrame
        series_id, time and values.
    warehouse : Warehouse
    as_of : date
    """
    actions = last_known(warehouse.actions_of(history.select(KEY)), as_of)
    return history.join(actions.select(*KEY, "split_ratio", "dividend"), on=KEY, how="left", maintain_order="left")


def _spans(keys: pl.DataFrame, days: int) -> pl.DataFrame:
    """Rows of a series at most so many days apart, as one span: series_id, since (so many days before), until, days."""
    apart = (pl.col("time").diff().dt.total_days() > days) | (pl.col("series_id") != pl.col("series_id").shift())
    return (
        keys.with_columns(span=apart.fill_null(True).cum_sum())
        .group_by("span")
        .agg(
            pl.col("series_id").first(),
            since=pl.max_horizontal(pl.lit(date.min), pl.col("time").min().dt.offset_by(f"-{days}d")),
            until=pl.col("time").max(),
        )
        .with_columns(days=(pl.col("until") - pl.col("since")).dt.total_days())
    )
