"""Take in what is known ahead: future covariates and events, each row with the instant from which it was known.

Where the source says from when a row was known, that counts. Where it does not, a row is known from the session on
which it was first seen; rows of the first delivery for sessions up to then count as always known.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from tidecast.features.error_text import counted, shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.ingest.ahead_rows import (
    ALWAYS,
    AheadRows,
    read_events,
    read_future,
)
from tidecast.flows.warehouse.schema import EVENT_KEY, FUTURE_KEY
from tidecast.flows.warehouse.warehouse import Warehouse


@dataclass(frozen=True)
class TakenIn:
    """Result of taking in one of the two tables.

    Attributes
    ----------
    read, stored : int
        Rows of the source, and those of them that were new or changed.
    messages : tuple of str
        For the user.
    """

    read: int
    stored: int
    messages: tuple[str, ...]


def take_in_future(warehouse: Warehouse, settings: Settings, as_of: date) -> TakenIn:
    """Store the future covariates of the source. The same source again stores nothing.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date
        The session the run stands on.

    Raises
    ------
    SourceError
        As of `read_future`.
    """
    found = read_future(settings, warehouse.calendars())
    _put_into_quarantine(warehouse, found.bad, as_of)
    names = list(settings.future_covariates)
    rows = found.rows.unique(maintain_order=True)
    stored = warehouse.future_values()
    values = [pl.col(name) if name in stored.columns else pl.lit(None, pl.Float64).alias(name) for name in names]
    stored = stored.with_columns(values).select(*FUTURE_KEY, *names, "as_of")
    seen, is_first = _seen(warehouse, as_of), stored.filter(pl.col("as_of") != as_of).is_empty()
    rows = _dated(rows, stored, list(FUTURE_KEY[:-1]), names, "available_at", as_of, seen, is_first)
    count = warehouse.store_future_values(rows)
    note = (
        "The future covariates do not say from when they were known: those up to this session count as always known, "
        "which a backtest may find too good. Give them a column 'available_at'."
    )
    new = [name for name in names if stored[name].is_null().all()] or _new_names(
        rows, stored, ["series_id", "group_name"], as_of
    )
    late = "" if is_first or found.dated or not new else (
        f"The future covariates {shorten(new)} are new and do not say from when they were known: they count as known "
        "from this session on, and training sees no earlier ones. Give them a column 'available_at'."
    )  # fmt: skip
    after = _known_after_the_close(found, settings, as_of)
    return TakenIn(len(found.rows), count, _said(found, note if is_first and not found.dated else late, after))


def take_in_events(warehouse: Warehouse, settings: Settings, as_of: date) -> TakenIn:
    """Store the events of the source. The same source again stores nothing.

    A source without a column `known_at` says what is known today. So an event ahead that is gone from it is cancelled.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date
        The session the run stands on.

    Raises
    ------
    SourceError
        As of `read_events`.
    """
    found = read_events(settings)
    _put_into_quarantine(warehouse, found.bad, as_of)
    key = list(EVENT_KEY[:-1])
    rows = found.rows.unique(maintain_order=True)
    stored, seen = warehouse.events().select(*EVENT_KEY, "cancelled", "as_of"), _seen(warehouse, as_of)
    is_first = stored.filter(pl.col("as_of") != as_of).is_empty()
    gone = pl.DataFrame()
    if not found.dated:
        ahead = _newest(stored, key, "known_at").filter(~pl.col("cancelled"), pl.col("time") > _after(seen))
        told = pl.concat([rows, found.conflicting])  # what is said twice is not gone
        gone = ahead.join(told, on=key, how="anti")
        identified = told.filter(pl.col("event_id") != "").select("series_id", "group_name", "kind", "event_id")
        gone = gone.join(identified, on=identified.columns, how="anti")  # its newest row says where it is now
        gone = gone.with_columns(cancelled=pl.lit(True), known_at=pl.lit(None, stored.schema["known_at"]))
        rows = pl.concat([rows, gone.select(rows.columns)])
    parts = []
    for has_id, same in ((False, key), (True, key[:-1])):  # an event without an id is one time; one with an id moves
        own, told = (table.filter((pl.col("event_id") != "") == has_id) for table in (rows, stored))
        values = [name for name in (*key, "cancelled") if name not in same]
        parts.append(_dated(own, told, same, values, "known_at", as_of, seen, is_first))
    rows = pl.concat(parts)
    count = warehouse.store_events(rows)
    text = (
        f"{counted(len(gone), 'event ahead is', 'events ahead are')} gone from {found.name} and "
        f"{'counts' if len(gone) == 1 else 'count'} as cancelled."
        if len(gone)
        else ""
    )
    note = (
        "The events do not say from when they were known: those up to this session count as always known, which a "
        "backtest may find too good. Give them a column 'known_at'."
    )
    new = _new_names(rows, stored, ["kind"], as_of) or _new_names(rows, stored, ["series_id", "group_name"], as_of)
    late = "" if is_first or found.dated or not new else (
        f"The events of {shorten(new)} are new and do not say from when they were known: they count as known from this "
        "session on, and training sees no earlier ones. Give them a column 'known_at'."
    )  # fmt: skip
    return TakenIn(len(found.rows), count, _said(found, text, note if is_first and not found.dated else late))


def _known_after_the_close(found: AheadRows, settings: Settings, as_of: date) -> str:
    """A sentence on values of the next session that no forecast of `as_of` may use; empty without any."""
    if settings.calendar is None or not found.dated:
        return ""
    calendar = settings.sessions
    session = calendar.at_or_before(as_of)
    closes = calendar.closes(pl.Series([session]))[0]
    following = calendar.times(np.array([calendar.number_at(session) + 1]))[0]
    rows = found.rows.filter(pl.col("time") == following)
    first = rows.group_by("series_id", "group_name").agg(pl.col("available_at").min())["available_at"]
    earliest = None if first.null_count() else first.min()
    if not isinstance(earliest, datetime) or earliest <= closes:
        return ""
    return (
        f"The future covariates of {following} are known from {earliest:%Y-%m-%d %H:%M} UTC on, after {session} closed "
        f"({closes:%Y-%m-%d %H:%M} UTC): forecasts of {session} do not use them. If they are published before your "
        "runs begin, give them an 'available_at' that is not later than that close, such as the date of that session."
    )


def _new_names(rows: pl.DataFrame, stored: pl.DataFrame, columns: list[str], as_of: date) -> list[str]:
    """Names of series, groups or kinds that have rows of past sessions, and none that is stored."""
    past = rows.filter(pl.col("time").cast(pl.Date) < as_of)
    new = past.join(stored, on=columns, how="anti").select(columns).unique(maintain_order=True)
    return [next((name for name in names if name), "all series") for names in new.rows()]


def _put_into_quarantine(warehouse: Warehouse, bad: pl.DataFrame, as_of: date) -> None:
    """Store rows that cannot be used. The same rows again store nothing."""
    rows = bad.with_columns(as_of=pl.lit(as_of))
    warehouse.store_quarantine(rows.with_columns(occurrence=pl.int_range(pl.len()).over("rule", "original")))


def _said(found: AheadRows, *texts: str) -> tuple[str, ...]:
    return tuple(text for text in (found.left_out, *texts) if text)


def _seen(warehouse: Warehouse, as_of: date) -> date:
    """The newest session that the panel has seen: later news is known from then."""
    return max(as_of, warehouse.newest_seen() or as_of)


def _after(day: date) -> datetime:
    """The instant from which what is known on a day counts."""
    return datetime.combine(day, datetime.min.time(), UTC) + timedelta(microseconds=1)


def _newest(stored: pl.DataFrame, key: list[str], known: str) -> pl.DataFrame:
    return stored.sort(known, "as_of").unique(key, keep="last", maintain_order=True)


def _dated(
    rows: pl.DataFrame, stored: pl.DataFrame, key: list[str], values: list[str], known: str, as_of: date, seen: date,
    is_first: bool,
) -> pl.DataFrame:  # fmt: skip
    """The rows that are new or changed, each with the instant from which it was known."""
    instant = pl.lit(_after(seen))
    if is_first:
        passed = pl.col("time").cast(pl.Date) <= as_of
        instant = pl.when(passed).then(pl.lit(ALWAYS)).otherwise(instant)
    given, rewritten = _rewritten(rows.filter(pl.col(known).is_not_null()), stored, key, values, known, _after(seen))
    undated = rows.filter(pl.col(known).is_null()).unique(key, keep="last", maintain_order=True)
    undated = undated.with_columns(instant.cast(rows.schema[known]).alias(known))
    changed = pl.concat([undated, rewritten])
    before = _newest(stored, key, known).select(*key, *values, before=known)
    changed = changed.join(before, on=[*key, *values], how="anti", nulls_equal=True)
    changed = changed.join(before.select(*key, "before"), on=key, how="left", maintain_order="left")
    again = pl.col("before").is_between(pl.col(known), pl.col(known) + pl.duration(hours=1))  # news of one session
    later = pl.when(again).then(pl.col("before") + pl.duration(microseconds=1)).otherwise(known)
    changed = changed.with_columns(later.alias(known)).select(rows.columns)
    return pl.concat([given, changed]).with_columns(as_of=pl.lit(as_of))


def _rewritten(
    given: pl.DataFrame, stored: pl.DataFrame, key: list[str], values: list[str], known: str, now: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that stay as they are, and the newest of those whose source changed them without a new instant: known now.

    A column that was never delivered before may be added to rows that were.
    """
    told = [name for name in values if stored[name].is_not_null().any()]
    same = stored.select(*key, known, *told).unique()
    old = given.join(same, on=[*key, known], how="semi").join(
        same, on=[*key, known, *told], how="anti", nulls_equal=True
    )
    old = old.filter(pl.col(known) <= now)
    if old.is_empty():
        return given, old
    newest = given.filter(pl.col(known) <= now).group_by(key).agg(pl.col(known).max())
    rewritten = old.join(newest, on=[*key, known], how="semi").unique(key, keep="last", maintain_order=True)
    rewritten = rewritten.with_columns(pl.lit(now).cast(given.schema[known]).alias(known))
    return given.join(old, on=[*key, known], how="anti"), rewritten
