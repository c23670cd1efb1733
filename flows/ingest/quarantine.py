"""Rows in quarantine become prices again: released as they came, or repaired; and it is recorded who did it, and why.

Nothing is taken out of `quarantine`. A decision is a row of `repairs`, written first; the price follows from it. Killed
in between, the next ingest, or the same command again, stores the price: nothing is lost, nothing doubled.
"""

from collections.abc import Mapping
from datetime import date, datetime

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.warehouse.schema import QUARANTINE_KEY, VALUES
from tidecast.flows.warehouse.warehouse import Warehouse

KEY = ["series_id", "time"]
SCALED = ("close", "open", "high", "low")


def waiting(
    warehouse: Warehouse,
    rules: tuple[str, ...] = (),
    series: tuple[str, ...] = (),
    first: date | None = None,
    last: date | None = None,
) -> pl.DataFrame:
    """Rows in quarantine on which nothing was decided, the newest first.

    Parameters
    ----------
    warehouse : Warehouse
    rules, series : tuple of str
        Only rows that broke one of these rules, or belong to one of these series; empty: all.
    first, last : date or None
        Only rows of these days.
    """
    rows = warehouse.quarantine()
    decided = warehouse.repairs().select(QUARANTINE_KEY)
    rows = rows.join(decided, on=QUARANTINE_KEY, how="anti", nulls_equal=True, maintain_order="left")
    if rules:
        rows = rows.filter(pl.col("rule").is_in(rules))
    if series:
        rows = rows.filter(pl.col("series_id").is_in(series))
    if first or last:
        rows = rows.filter(pl.col("time").is_between(first or date.min, last or date.max))
    return rows.sort("as_of", "time", "series_id", "rule", descending=[True, True, False, False], nulls_last=True)


def decide_on(
    warehouse: Warehouse,
    settings: Settings,
    calendar: PanelCalendar,
    rows: pl.DataFrame,
    *,
    by: str,
    why: str,
    at: datetime,
    values: Mapping[str, float] | None = None,
    factor: float | None = None,
) -> int:
    """Make prices of rows in quarantine, known from the newest as_of the panel has seen; returns how many rows.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
        `positive`.
    calendar : PanelCalendar
        What a session is of each series.
    rows : polars.DataFrame
        As `waiting` gives them.
    by, why : str
        Who decided, and for what reason; kept.
    at : datetime
        When, in UTC; kept.
    values : mapping of str to float, optional
        What the price, and other values, should have been.
    factor : float, optional
        What open, high, low and close are multiplied by: 100 for pence that came as pounds.

    Raises
    ------
    TidecastError
        There are no rows; one of them can be no price of the panel even so; or two of them are of the same session.
    """
    if rows.is_empty():
        raise TidecastError(
            "There must be rows in quarantine that are waiting, found none like that. See: tidecast quarantine"
        )
    mended = rows.with_columns(pl.lit(value).alias(name) for name, value in (values or {}).items())
    if factor is not None:
        mended = mended.with_columns(pl.col(name) * factor for name in SCALED)
    _refuse(mended, settings, calendar)
    repairs = mended.with_columns(
        action=pl.lit("released" if values is None and factor is None else "repaired"),
        as_of=pl.lit(warehouse.newest_seen()),
        by=pl.lit(by),
        why=pl.lit(why),
        at=pl.lit(at, pl.Datetime("us", "UTC")),
    )
    warehouse.store_repairs(repairs)
    finish_repairs(warehouse)
    return rows.height


def finish_repairs(warehouse: Warehouse) -> None:
    """Store the prices of decisions that were taken and whose price is not there, as after a kill in between."""
    repairs = warehouse.repairs()
    if repairs.is_empty():
        return
    there = warehouse.revisions_of(repairs.select(KEY).unique()).select(*KEY, stored="known_at")
    done = repairs.join(there, on=KEY).filter(pl.col("stored") >= pl.col("as_of"))
    missing = repairs.join(done, on=QUARANTINE_KEY, how="anti", nulls_equal=True)
    if not missing.is_empty():
        last = missing.sort("as_of", "at").unique(KEY, keep="last")
        warehouse.store_prices(last.select(*KEY, *VALUES, "as_of", known_at="as_of"))


def take_decided(bad: pl.DataFrame, repairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows on which nothing was decided, and the prices that the others have become.

    Parameters
    ----------
    bad : polars.DataFrame
        Rows that break a rule, with what `quarantine` knows them by: rule, original, occurrence.
    repairs : polars.DataFrame
        The decisions.
    """
    decided = repairs.select(*QUARANTINE_KEY, *VALUES, known_at="as_of")  # whenever the source knew of the row
    others = bad.join(decided, on=QUARANTINE_KEY, how="anti", nulls_equal=True, maintain_order="left")
    kept = bad.drop([name for name in (*VALUES, "known_at") if name in bad.columns])
    prices = kept.join(decided, on=QUARANTINE_KEY, how="inner", maintain_order="left")
    return others, prices.unique(KEY, keep="first", maintain_order=True)


def _refuse(rows: pl.DataFrame, settings: Settings, calendar: PanelCalendar) -> None:
    session = pl.Series(calendar.is_session(rows))
    problems = {
        "a series": pl.col("series_id").is_null(),
        "a time": pl.col("time").is_null(),
        f"a session of {calendar.name}": ~pl.lit(session),
        "a finite close (repair it with --value close=…)": ~pl.col("close").is_finite().fill_null(False),
        "a close above zero": (pl.col("close") <= 0) & settings.positive,
        "a session of its own (choose by --series and --from, or repair with --value)": pl.struct(KEY).is_duplicated(),
    }
    for what, broken in problems.items():
        found = rows.filter(broken.fill_null(False))
        if not found.is_empty():
            named = shorten([f"{row[0]} {row[1]} ({row[2]})" for row in found.select(*KEY, "rule").rows()], 3)
            raise TidecastError(f"A row must have {what} to become a price; {found.height} have not: {named}.")
