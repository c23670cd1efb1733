"""What a source gives for a session: how far back it is asked, and its rows read as names, dates and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import shorten
from tidecast.flows.config.column_names import STANDARD, refuse_look_alikes, with_prefix
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.calendars import choose_calendars, market_zones, own_calendars, resolve_as_of, with_inferred
from tidecast.flows.ingest.corporate_actions import NO_ACTION
from tidecast.flows.ingest.extra_columns import empty_columns, further_columns
from tidecast.flows.parsing.values import dates_by_zone, finite, given, names, numbers
from tidecast.flows.rules.check import can_be_prices, check_rows
from tidecast.flows.sources import Fetched, Source
from tidecast.flows.sources.base import SPLIT_IN_DOUBT
from tidecast.flows.sources.clear_errors import one_clear_error
from tidecast.flows.sources.prefetch import asked, fetch, reaches_back
from tidecast.flows.warehouse.schema import VALUES
from tidecast.flows.warehouse.warehouse import Warehouse

ADVICE = {
    "unreadable_time": "Times must be in ISO 8601, like 2024-12-31 or 2024-12-31T17:30:00+01:00. Day or month first is "
    "not read, because 10/12/2024 means two days; a month alone is not a day.",
    "unreadable_price": "Prices must be numbers with a decimal point, like 1234.5. Thousands separators are read where "
    "the whole column shows what they are, as 1,234.50 does; 1,234 alone and decimal commas are not read.",
    "not_positive": "Where prices may be zero or negative, set TIDECAST_POSITIVE=false.",
    "not_a_session": "Give another calendar: --calendar NAME (or TIDECAST_CALENDAR), 24/7 if every day is a session.",
    "unreadable_known_at": "Days must be ISO dates like 2024-12-31, or it is not known who could have used the price.",
    "conflicting_duplicate": "Is a column missing that tells the series apart? Name it with --series-id.",
}


FEW = 0.1
"""With more than this share of sessions that have several times of day, a source is intraday."""

AT_LEAST_ZERO = ("volume", *NO_ACTION)
"""Numbers that mean nothing below zero."""


@dataclass(frozen=True)
class Delivery:
    """A delivery, read but not checked.

    Attributes
    ----------
    as_of : date
        The session on which a run with it stands.
    fetched : Fetched
        As it came.
    rows : polars.DataFrame
        series_id, time, close and what else is read of it, null where it cannot be read. `row` is a row's place in the
        source, `clock` the time of day, `present` whether there was anything for a price; `undated` and `unread`,
        whether a known_at, or a number beside the price, was given and cannot be used.
    calendar : PanelCalendar
    settings : Settings
        With the calendar decided.
    sessions : tuple of date
        The first and the last with a price that can be used.
    messages : tuple of str
        What a person should be told.
    """

    as_of: date
    fetched: Fetched
    rows: pl.DataFrame
    calendar: PanelCalendar
    settings: Settings
    sessions: tuple[date, date]
    messages: tuple[str, ...]


def take_delivery(
    source: Source, warehouse: Warehouse, settings: Settings, as_of: date | None, today: date | None
) -> Delivery:
    """Ask the source for what a run of `as_of` needs; see `tidecast.flows.ingest.ingest.ingest`.

    It is asked from `reread_sessions` before the newest session that runs of an earlier `as_of` have stored. Without an
    `as_of` that is known only once it has answered: when a run of that session was begun before, it is asked again, for
    more, unless it gave all it has. Of series that no such run has stored, it is asked for their whole history.

    Raises
    ------
    SourceError
        There is no row that can be used, the source is intraday or begins after `as_of`, or a covariate is missing.
    """

    def read(fetched: Fetched) -> Delivery:
        with one_clear_error(source.name, "Write the column that it names as text or numbers, and run again."):
            return _read(fetched, source.name, since, warehouse, settings, as_of, today)

    further = (*settings.covariates, *settings.static)
    if further:
        refuse_look_alikes(further, "covariates and static must have", warehouse.kinds())
    since, fetched = fetch(source, settings, first_day_needed(warehouse, settings, as_of))
    delivery = read(fetched)
    if since is None or fetched.whole:
        return delivery
    needed = first_day_needed(warehouse, settings, delivery.as_of)
    if not reaches_back(since, needed):
        since = needed
        delivery = read(asked(source, since))
    if since is None:
        return delivery
    usable = delivery.rows.filter(can_be_prices(delivery.rows, delivery.calendar, settings.positive, today))
    if new := warehouse.newcomers(usable["series_id"].unique(), delivery.as_of):
        delivery = read(_with_history(delivery.fetched, source, new))
        told = f"New series, read with their whole history: {shorten(new)}."
        delivery = replace(delivery, messages=(*delivery.messages, told))
    return delivery


def first_day_needed(warehouse: Warehouse, settings: Settings, as_of: date | None) -> date | None:
    """The day from which on the source is asked for rows; None: for all it has.

    `reread_sessions` sessions before the newest one that runs before `as_of` (None: all runs) have stored.
    """
    newest = warehouse.newest_session(before=as_of)
    if newest is None or settings.calendar is None:
        return None
    return _sessions_before(settings.sessions, newest, settings.reread_sessions)


def _sessions_before(calendar: Calendar, day: date, count: int) -> date:
    """The session that lies `count` sessions before the one at or before that day, or the calendar's first."""
    number = calendar.numbers(pl.Series([calendar.at_or_before(day)]))[0]
    session: date = calendar.times(np.array([max(number - count, 0)]))[0]
    return session


