"""Which sessions a panel has, on which of them a run stands, and whether it is in time."""

from collections import Counter
from collections.abc import Mapping
from datetime import date

import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.infer import SeriesInference, infer_panel
from tidecast.features.calendars.odd_series import infer_contradicting
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.calendars.periodic import is_of_periods
from tidecast.flows.config.settings import CALENDARS, Settings
from tidecast.flows.errors import SourceError

_ANOTHER = (
    "For another, stop and give --calendar NAME (or TIDECAST_CALENDAR), e.g. XNYS; once forecasts are published, "
    "in a new folder (--home)."
)


def market_zone(settings: Settings) -> str | None:
    """The zone in which times that say their own are dated, None when the panel has no market's calendar."""
    name = settings.calendar or CALENDARS.get(settings.source)
    return get_calendar(name).market_zone if name else None


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
    zones = {name: calendar.market_zone for name, calendar in own.items()}
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


def choose_calendars(
    settings: Settings, rows: pl.DataFrame, stored: pl.DataFrame
) -> tuple[PanelCalendar, Settings, tuple[str, ...]]:
    """The calendar of each series, the settings with what was open decided, and what to tell about it.

    A series has the calendar that its rows name, now or before. The others have that of the settings, else of the
    bundled source. Without one, each has the calendar that its rows suggest, as in forecasters (`infer_panel`); the
    panel has that of most series. A series of one row a week or less has its own in any case. Where all series name
    theirs and the panel has none, the panel's is that of most rows.

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
    unnamed = rows.select("series_id", "time").drop_nulls().filter(~pl.col("series_id").is_in(list(own)))
    name = settings.calendar or CALENDARS.get(settings.source)
    if name is None and own and unnamed.is_empty():
        name = _names(rows, stored)["calendar"].mode().sort()[0]
    if name is None:
        usual, found, told = _inferred(unnamed)
    else:
        usual = get_calendar(name)
        found = [one for one in infer_contradicting(unnamed, usual) if is_of_periods(one.found.calendar)]
        told = tuple(
            f"Some rows are not like those of {usual.name}. Their series have another calendar from now on: "
            f"{one.describe()}. For another, name it in a column 'calendar'."
            for one in found
        )
    inferred = {series_id: one.found.calendar for one in found for series_id in one.series}
    calendar = PanelCalendar(usual, {**own, **inferred}, inferred)
    others = sorted({*settings.calendars, *(one.name for one in calendar.own.values())} - {usual.name})
    decided = settings.model_copy(update={"calendar": usual.name, "calendars": tuple(others)})
    if own:
        count = Counter(one.name for one in own.values())
        told = (*told, f"Series that name their calendar: {', '.join(f'{count[name]} {name}' for name in count)}.")
    return calendar, decided, told


def _inferred(rows: pl.DataFrame) -> tuple[Calendar, list[SeriesInference], tuple[str, ...]]:
    """The panel's calendar, that of series with another one, and what to tell about them."""
    if rows.is_empty():
        return get_calendar("weekdays"), [], ("No calendar was given: weekdays are taken for sessions. " + _ANOTHER,)
    usual, *others = infer_panel(rows)
    told = [f"No calendar was given: {usual.describe()}. {_ANOTHER}"]
    told += [f"Another calendar is taken for some series: {one.describe()}." for one in others]
    told += [f"In doubt: {one.found.doubt}." for one in (usual, *others) if one.found.doubt]
    return usual.found.calendar, others, tuple(told)


def with_inferred(rows: pl.DataFrame, calendar: PanelCalendar) -> pl.DataFrame:
    """Return the rows with the calendar of each series whose own was inferred, so that it is stored and kept."""
    names = {series_id: calendar.own[series_id].name for series_id in calendar.inferred}
    if not names:
        return rows
    named = rows["series_id"].replace_strict(names, default=None, return_dtype=pl.String)
    kept = [pl.col("calendar")] if "calendar" in rows.columns else []
    return rows.with_columns(calendar=pl.coalesce(*kept, named))


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
        Two days; see `tidecast.flows.ingest.ingest.Ingested.newest`.
    calendar : Calendar
        The panel's sessions.
    """
    return calendar.number_at(newest) - calendar.number_at(as_of) <= 1
