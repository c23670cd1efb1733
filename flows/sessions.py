"""Which sessions a panel has, on which of them a run stands, and whether it is in time."""

from collections import Counter
from collections.abc import Mapping
from datetime import date

import polars as pl

from features.calendar import Calendar, get_calendar
from features.panel_calendar import PanelCalendar
from flows.errors import SourceError
from flows.settings import CALENDARS, Settings

WEEKEND_SHARE = 0.1
"""With at least this share of its rows on weekends, a source has sessions every day."""

NO_MARKET = ("weekdays", "24/7")
"""Calendars of no market in particular: there, a time that says its zone keeps the date it is written with."""

_ANOTHER = (
    "For another, stop and give --calendar NAME (or TIDECAST_CALENDAR), e.g. XNYS; once forecasts are published, "
    "in a new folder (--home)."
)


def market_zone(settings: Settings) -> str | None:
    """The zone in which times that say their own are dated, None when the panel has no market's calendar."""
    name = settings.calendar or CALENDARS.get(settings.source)
    return get_calendar(name).time_zone if name and name not in NO_MARKET else None


def market_zones(series_id: pl.Series, settings: Settings, own: Mapping[str, Calendar]) -> pl.Series:
    """The zone of each series' market, by name; null where it has none in particular.

    Parameters
    ----------
    series_id : Series of str
    settings : Settings
        The panel's calendar, for series without one of their own.
    own : mapping of str to Calendar
        See `own_calendars`.
    """
    usual = market_zone(settings)
    zones = {name: None if calendar.name in NO_MARKET else calendar.time_zone for name, calendar in own.items()}
    if not zones:
        return pl.repeat(usual, len(series_id), dtype=pl.String, eager=True)
    return series_id.replace_strict(zones, default=usual, return_dtype=pl.String)


def own_calendars(rows: pl.DataFrame, stored: pl.DataFrame) -> Mapping[str, Calendar]:
    """The calendar of each series whose rows name one, now or before.

    Parameters
    ----------
    rows, stored : polars.DataFrame
        As of `choose_calendars`.

    Raises
    ------
    SourceError
        A series names two calendars, or one that does not exist or is of bars within the day.
    """
    try:
        own = PanelCalendar.named(_names(rows, stored)).own
        intraday = [calendar.name for calendar in own.values() if calendar.intraday]
    except ValueError as error:
        raise SourceError(f"{error}") from None
    if intraday:
        raise SourceError(f"The daily flow needs calendars of days, {intraday[0]!r} is of bars within the day.")
    return own


def _names(rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """What rows name as their series' calendar."""
    named = [frame.select("series_id", "calendar") for frame in (stored, rows) if "calendar" in frame.columns]
    return pl.concat(named).drop_nulls() if named else pl.DataFrame(schema={"series_id": pl.String})


def choose_calendar(settings: Settings, times: pl.Series) -> tuple[Calendar, tuple[str, ...]]:
    """The panel's calendar, and what to tell about it.

    As set; else that of the bundled source; else weekdays, or every day when at least a tenth of the rows lie on
    weekends.
    """
    name = settings.calendar or CALENDARS.get(settings.source)
    if name:
        return get_calendar(name), ()
    weekend = (times.dt.weekday() > 5).mean()
    share = float(weekend) if isinstance(weekend, float) else 0.0
    if share >= WEEKEND_SHARE:
        why = f"{share:.0%} of the rows lie on weekends, so every day is a session (24/7)."
        return get_calendar("24/7"), (f"No calendar was given: {why} {_ANOTHER}",)
    why = "weekdays, Monday to Friday, are taken for sessions."
    return get_calendar("weekdays"), (f"No calendar was given: {why} {_ANOTHER}",)


def choose_calendars(
    settings: Settings, rows: pl.DataFrame, stored: pl.DataFrame
) -> tuple[PanelCalendar, Settings, tuple[str, ...]]:
    """The calendar of each series, the settings with what was open decided, and what to tell about it.

    A series has the calendar that its rows name, now or before; the others have that of the panel, chosen as by
    `choose_calendar`. Where all series name theirs and the panel has none, it is that of most rows.

    Parameters
    ----------
    settings : Settings
    rows : polars.DataFrame
        series_id and time as they came; calendar, if the source has it.
    stored : polars.DataFrame
        series_id and calendar of rows stored before that name one; may be empty.

    Raises
    ------
    SourceError
        A series names two calendars, or one that does not exist or is of bars within the day.
    """
    own = own_calendars(rows, stored)
    times = rows.filter(~pl.col("series_id").is_in(list(own)).fill_null(False))["time"].drop_nulls()
    usual, told = None, tuple[str, ...]()
    if settings.calendar is None and settings.source not in CALENDARS and own and times.is_empty():
        usual = get_calendar(_names(rows, stored)["calendar"].mode().sort()[0])
    if usual is None:
        usual, told = choose_calendar(settings, times)
    calendar = PanelCalendar(usual, own)
    others = sorted({*settings.calendars, *(one.name for one in own.values())} - {usual.name})
    decided = settings.model_copy(update={"calendar": usual.name, "calendars": tuple(others)})
    if own:
        count = Counter(one.name for one in own.values())
        told = (*told, f"Series that name their calendar: {', '.join(f'{count[name]} {name}' for name in count)}.")
    return calendar, decided, told


def resolve_as_of(
    asked: date | None, calendar: Calendar, first: date, newest_in_source: date, newest: date
) -> tuple[date, tuple[str, ...]]:
    """The session a run stands on, and what to tell about it.

    Parameters
    ----------
    asked : date or None
        None: the newest session of the source. A day that is no session resolves to the session before. A day after
        `newest` resolves to that one: no later session is known to have taken place.
    calendar : Calendar
        The panel's sessions.
    first, newest_in_source, newest : date
        The first session with a price, the newest of the source, and the newest of source and store.

    Raises
    ------
    SourceError
        There is no price at or before `asked`.
    """
    if asked is None:
        return newest_in_source, ()
    if asked < first:
        raise SourceError(f"as_of must not lie before the first price, of {first}, got {asked}. Give a later session.")
    if asked > newest:
        return newest, (f"No price after {newest} is known: the run stands on that session, not on {asked}.",)
    session = calendar.at_or_before(asked)
    told = f"{asked} is no session of {calendar.name}: the run stands on {session}, the session before."
    return session, () if session == asked else (told,)


def is_live(as_of: date, newest: date, calendar: Calendar) -> bool:
    """Whether forecasts of `as_of` come in time: at most one session before the newest that the panel has seen.

    Parameters
    ----------
    as_of, newest : date
        Two days; see `flows.ingest.Ingested.newest`.
    calendar : Calendar
        The panel's sessions.
    """
    return calendar.number_at(newest) - calendar.number_at(as_of) <= 1
