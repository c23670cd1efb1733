"""Deliveries: how far back a source is read, and its rows as names, dates and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import shorten
from tidecast.features.session_dates import refuse_other_zone
from tidecast.flows.config.column_names import STANDARD, refuse_look_alikes, with_prefix
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.calendars import choose_calendars, market_zones, own_calendars, resolve_as_of, with_inferred
from tidecast.flows.ingest.closing import open_rows, waiting_text
from tidecast.flows.ingest.corporate_actions import NO_ACTION
from tidecast.flows.ingest.extra_columns import empty_columns, extra_columns
from tidecast.flows.parsing.clear_errors import one_clear_error
from tidecast.flows.parsing.fetched import SPLIT_IN_DOUBT
from tidecast.flows.parsing.values import dates_by_zone, finite, is_present, names, numbers
from tidecast.flows.redaction import beginning
from tidecast.flows.rules.check import can_be_prices, check_rows
from tidecast.flows.sources import Fetched, Source
from tidecast.flows.sources.prefetch import fetch, reaches_back, read_source
from tidecast.flows.warehouse.schema import VALUES
from tidecast.flows.warehouse.warehouse import Warehouse

ADVICE = {
    "unreadable_time": "Times must be in ISO 8601, like 2024-12-31 or 2024-12-31T17:30:00+01:00. Day or month first is "
    "not read, because 10/12/2024 means two days; a month alone is not a day. docs/tutorial/own_data.md has the lines "
    "that convert a file.",
    "unreadable_price": "Prices must be numbers with a decimal point, like 1234.5. Thousands separators are read where "
    "the whole column shows what they are, as 1,234.50 does; 1,234 alone and decimal commas are not read, "
    "nor are points between thousands. docs/tutorial/own_data.md has the lines that convert a file.",
    "not_positive": "If prices may be zero or negative, set TIDECAST_POSITIVE=false.",
    "not_a_session": "Give another calendar: --calendar NAME (or TIDECAST_CALENDAR), 24/7 if every day is a session.",
    "unreadable_known_at": "Days must be ISO dates like 2024-12-31. Else it is unclear when the price was known.",
    "conflicting_duplicate": "Is there a column that tells the series apart? Name it with --series-id.",
}
"""Advice to users on rows that break a rule."""

FEW = 0.1
"""Share of sessions with several times of day above which a source is intraday."""

OTHER_NUMBERS = (*VALUES[1:], *NO_ACTION, "adj_close")
"""Numbers of a row besides the close."""

AT_LEAST_ZERO = ("volume", *NO_ACTION)
"""Numbers that cannot be below zero."""


@dataclass(frozen=True)
class Delivery:
    """A delivery, read but not checked.

    Attributes
    ----------
    as_of : date
        The session the run stands on.
    fetched : Fetched
        The rows as they came.
    rows : polars.DataFrame
        series_id, time, close and other columns, null where they cannot be read. `row` is the row's number in the
        source, `clock` the time of day, `present` whether the price's cell held anything. `undated` and `unread` say
        whether a known_at, or a number besides the close, was there and cannot be used.
    calendar : PanelCalendar
    settings : Settings
        With the calendar decided.
    sessions : tuple of date
        The first and the last session with a usable price.
    messages : tuple of str
        Messages for the user.
    n_open : int
        Rows that are left out of `rows` because their session has not closed.
    """

    as_of: date
    fetched: Fetched
    rows: pl.DataFrame
    calendar: PanelCalendar
    settings: Settings
    sessions: tuple[date, date]
    messages: tuple[str, ...]
    n_open: int = 0


def read_delivery(
    source: Source, warehouse: Warehouse, settings: Settings, as_of: date | None, today: date | None,
    now: datetime | None = None,
) -> Delivery:  # fmt: skip
    """Read from the source the rows that a run of `as_of` needs; see `tidecast.flows.ingest.ingest.ingest`.

    The first day asked for is `first_day_needed`. Without an `as_of`, that day is certain only once the source has
    answered. If a run of that session began before, the source is asked again, for more, unless it gave all it has. Of
    series that no earlier run has stored, the whole history is read.

    Parameters
    ----------
    source : Source
    warehouse : Warehouse
        Says which sessions, series and columns are stored.
    settings : Settings
    as_of, today, now : date, date and datetime, or None
        As of `tidecast.flows.ingest.ingest.ingest`.

    Raises
    ------
    SourceError
        No row is usable, no session has closed, the source is intraday or begins after `as_of`, or a covariate is
        missing.
    """

    def read(fetched: Fetched, since: date | None) -> Delivery:
        with one_clear_error(source.name, "Write the column that the error names as text or numbers, and run again."):
            return _read(fetched, source.name, since, warehouse, settings, as_of, today, now)

    if extra := (*settings.covariates, *settings.static):
        refuse_look_alikes(extra, "covariates and static must have", warehouse.kinds())
    since, fetched = fetch(source, settings, first_day_needed(warehouse, settings, as_of))
    delivery = read(fetched, since)
    if since is None or fetched.whole:
        return delivery
    needed = first_day_needed(warehouse, settings, delivery.as_of)
    if not reaches_back(since, needed):
        since = needed
        delivery = read(read_source(source, since), since)
    if since is None:
        return delivery
    usable = delivery.rows.filter(can_be_prices(delivery.rows, delivery.calendar, settings.positive, today))
    if new := warehouse.newcomers(usable["series_id"].unique(), delivery.as_of):
        delivery = read(_with_history(delivery.fetched, source, new), since)
        message = f"New series, read with their whole history: {shorten(new)}."
        delivery = replace(delivery, messages=(*delivery.messages, message))
    return delivery


def first_day_needed(warehouse: Warehouse, settings: Settings, as_of: date | None) -> date | None:
    """First day that a source is asked for; None: all it has.

    It lies `reread_sessions` sessions before the newest one that runs before `as_of` (None: all runs) have stored.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
        `reread_sessions`, and the calendars.
    as_of : date or None
    """
    newest = warehouse.newest_session(before=as_of)
    if newest is None or settings.calendar is None:
        return None
    return _sessions_before(settings.sessions, newest, settings.reread_sessions)


def _sessions_before(calendar: Calendar, day: date, count: int) -> date:
    """The session `count` sessions before the one at or before `day`, or the calendar's first."""
    number = calendar.numbers(pl.Series([calendar.at_or_before(day)]))[0]
    session: date = calendar.times(np.array([max(number - count, 0)]))[0]
    return session


