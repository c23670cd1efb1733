"""Read the columns of a table that say when something was known, and when it takes place."""

from __future__ import annotations

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.known_ahead.vintages import ALWAYS, Whole

AFTER_MIDNIGHT = 1
"""Microseconds after midnight UTC from which what is known on a day counts: after all sessions of the day before."""

SLACK = 2
"""Days before an instant, after which the search for the session that holds it begins."""


def read_known(frame: pl.DataFrame, column: str, intraday: bool) -> Whole:
    """Return the instants from which the rows of a table were known, microseconds since 1970, UTC.

    A date counts from its own session on, as the price of a day does. So does a midnight, whatever the other rows say.
    Times without a zone are UTC. A missing value, or a missing column, was always known.

    Parameters
    ----------
    frame : polars.DataFrame
    column : str
        Name of the column; it may be missing.
    intraday : bool
        Whether the sessions are bars within the day.

    Raises
    ------
    ValueError
        The column holds something else, or days for bars within the day.
    """
    if column not in frame.columns or frame.schema[column] == pl.Null:
        return np.full(len(frame), ALWAYS)
    times = utc(frame[column])
    if intraday and times.dtype == pl.Date:
        raise ValueError(
            f"{column!r} must hold times for bars within the day, found dates. Give the instant from which each row "
            "was known, in UTC."
        )
    known = times.cast(pl.Datetime("us")).to_physical()
    if not intraday:
        days, is_day = as_days(frame[column])
        known = known.zip_with(~is_day, days.cast(pl.Datetime("us")).to_physical() + AFTER_MIDNIGHT)
    return known.fill_null(ALWAYS).to_numpy().astype(np.int64)


def utc(times: pl.Series) -> pl.Series:
    """Return dates as they are, and datetimes in UTC without zone.

    Parameters
    ----------
    times : Series

    Raises
    ------
    ValueError
        It holds neither.
    """
    kind = times.dtype
    if kind == pl.Date:
        return times
    if not isinstance(kind, pl.Datetime):
        raise ValueError(f"{times.name!r} must hold dates or datetimes, got {kind}. Parse it, with .str.to_datetime().")
    if kind.time_zone is not None:
        times = times.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return times.cast(pl.Datetime("us"))


def as_days(times: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return times as dates as they are written, and which of them are days: dates and midnights.

    Each time is judged alone, so a further row does not change what the others mean.

    Parameters
    ----------
    times : Series of Date or Datetime
    """
    if times.dtype == pl.Date:
        return times, times.is_not_null()
    written = times.dt.replace_time_zone(None)
    return written.cast(pl.Date), (written.dt.truncate("1d") == written).fill_null(False)


def days_of(times: pl.Series, calendar: Calendar) -> pl.Series:
    """Return the times of rows as sessions are written: dates by the market's clocks, bars as instants in UTC.

    Parameters
    ----------
    times : Series of Date or Datetime
    calendar : Calendar

    Raises
    ------
    ValueError
        It holds neither, or dates for bars within the day.
    """
    if calendar.intraday:
        found = utc(times)
        if found.dtype == pl.Date:
            raise ValueError(f"{times.name!r} must hold the times of bars, found dates. Give datetimes in UTC.")
        return found
    utc(times)  # refuses other types
    days, is_day = as_days(times)
    if is_day.all():
        return days
    if getattr(times.dtype, "time_zone", None) is not None and calendar.market_zone is not None:
        times = times.dt.convert_time_zone(calendar.market_zone)
    return days.zip_with(is_day, times.dt.replace_time_zone(None).cast(pl.Date))


def sessions_holding(times: pl.Series, calendar: Calendar) -> Whole:
    """Return the number of the session in which each event takes place.

    A day belongs to its session, or to the next one where the market is closed. An instant belongs to the first session
    that closes at it or later, so an announcement after the close counts for the next session.

    Parameters
    ----------
    times : Series of Date or Datetime, without missing values
        Times without a zone are UTC; midnights are days.
    calendar : Calendar

    Raises
    ------
    ValueError
        It holds something else, or days for bars within the day, or a time that no calendar covers.
    """
    found = utc(times)
    if calendar.intraday and found.dtype == pl.Date:
        raise ValueError(
            f"{times.name!r} must hold times for bars within the day, found dates. Give the instant of each event, in "
            "UTC."
        )
    if calendar.intraday:
        return _at_or_after(found, calendar)
    days, is_day = as_days(times)
    number = np.zeros(len(times), dtype=np.int64)
    number[is_day.to_numpy()] = _at_or_after(days.filter(is_day), calendar)
    if not is_day.all():
        number[~is_day.to_numpy()] = _closing_after(found.filter(~is_day), calendar)
    return number


def _closing_after(times: pl.Series, calendar: Calendar) -> Whole:
    """Numbers of the first sessions that close at instants or later."""
    unique = times.unique()
    closing = unique.to_physical().to_numpy()
    day = unique.cast(pl.Date).dt.offset_by(f"-{SLACK}d")
    number = np.array([calendar.number_at(one) for one in day], dtype=np.int64)
    while len(early := np.flatnonzero(_closes(number, calendar) < closing)):
        number[early] += 1
    return times.replace_strict(unique, pl.Series(number), return_dtype=pl.Int64).to_numpy()


def _at_or_after(times: pl.Series, calendar: Calendar) -> Whole:
    """Numbers of the first sessions at or after dates, or instants for bars."""
    unique = times.unique()
    number = np.array([calendar.number_at(one) for one in unique], dtype=np.int64)
    if len(number):
        number += (calendar.times(number) < unique).to_numpy()
    return times.replace_strict(unique, pl.Series(number, dtype=pl.Int64), return_dtype=pl.Int64).to_numpy()


def _closes(number: Whole, calendar: Calendar) -> Whole:
    return calendar.closes(calendar.times(number)).to_physical().to_numpy()
