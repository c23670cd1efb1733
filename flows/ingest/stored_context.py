"""What the rules and the comparison are shown of the table: the incoming rows' sessions, and some of those before."""

from datetime import date, timedelta

import polars as pl

from tidecast.flows.ingest.revisions import KEY
from tidecast.flows.warehouse.schema import PRICE_KEY, last_known
from tidecast.flows.warehouse.warehouse import Warehouse

HISTORY = 99
"""Days before an incoming row of which the rules are shown what is known: 63 sessions of weekdays, at least."""

SHORTEST = 5
"""The same, where old rows are many: enough for the session before."""

MOST_HISTORY = 1_000_000
"""Days of series before old rows that are looked up one by one; with more, each row gets less history."""

MOST_KEYS = 4_000_000
"""The same with the rows' own days; beyond that, the table is read whole, as the delivery was."""


def known_around(rows: pl.DataFrame, warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """What is known of the incoming rows' sessions, and of those before them: every revision.

    Of the newest sessions, or of all if the rows are many, that is what is known of all series. Before each older row,
    or stretch of rows that lie close together, it is `HISTORY` of the series; less where such stretches are many. What
    is scattered then is judged by its neighbour, and by its series' other stretches before it.
    """
    back = timedelta(days=HISTORY)
    wanted = rows.select(KEY).drop_nulls().filter(pl.col("time") <= as_of).unique().sort(KEY)
    first: date = wanted.select(pl.col("time").min()).item() or as_of
    since = max(date.min + back, first if first >= as_of - 2 * back else as_of) - back
    older = wanted.filter(pl.col("time") < since + back)
    stretches = _stretches(older, HISTORY)
    if stretches["days"].sum() > MOST_HISTORY:
        stretches = _stretches(older, max(SHORTEST, MOST_HISTORY // stretches.height))
    if stretches["days"].sum() > MOST_KEYS:
        return warehouse.revisions_between(date.min, as_of)
    recent = warehouse.revisions_between(since, as_of)
    if older.is_empty() or warehouse.newest_session() is None:
        return recent
    keys = stretches.select("series_id", time=pl.date_ranges("since", "until")).explode("time")
    return pl.concat([warehouse.revisions_of(keys.filter(pl.col("time") < since)), recent]).sort(PRICE_KEY)


def with_actions(history: pl.DataFrame, warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """The prices known before with the splits and dividends known of their days, for the rules."""
    actions = last_known(warehouse.actions_of(history.select(KEY)), as_of)
    return history.join(actions.select(*KEY, "split_ratio", "dividend"), on=KEY, how="left", maintain_order="left")


def _stretches(keys: pl.DataFrame, days: int) -> pl.DataFrame:
    """Rows of a series that lie at most so many days apart: series_id, since (so many days before), until, days."""
    apart = (pl.col("time").diff().dt.total_days() > days) | (pl.col("series_id") != pl.col("series_id").shift())
    return (
        keys.with_columns(stretch=apart.fill_null(True).cum_sum())
        .group_by("stretch")
        .agg(
            pl.col("series_id").first(),
            since=pl.max_horizontal(pl.lit(date.min), pl.col("time").min().dt.offset_by(f"-{days}d")),
            until=pl.col("time").max(),
        )
        .with_columns(days=(pl.col("until") - pl.col("since")).dt.total_days())
    )
