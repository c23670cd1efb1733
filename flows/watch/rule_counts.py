"""How many rows break each rule, over time."""

from __future__ import annotations

import polars as pl

from tidecast.flows.watch.known import Known

DAYS = 63
"""Newest sessions whose rows are counted."""

NEWEST = 5


def rule_counts(known: Known) -> pl.DataFrame:
    """Return the rows per broken rule that the runs of the last quarter found.

    Parameters
    ----------
    known : Known

    Returns
    -------
    polars.DataFrame
        rule; where its rows are (``quarantine`` or ``flags``); ``today``, ``week`` (the last 5 sessions) and
        ``quarter`` (the last 63), sorted by the last.
    """
    days = known.sessions.tail(DAYS)
    tables = [
        table.select("rule", "as_of", kept=pl.lit(name))
        for name, table in (("quarantine", known.quarantine), ("flags", known.flags))
    ]
    rows = pl.concat(tables).filter(pl.col("as_of") >= days[0])
    week = days.tail(NEWEST)[0]
    return (
        rows.group_by("rule", "kept")
        .agg(
            today=(pl.col("as_of") == known.as_of).sum(), week=(pl.col("as_of") >= week).sum(), quarter=pl.len()
        )
        .sort("quarter", "rule", descending=[True, False])
    )  # fmt: skip
