"""Turn rows in quarantine into prices: released as they came, or repaired. Who did it and why is recorded.

Nothing is removed from `quarantine`. A decision is a row of `repairs`, written first; the price is stored after it. If
the process is killed in between, the next ingest, or the same command again, stores the price: nothing is lost or
doubled.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import meant, shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.ahead_rows import AHEAD_RULES
from tidecast.flows.ingest.revisions import KEY
from tidecast.flows.warehouse.schema import QUARANTINE_KEY, VALUES
from tidecast.flows.warehouse.warehouse import Warehouse

SCALED = ("close", "open", "high", "low")


def waiting(
    warehouse: Warehouse,
    rules: tuple[str, ...] = (),
    series: tuple[str, ...] = (),
    first: date | None = None,
    last: date | None = None,
) -> pl.DataFrame:
    """Rows in quarantine without a decision, the newest first.

    Parameters
    ----------
    warehouse : Warehouse
    rules, series : tuple of str
        Only rows that broke one of these rules, or belong to one of these series; empty: all.
    first, last : date or None
        Only rows of these days.

    Returns
    -------
    polars.DataFrame
        Rows of the table `quarantine`.
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


def near_choice(warehouse: Warehouse, rules: tuple[str, ...] = (), series: tuple[str, ...] = (), **days: Any) -> str:
    """Return " Did you mean 'x'?" for a rule or series that no row in quarantine has, if one has a similar name.

    Parameters
    ----------
    warehouse : Warehouse
    rules, series : tuple of str
        As `waiting` takes them.
    **days : object
        As `waiting` takes them; unused.
    """
    rows = waiting(warehouse)
    for column, wanted in (("rule", rules), ("series_id", series)):
        known = rows[column].drop_nulls().unique().to_list()
        if unknown := [name for name in wanted if name not in known]:
            return meant(unknown[0], known)
    return ""


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
    """Make prices of rows in quarantine, known from the newest as_of the panel has seen.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
        `positive`.
    calendar : PanelCalendar
        The sessions of each series.
    rows : polars.DataFrame
        As of `waiting`.
    by, why : str
        Who decided, and the reason; recorded.
    at : datetime
        When, in UTC; recorded.
    values : mapping of str to float, optional
        The right price, and other values.
    factor : float, optional
        Factor for open, high, low and close: 100 for pence that came as pounds.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    TidecastError
        There are no rows; one of them still cannot become a price; or two of them are of the same session.
    """
    if rows.is_empty():
        raise TidecastError(
            "There must be matching rows in quarantine without a decision, found none. See: tidecast quarantine"
        )
    corrected = rows.with_columns(pl.lit(value).alias(name) for name, value in (values or {}).items())
    if factor is not None:
        corrected = corrected.with_columns(pl.col(name) * factor for name in SCALED)
    _refuse(corrected, settings, calendar)
    repairs = corrected.with_columns(
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
    """Store the prices of recorded decisions that are missing, as after a kill in between.

    Parameters
    ----------
    warehouse : Warehouse
    """
    repairs = warehouse.repairs()
    if repairs.is_empty():
        return
    prices = warehouse.revisions_of(repairs.select(KEY).unique()).select(*KEY, stored="known_at")
    done = repairs.join(prices, on=KEY).filter(pl.col("stored") >= pl.col("as_of"))
    missing = repairs.join(done, on=QUARANTINE_KEY, how="anti", nulls_equal=True)
    if not missing.is_empty():
        last = missing.sort("as_of", "at").unique(KEY, keep="last")
        warehouse.store_prices(last.select(*KEY, *VALUES, "as_of", known_at="as_of"))


def take_decided(bad: pl.DataFrame, repairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Separate rows without a decision from those with one.

    Parameters
    ----------
    bad : polars.DataFrame
        Rows that break a rule, with the key of `quarantine`: rule, original, occurrence.
    repairs : polars.DataFrame
        The decisions.

    Returns
    -------
    undecided : polars.DataFrame
        Rows without a decision.
    prices : polars.DataFrame
        Prices that the others have become.
    """
    decided = repairs.select(*QUARANTINE_KEY, *VALUES, known_at="as_of")  # whatever the source's own known_at
    undecided = bad.join(decided, on=QUARANTINE_KEY, how="anti", nulls_equal=True, maintain_order="left")
    other_columns = bad.drop([name for name in (*VALUES, "known_at") if name in bad.columns])
    prices = other_columns.join(decided, on=QUARANTINE_KEY, how="inner", maintain_order="left")
    return undecided, prices.unique(KEY, keep="first", maintain_order=True)


def _refuse(rows: pl.DataFrame, settings: Settings, calendar: PanelCalendar) -> None:
    ahead = rows.filter(pl.col("rule").is_in(AHEAD_RULES))
    if not ahead.is_empty():
        raise TidecastError(
            f"Only a price can be released or repaired, but {ahead.height} of these rows are of future covariates or "
            f"events ({shorten(ahead['rule'].unique().sort().to_list())}). Correct them at their source: the next run "
            "reads them. Choose prices by --rule."
        )
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
            raise TidecastError(f"A row must have {what} to become a price; {found.height} do not: {named}.")
