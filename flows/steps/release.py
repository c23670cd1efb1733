"""Release or repair rows in quarantine: they become prices."""

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.calendars import choose_calendars
from tidecast.flows.ingest.quarantine import decide_on, near_choice, waiting
from tidecast.flows.warehouse.warehouse import Warehouse

NEAR = timedelta(days=10)
"""How far from the chosen rows stored rows are read, which name the calendars of their series."""


def release_rows(
    warehouse: Warehouse, settings: Settings, rows: dict[str, Any], *, by: str, why: str, at: datetime,
    values: dict[str, float] | None = None, factor: float | None = None,
) -> int:  # fmt: skip
    """Make prices of rows in quarantine, and return how many. Call it while holding the state folder.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    rows : dict
        Which rows: ``rules``, ``series``, ``first``, ``last``, as in `waiting`.
    by, why : str
        Who decides, and the reason; both are stored.
    at : datetime
        When it is decided.
    values : dict of float, optional
        The right values by column.
    factor : float, optional
        Multiplies open, high, low and close.

    Raises
    ------
    TidecastError
        The panel has no prices yet, no row was chosen, or one of them still cannot become a price.
    """
    if settings.calendar is None:
        raise TidecastError("The panel must have its prices before rows can be released. Start with: tidecast run")
    chosen = waiting(warehouse, **rows)
    if chosen.is_empty() and (hint := near_choice(warehouse, **rows)):
        raise TidecastError(f"A rule or series must be one of rows in quarantine, found none like that.{hint}")
    stored = warehouse.revisions_between(*_around(chosen["time"]))
    calendar, _, _ = choose_calendars(settings, chosen, stored)
    values = values or None
    return decide_on(warehouse, settings, calendar, chosen, by=by, why=why, at=at, values=values, factor=factor)


def _around(times: pl.Series) -> tuple[date, date]:
    first, last = times.min(), times.max()
    if not (isinstance(first, date) and isinstance(last, date)):
        return date(1970, 1, 1), date(1970, 1, 2)
    return first - NEAR, last + NEAR
