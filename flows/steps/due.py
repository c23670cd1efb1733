"""Decide what a day has to do, from what the tables say. Pure functions; nothing here asks what time it is."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.ingest.calendars import market_zone

CATCH_UP = 10
"""Missed sessions that a run makes up for; older ones take `tidecast backfill`."""

NOT_ATTEMPTED = "none"


def scheduled_day(scheduled: datetime, settings: Settings) -> date:
    """Return the day of a scheduled start time, in the time zone of the panel's market.

    A calendar without a market has no time zone; then the schedule's own counts. A run after the close, the default,
    stands on the day of that close, also where it starts after midnight.

    Parameters
    ----------
    scheduled : datetime
        With a time zone.
    settings : Settings
    """
    own_zone = settings.time_zone
    if settings.cron is None:
        scheduled -= timedelta(minutes=settings.after_close, microseconds=1)
        own_zone = None  # days of no market close at midnight UTC
    return scheduled.astimezone(ZoneInfo(market_zone(settings) or own_zone or "UTC")).date()


def latest_day_anywhere(now: datetime) -> date:
    """Return the latest date anywhere on earth (UTC+14): prices of later days cannot be true.

    Parameters
    ----------
    now : datetime
        With a time zone.
    """
    return (now.astimezone(UTC) + timedelta(hours=14)).date()


def refuse_clock_set_back(runs: pl.DataFrame, today: date) -> None:
    """Refuse a day that lies before a session that was run: newer prices would seem to lie in the future.

    Parameters
    ----------
    runs : polars.DataFrame
        The table of runs.
    today : date
        See `latest_day_anywhere`.

    Raises
    ------
    TidecastError
        The clock was set back.
    """
    newest = runs["as_of"].max()
    if isinstance(newest, date) and today < newest:
        raise TidecastError(
            f"The clock must not be behind the newest session that was run, {newest}, but on this machine it is "
            f"{today} at most. Set the clock, then run again. Nothing was read or stored."
        )


def run_of(runs: pl.DataFrame, as_of: date) -> dict[str, Any] | None:
    """Return the session's row of the table `runs`, without year; None when there is none.

    Parameters
    ----------
    runs : polars.DataFrame
        The table `runs`.
    as_of : date
    """
    rows = runs.filter(pl.col("as_of") == as_of).drop("year").to_dicts()
    return rows[0] if rows else None


def is_done(runs: pl.DataFrame, as_of: date) -> bool:
    """Whether the session's run ended, with nothing failed.

    Parameters
    ----------
    runs : polars.DataFrame
        The table `runs`.
    as_of : date
    """
    row = run_of(runs, as_of)
    return row is not None and row["status"] == "done"


def missed_sessions(
    runs: pl.DataFrame, priced: pl.Series, as_of: date, limit: int = CATCH_UP
) -> tuple[list[date], list[date]]:
    """Return the sessions with prices between the newest run that ended and `as_of`: the older, and the newest ones.

    Parameters
    ----------
    runs : polars.DataFrame
        The table of runs.
    priced : polars.Series of Date
        Times of the panel's prices.
    as_of : date
        The session of this run.
    limit : int
        At most so many are the newest ones.

    Returns
    -------
    older, newest : list of date
        Oldest first.
    """
    newest = runs.filter(pl.col("as_of") < as_of, pl.col("status") != "published")["as_of"].max()
    if newest is None:
        return [], []
    between = priced.filter((priced > newest) & (priced < as_of)).unique().sort()
    return between.head(max(0, len(between) - limit)).to_list(), between.tail(limit).to_list()


def training_due(runs: pl.DataFrame, decided: date | None, as_of: date, settings: Settings) -> bool:
    """Whether to train at the end of this session's run.

    Training is due `retrain_every` sessions after the last attempt, on the newest session only: a backfill trains
    nothing. Sessions are those of the panel's calendar. A training by hand, whose decision is of `decided`, is an
    attempt as well.

    Parameters
    ----------
    runs : polars.DataFrame
        The table `runs`.
    decided : date or None
        Session of the newest training's decision; None without one.
    as_of : date
    settings : Settings
    """
    if (runs["as_of"] > as_of).any():
        return False
    attempts = runs.filter(pl.col("as_of") < as_of, pl.col("training").fill_null(NOT_ATTEMPTED) != NOT_ATTEMPTED)
    last = max((day for day in (attempts["as_of"].max(), decided) if isinstance(day, date)), default=None)
    return last is None or sessions_between(last, as_of, settings.sessions) >= settings.retrain_every


def gate_due(last_gate: date | None, as_of: date, settings: Settings) -> bool:
    """Whether this training may test a new recipe: a gate is held at most every `gate.every` sessions.

    Parameters
    ----------
    last_gate : date or None
        Session of the newest gate; None without one.
    as_of : date
    settings : Settings
    """
    return last_gate is None or sessions_between(last_gate, as_of, settings.sessions) >= settings.gate.every


def sessions_between(first: date, last: date, calendar: Calendar) -> int:
    """Return the number of sessions from `first` to `last`.

    Parameters
    ----------
    first, last : date
    calendar : Calendar
    """
    return calendar.number_at(last) - calendar.number_at(first)