def _with_history(fetched: Fetched, source: Source, series: Sequence[str]) -> Fetched:
    """What was fetched, with all that the source has of these series in the place of their newest rows."""
    whole = asked(source, None, series)
    history = whole.where(names(whole.rows["series_id"]).is_in(series))
    there = names(history.rows["series_id"]).unique().implode()
    return fetched.where(~names(fetched.rows["series_id"]).is_in(there).fill_null(False)).beside(history)


def _read(
    fetched: Fetched,
    source: str,
    since: date | None,
    warehouse: Warehouse,
    settings: Settings,
    as_of: date | None,
    today: date | None,
) -> Delivery:
    stored = warehouse.calendars()
    rows, told = _rows(fetched, settings, stored, source, warehouse.kinds())
    if rows.is_empty():
        raise SourceError(
            f"A source must have a price that can be used; {source} has no rows from {since or 'any day'} on. See "
            "whether it is still filled, and whether it is the source of this panel."
        )
    _refuse_intraday(rows, source)
    by_then = rows.filter(pl.col("time") <= (as_of or date.max))
    calendar, settings, chosen = choose_calendars(settings, rows if by_then.is_empty() else by_then, stored)
    rows = with_inferred(rows, calendar)
    usable = rows.filter(can_be_prices(rows, calendar, settings.positive, today))
    if usable.is_empty():
        rule = check_rows(rows, rows.clear(), calendar, settings, today).rule
        raise SourceError(_why_useless(rows.with_columns(rule), fetched, source))
    first, last = usable.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
    oldest, newest = warehouse.oldest_session() or first, warehouse.newest_session() or last
    session, where = resolve_as_of(as_of, settings.sessions, min(first, oldest), last, max(last, newest))
    return Delivery(session, fetched, rows, calendar, settings, (first, last), (*told, *chosen, *where))