def _with_history(fetched: Fetched, source: Source, series: Sequence[str]) -> Fetched:
    """The rows that were fetched, with the whole history of these series instead of their newest rows."""
    whole = read_source(source, None, series)
    history = whole.where(names(whole.rows["series_id"]).is_in(series))
    replaced = names(history.rows["series_id"]).unique().implode()
    return fetched.where(~names(fetched.rows["series_id"]).is_in(replaced).fill_null(False)).followed_by(history)


def _read(
    fetched: Fetched,
    source: str,
    since: date | None,
    warehouse: Warehouse,
    settings: Settings,
    as_of: date | None,
    today: date | None,
    now: datetime | None,
) -> Delivery:
    stored = warehouse.calendars()
    rows, notes = _rows(fetched, settings, stored, source, warehouse.kinds())
    if rows.is_empty():
        raise SourceError(
            f"A source must have a usable price; {source} has no rows from {since or 'any day'} on. Check that it is "
            "still filled and that it is the source of this panel."
        )
    _refuse_intraday(rows, source)
    by_then = rows.filter(pl.col("time") <= (as_of or date.max))
    calendar, settings, chosen = choose_calendars(settings, rows if by_then.is_empty() else by_then, stored)
    rows = with_inferred(rows, calendar)
    rows, n_open, waits = _closed(rows, calendar, as_of, today, now)
    usable = rows.filter(can_be_prices(rows, calendar, settings.positive, today))
    oldest, newest = warehouse.oldest_session(), warehouse.newest_session()
    if usable.is_empty() and n_open:
        if oldest is None or newest is None:
            raise SourceError(
                f"A source must have a price of a session that has closed; {source} has none. {waits}".strip()
            )
        first, last = oldest, newest
    elif usable.is_empty():
        rule = check_rows(rows, rows.clear(), calendar, settings, today).rule
        raise SourceError(_why_unusable(rows.with_columns(rule), fetched, settings, source))
    else:
        first, last = usable.select(first=pl.col("time").min(), last=pl.col("time").max()).row(0)
    session, where = resolve_as_of(
        as_of, settings.sessions, min(first, oldest or first), last, max(last, newest or last)
    )
    messages = (*notes, *chosen, *([waits] if waits else []), *where)
    return Delivery(session, fetched, rows, calendar, settings, (first, last), messages, n_open)


def _closed(
    rows: pl.DataFrame, calendar: PanelCalendar, as_of: date | None, today: date | None, now: datetime | None
) -> tuple[pl.DataFrame, int, str]:
    """Rows without those whose session closes after `now`; how many those are; and a message, or nothing.

    The message is on rows up to `as_of`: a run of an earlier session would not take the others in anyway. Rows dated
    after `today` stay: on no place on earth their day has begun, so they break a rule.
    """
    waiting = open_rows(rows.filter(pl.col("time") <= (today or date.max)), calendar, now)
    if waiting.is_empty():
        return rows, 0, ""
    wanted = waiting.filter(pl.col("time") <= (as_of or date.max))
    message = "" if wanted.is_empty() else waiting_text(wanted, calendar)
    return rows.join(waiting, on="row", how="anti"), waiting.height, message


