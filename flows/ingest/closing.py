"""Rows of sessions that have not closed yet: they wait for a later run."""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from tidecast.features.calendars.base import CLOSING, Calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import counted

LATEST_CLOSE = timedelta(days=2)
"""A session closes less than this after its date begins in UTC, whatever the market's zone."""

MOST_NAMED = 3
"""Sessions that one message names."""


def open_rows(rows: pl.DataFrame, calendar: PanelCalendar, now: datetime | None) -> pl.DataFrame:
    """Return the rows whose session closes after `now`, by the calendar of their series.

    Parameters
    ----------
    rows : polars.DataFrame
        `row` (unique), `series_id` and `time`. Rows that are not sessions of their series are not returned.
    calendar : PanelCalendar
    now : datetime or None
        The instant at which the run was started, with a time zone. None: every session counts as closed.

    Returns
    -------
    polars.DataFrame
        The rows, with `closes` (Datetime in UTC) and the name of the `calendar`.
    """
    schema: dict[str, Any] = {**rows.schema, "closes": CLOSING, "calendar": pl.String}
    if now is None:
        return pl.DataFrame(schema=schema)
    recent = rows.filter(pl.col("time") > (now - LATEST_CLOSE).date(), pl.col("series_id").is_not_null())
    plain, found = recent.drop("calendar", strict=False), [pl.DataFrame(schema=schema)]
    for own, at in calendar.groups(plain):
        sessions = recent[at[own.is_session(plain["time"][at])]] if len(at) else recent.clear()
        closes = own.closes(sessions["time"])
        found.append(sessions.with_columns(closes.alias("closes"), calendar=pl.lit(own.name)).select(*schema))
    return pl.concat(found).filter(pl.col("closes") > now)


def waiting_text(waiting: pl.DataFrame, calendar: PanelCalendar) -> str:
    """Describe rows that wait: how many, of which sessions, when those close, and what to do.

    Parameters
    ----------
    waiting : polars.DataFrame
        As `open_rows` returns it, at least one row.
    calendar : PanelCalendar
    """
    sessions = waiting.group_by("time", "calendar", "closes").len().sort("closes", "time", "calendar").rows()
    texts = [f"{day} of {name} closes at {at:%Y-%m-%d %H:%M} UTC ({n:,})" for day, name, at, n in sessions[:MOST_NAMED]]
    more = f", and {counted(len(sessions) - MOST_NAMED, 'more session')}" if len(sessions) > MOST_NAMED else ""
    one = waiting.height == 1
    text = (
        f"{waiting.height:,} {'row waits' if one else 'rows wait'}, because {'its session has' if one else 'sessions'}"
        f"{'' if one else ' have'} not closed: {', '.join(texts)}{more}. A run after that takes "
        f"{'it' if one else 'them'} in."
    )
    named = set(waiting["calendar"])
    nameless = [one.name for one in calendar.calendars if one.name in named and _ends_at_midnight(one)]
    if nameless:
        text += (
            f" {nameless[0]!r} names no market, so its sessions end at midnight UTC. A calendar with opening hours "
            "(--calendar XNYS, or a column 'calendar') closes earlier."
        )
    return text


def _ends_at_midnight(calendar: Calendar) -> bool:
    """Whether a calendar has no closing time of a market, though its prices may come from one."""
    return calendar.market_zone is None and not calendar.intraday and calendar.name != "24/7"