def _rows(
    fetched: Fetched, settings: Settings, stored: pl.DataFrame, source: str, kinds: Mapping[str, pl.DataType]
) -> tuple[pl.DataFrame, list[str]]:
    """The rows as names, dates and numbers, each time in the zone of its series' market, and what to tell about it."""
    raw = fetched.rows
    rows = pl.DataFrame({"series_id": names(raw["series_id"])}).with_row_index("row")
    if "calendar" in raw.columns:
        rows = rows.with_columns(names(raw["calendar"]).alias("calendar"))
    zones = market_zones(rows["series_id"], settings, own_calendars(rows, stored))
    time, clock, as_written = dates_by_zone(raw["time"], zones)
    close, present = numbers(raw["close"])
    known_at = dates_by_zone(raw["known_at"], zones)[0] if "known_at" in raw.columns else pl.lit(None, pl.Date)
    rows = rows.with_columns(time=time, clock=clock, close=close, present=present, known_at=known_at)
    if "known_at" in raw.columns:
        rows = rows.with_columns(undated=given(raw["known_at"]) & rows["known_at"].is_null())
    rows = rows.with_columns(  # no price is known before its session
        known_at=pl.when(pl.col("known_at").is_not_null()).then(pl.max_horizontal("known_at", "time"))
    )
    rows = rows.with_columns(_other_numbers(raw)).with_columns(further_columns(fetched, settings, source, kinds))
    if SPLIT_IN_DOUBT in raw.columns and raw[SPLIT_IN_DOUBT].dtype == pl.Boolean:
        rows = rows.with_columns(raw[SPLIT_IN_DOUBT])
    if "dividend" in rows.columns and not settings.positive:  # it would be undone by its share of the price
        none = (pl.col("dividend") > 0) & (pl.col("close") <= 0)
        rows = rows.with_columns(dividend=pl.when(~none.fill_null(False)).then("dividend"))
    rows = rows.with_columns(unread=_unread(fetched, rows, settings.covariates))
    told = [*fetched.messages, *empty_columns(fetched, settings)]
    if as_written:
        told.append(
            "All times are midnights of a zone of their own, and are taken as the dates they are written with, not "
            f"converted to the market's zone ({', '.join(as_written)})."
        )
    return rows, told


def _other_numbers(raw: pl.DataFrame) -> list[pl.Series]:
    """What is known of a session beside its close, null where that can be no such number."""
    read = [finite(raw[name]) for name in (*VALUES[1:], *NO_ACTION, "adj_close") if name in raw.columns]
    return [values.set(values < 0, None) if values.name in AT_LEAST_ZERO else values for values in read]


def _unread(fetched: Fetched, rows: pl.DataFrame, covariates: Sequence[str]) -> pl.Series:
    """Whether a number beside the close was given in a row, and is not in `rows`."""
    beside = [fetched.rows[name] for name in (*VALUES[1:], *NO_ACTION, "adj_close") if name in fetched.rows.columns]
    if fetched.raw is not None:
        further = [fetched.raw[name] for name in covariates if name not in STANDARD]
        beside += [values.alias(with_prefix(values.name)) for values in further]
    unread = pl.Series([False]).new_from_index(0, rows.height)
    for values in beside:
        unread = unread | (given(values) & rows[values.name].is_null())
    return unread


def _refuse_intraday(rows: pl.DataFrame, source: str) -> None:
    """Refuse bars within the day. A few sessions with a second time, such as that of a live quote, are no such bars."""
    sessions = (
        rows.drop_nulls(["series_id", "time", "clock"])
        .group_by("series_id", "time", maintain_order=True)
        .agg(pl.col("clock").n_unique())
    )
    several = sessions.filter(pl.col("clock") > 1)
    if several.height > FEW * sessions.height:
        series_id, day, times = several.row(0)
        more = f" (and {several.height - 1} more like it)" if several.height > 1 else ""
        raise SourceError(
            f"A panel must have one price per series and session, but {source} is intraday: {series_id!r} has {times} "
            f"times on {day}{more}. Keep one row a day, such as the close: docs/sources.md shows a query for it. "
            'Bars themselves are forecast in Python, with PanelSchema(calendar="XNYS 30m").'
        )


def _why_useless(rows: pl.DataFrame, fetched: Fetched, source: str) -> str:
    counts = rows["rule"].value_counts(sort=True)
    broken = ", ".join(f"{count} {rule}" for rule, count in counts.iter_rows())
    first = fetched.originals(rows.filter(pl.col("rule") == counts["rule"][0])["row"].head(1))[0]
    return (
        f"A source must have a price that can be used; in {source} every row breaks a rule: {broken}. "
        f"The first is {' '.join(first.split())[:200]}. {ADVICE.get(counts['rule'][0], '')}"
    ).strip()