def _rows(
    fetched: Fetched, settings: Settings, stored: pl.DataFrame, source: str, kinds: Mapping[str, pl.DataType]
) -> tuple[pl.DataFrame, list[str]]:
    """The rows as names, dates and numbers, each time in the zone of its series' market; and messages on them."""
    raw = fetched.rows
    rows = pl.DataFrame({"series_id": names(raw["series_id"])}).with_row_index("row")
    if "calendar" in raw.columns:
        rows = rows.with_columns(names(raw["calendar"]).alias("calendar"))
    zones = market_zones(rows["series_id"], settings, own_calendars(rows, stored))
    time, clock, as_written = dates_by_zone(raw["time"], zones)
    _refuse_other_zone(rows.with_columns(time=time), clock, zones)
    close, present = numbers(raw["close"])
    known_at = dates_by_zone(raw["known_at"], zones)[0] if "known_at" in raw.columns else pl.lit(None, pl.Date)
    rows = rows.with_columns(time=time, clock=clock, close=close, present=present, known_at=known_at)
    if "known_at" in raw.columns:
        rows = rows.with_columns(undated=is_present(raw["known_at"]) & rows["known_at"].is_null())
    rows = rows.with_columns(  # no price is known before its session
        known_at=pl.when(pl.col("known_at").is_not_null()).then(pl.max_horizontal("known_at", "time"))
    )
    rows = rows.with_columns(_other_numbers(raw)).with_columns(extra_columns(fetched, settings, source, kinds))
    if SPLIT_IN_DOUBT in raw.columns and raw[SPLIT_IN_DOUBT].dtype == pl.Boolean:
        rows = rows.with_columns(raw[SPLIT_IN_DOUBT])
    if "dividend" in rows.columns and not settings.positive:  # prices are adjusted by its share of the close
        shareless = (pl.col("dividend") > 0) & (pl.col("close") <= 0)
        rows = rows.with_columns(dividend=pl.when(~shareless.fill_null(False)).then("dividend"))
    rows = rows.with_columns(unread=_unread(fetched, rows, settings.covariates))
    notes = [*fetched.messages, *empty_columns(fetched, settings)]
    if as_written:
        notes.append(
            "All times are midnights of their own zone. They are read as the dates they are written with, not "
            f"converted to the market's zone ({', '.join(as_written)})."
        )
    return rows, notes


def _refuse_other_zone(rows: pl.DataFrame, clock: pl.Series, zones: pl.Series) -> None:
    """Refuse times with a clock whose market nobody named and whose days show that it lies elsewhere."""
    unnamed = rows.filter(zones.is_null() & (clock.cast(pl.Int64) != 0)).drop_nulls(["series_id", "time"])
    try:
        refuse_other_zone(unnamed, "Give dates, or name the market: --calendar XTKS, or a column 'calendar'.")
    except ValueError as error:
        raise SourceError(str(error)) from None


def _other_numbers(raw: pl.DataFrame) -> list[pl.Series]:
    """Numbers besides the close; null where they are impossible."""
    read = [finite(raw[name]) for name in OTHER_NUMBERS if name in raw.columns]
    return [values.set(values < 0, None) if values.name in AT_LEAST_ZERO else values for values in read]


def _unread(fetched: Fetched, rows: pl.DataFrame, covariates: Sequence[str]) -> pl.Series:
    """Whether a row of the source has a number besides the close that is null in `rows`."""
    columns = [fetched.rows[name] for name in OTHER_NUMBERS if name in fetched.rows.columns]
    if fetched.raw is not None:
        of_user = [fetched.raw[name] for name in covariates if name not in STANDARD]
        columns += [values.alias(with_prefix(values.name)) for values in of_user]
    unread = pl.Series([False]).new_from_index(0, rows.height)
    for values in columns:
        unread = unread | (is_present(values) & rows[values.name].is_null())
    return unread


def _refuse_intraday(rows: pl.DataFrame, source: str) -> None:
    """Refuse bars within the day. A few sessions with a second time, such as that of a live quote, are accepted."""
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
            f"times on {day}{more}. Keep one row a day, such as the close: docs/sources.md has a query for it. Of "
            "hourly electricity, make each hour a series: docs/events.md. To forecast the bars themselves, use Python "
            'and PanelSchema(calendar="XNYS 30m").'
        )


def _why_unusable(rows: pl.DataFrame, fetched: Fetched, settings: Settings, source: str) -> str:
    counts = rows["rule"].value_counts(sort=True)
    broken = ", ".join(f"{count} {rule}" for rule, count in counts.iter_rows())
    first = fetched.originals(rows.filter(pl.col("rule") == counts["rule"][0])["row"].head(1))[0]
    return (
        f"A source must have a usable price, but every row of {source} breaks a rule: {broken}. "
        f"The first is {beginning(first, 200)}.{_column_read(counts['rule'][0], settings, fetched.layout)} "
        f"{ADVICE.get(counts['rule'][0], '')}"
    ).strip()


def _column_read(rule: str, settings: Settings, layout: str) -> str:
    """Name the column that a rule is about: a flag may have named another one than was meant."""
    columns = {"unreadable_time": ("times", settings.time)}
    if layout == "long":
        columns["unreadable_price"] = ("prices", settings.target)
    if rule not in columns:
        return ""
    what, column = columns[rule]
    return f" Its {what} were read from the column {column!r}."
