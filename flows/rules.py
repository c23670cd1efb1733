"""The rules a price must keep, in order; a row that breaks one goes to quarantine under the name of the first."""

from datetime import date

import polars as pl

from features.calendar import Calendar
from flows.tables import VALUES


def first_broken_rule(rows: pl.DataFrame, calendar: Calendar, positive: bool, today: date | None = None) -> pl.Series:
    """Name of the first rule that each row breaks, null where it keeps all.

    Of rows that are equal in all that is stored, one is kept and the others are a "duplicate"; of rows that say
    different things about one session of one series, none can be trusted: each is a "conflicting_duplicate".

    Parameters
    ----------
    rows : polars.DataFrame
        series_id (String), time (Date), close (Float64), each null where it could not be read; present (Boolean):
        whether there was anything in the price's place; other values.
    calendar : Calendar
        What a session is.
    positive : bool
        Whether prices must lie above zero.
    today : date or None
        Prices of later days cannot be known yet. None: not asked.
    """
    session = pl.Series(calendar.is_session(rows["time"]))
    broken = {
        "no_series_id": pl.col("series_id").is_null(),
        "unreadable_time": pl.col("time").is_null(),
        "in_the_future": pl.col("time") > (today or date.max),
        "not_a_session": ~pl.lit(session),
        "missing_price": ~pl.col("present"),
        "unreadable_price": pl.col("close").is_null(),
        "not_finite": ~pl.col("close").is_finite(),
        "not_positive": (pl.col("close") <= 0) & positive,
    }
    rule = pl.coalesce(pl.when(is_broken).then(pl.lit(name)) for name, is_broken in broken.items())
    rows = rows.with_columns(rule.alias("rule")).with_row_index("place")

    kept = rows.filter(pl.col("rule").is_null())
    key = ["series_id", "time"]
    same = [*key, *(name for name in VALUES if name in rows.columns)]
    repeated = kept.filter(pl.struct(key).is_duplicated())
    conflicting = repeated.filter(pl.struct(same).n_unique().over(key) > 1)
    duplicate = repeated.filter(~pl.struct(same).is_first_distinct()).join(conflicting, on="place", how="anti")
    named = pl.concat(
        frame.select("place", pl.lit(name).alias("repeated"))
        for name, frame in {"conflicting_duplicate": conflicting, "duplicate": duplicate}.items()
    )
    return (
        rows.join(named, on="place", how="left", maintain_order="left")
        .select(pl.coalesce("rule", "repeated").alias("rule"))
        .to_series()
    )
