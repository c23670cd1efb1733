"""Choose the calendars of a panel and the session of a run."""

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
from tidecast.features.error_text import shorten
from tidecast.flows.config.settings import CALENDARS, Settings
from tidecast.flows.errors import SourceError

_ANOTHER = (
    "For another, stop and give --calendar NAME (or TIDECAST_CALENDAR), e.g. XNYS; once forecasts are published, "
    "start in a new folder (--home)."
)

FEWEST_WEEKEND_DAYS = 8
"""Saturdays and Sundays of a series from which it is concluded that its weekends were filled."""


def market_zone(settings: Settings) -> str | None:
    """Zone in which times with a zone are dated; None if the panel has no market's calendar.

    Parameters
    ----------
    settings : Settings
        `calendar`, else that of a bundled source.
    """
    name = settings.calendar or CALENDARS.get(settings.source)
    return get_calendar(name).market_zone if name else None


def market_zones(series_id: pl.Series, settings: Settings, own: Mapping[str, Calendar]) -> pl.Series:
    """Name of the zone of each series' market; null where its calendar has none.

    Parameters
    ----------
    series_id : Series of str
    settings : Settings
        The panel's calendar, for series without one of their own.
    own : mapping of str to Calendar
        As of `own_calendars`.

    Returns
    -------
    polars.Series of String
    """
    usual = market_zone(settings)
    zones = {name: calendar.market_zone for name, calendar in own.items()}
    if not zones:
        return pl.repeat(usual, len(series_id), dtype=pl.String, eager=True)
    return series_id.replace_strict(zones, default=usual, return_dtype=pl.String)


def own_calendars(rows: pl.DataFrame, stored: pl.DataFrame) -> Mapping[str, Calendar]:
    """Calendars of the series whose rows name one, now or before.

    Parameters
    ----------
    rows, stored : polars.DataFrame
        As of `choose_calendars`.

    Raises
    ------
    SourceError
        A series names two calendars, one that does not exist, or one of bars within the day.
    """
    try:
        own = PanelCalendar.named(_names(rows, stored)).own
        intraday = [calendar.name for calendar in own.values() if calendar.intraday]
    except ValueError as error:
        raise SourceError(f"{error}") from None
    if intraday:
        raise SourceError(
            f"The daily flow needs calendars of days, but {intraday[0]!r} is of bars within the day. Name another one."
        )
    return own


def _names(rows: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Calendars that rows name: series_id, calendar."""
    named = [frame.select("series_id", "calendar") for frame in (stored, rows) if "calendar" in frame.columns]
    return pl.concat(named).drop_nulls() if named else pl.DataFrame(schema={"series_id": pl.String})


def choose_calendars(
    settings: Settings, rows: pl.DataFrame, stored: pl.DataFrame
) -> tuple[PanelCalendar, Settings, tuple[str, ...]]:
    """Choose the calendar of each series and of the panel.

    A series has the calendar that its rows name, now or before. Other series have that of the settings, else that of
    the bundled source. Without one, each has the calendar inferred from its rows, as in forecasters (`infer_panel`),
    and the panel has that of most series. A series with one row a week or less always has its own. If all series name
    theirs and the panel has none, the panel has that of most rows.

    Parameters
    ----------
    settings : Settings
    rows : polars.DataFrame
        series_id and time as they came; calendar, if the source has it.
    stored : polars.DataFrame
        series_id and calendar of stored rows that name one; may be empty.

    Returns
    -------
    calendar : PanelCalendar
    settings : Settings
        With the calendars decided.
    messages : tuple of str

    Raises
    ------
    SourceError
        A series names two calendars, one that does not exist, or one of bars within the day.
    """
    own = own_calendars(rows, stored)
    unnamed = rows.select("series_id", "time").drop_nulls().filter(~pl.col("series_id").is_in(list(own)))
    name = settings.calendar or CALENDARS.get(settings.source)
    if name is None and own and unnamed.is_empty():
        name = _names(rows, stored)["calendar"].mode().sort()[0]
    if name is None:
        usual, found, messages = _inferred(unnamed)
        messages = (*messages, *_filled_weekends(rows, usual))
    else:
        usual = get_calendar(name)
        found = [one for one in infer_contradicting(unnamed, usual) if is_of_periods(one.found.calendar)]
        messages = tuple(
            f"Some series do not follow {usual.name}. They have another calendar from now on: {one.describe()}. To "
            "choose it yourself, name it in a column 'calendar'."
            for one in found
        )
    inferred = {series_id: one.found.calendar for one in found for series_id in one.series}
    calendar = PanelCalendar(usual, {**own, **inferred}, inferred)
    others = sorted({*settings.calendars, *(one.name for one in calendar.own.values())} - {usual.name})
    decided = settings.model_copy(update={"calendar": usual.name, "calendars": tuple(others)})
    if own:
        count = Counter(one.name for one in own.values())
        named = ", ".join(f"{count[name]} {name}" for name in count)
        messages = (*messages, f"Series that name their calendar: {named}.")
    return calendar, decided, messages


def _inferred(rows: pl.DataFrame) -> tuple[Calendar, list[SeriesInference], tuple[str, ...]]:
    """The panel's inferred calendar, the series with another one, and messages on both."""
    if rows.is_empty():
        return get_calendar("weekdays"), [], (f"No calendar was given: weekdays count as sessions. {_ANOTHER}",)
    usual, *others = infer_panel(rows)
    messages = [f"No calendar was given: {usual.describe()}. {_ANOTHER}"]
    messages += [f"Some series have another calendar: {one.describe()}." for one in others]
    messages += [f"In doubt: {one.found.doubt}." for one in (usual, *others) if one.found.doubt]
    return usual.found.calendar, others, tuple(messages)


def _filled_weekends(rows: pl.DataFrame, usual: Calendar) -> tuple[str, ...]:
    """Name series that have a row every day, and never another price on Saturdays and Sundays than on Fridays."""
    if usual.name != "24/7" or "close" not in rows.columns:
        return ()
    prices = rows.select("series_id", "time", "close").drop_nulls().sort("series_id", "time")
    changes = prices.select(
        "series_id",
        weekend=pl.col("time").dt.weekday() > 5,
        moved=(pl.col("close") != pl.col("close").shift()).over("series_id"),
    ).drop_nulls()
    shares = changes.group_by("series_id").agg(
        days=pl.col("weekend").sum(),
        weekend=pl.col("moved").filter("weekend").mean(),
        week=pl.col("moved").filter(~pl.col("weekend")).mean(),
    )
    filled = shares.filter(pl.col("days") >= FEWEST_WEEKEND_DAYS, pl.col("weekend") == 0, pl.col("week") > 0.5)
    if filled.is_empty():
        return ()
    return (
        f"The prices of {shorten(filled['series_id'].sort().to_list())} never change on Saturdays and Sundays. If "
        "your source fills weekends with Friday's price, give --calendar weekdays, or the calendar of the exchange.",
    )


def with_inferred(rows: pl.DataFrame, calendar: PanelCalendar) -> pl.DataFrame:
    """Add the calendar to rows of series whose own was inferred, so that it is stored.

    Parameters
    ----------
    rows : polars.DataFrame
        series_id; calendar, if the source has it.
    calendar : PanelCalendar
    """
    names = {series_id: calendar.own[series_id].name for series_id in calendar.inferred}
    if not names:
        return rows
    named = rows["series_id"].replace_strict(names, default=None, return_dtype=pl.String)
    own = [pl.col("calendar")] if "calendar" in rows.columns else []
    return rows.with_columns(calendar=pl.coalesce(*own, named))


def resolve_as_of(
    wanted: date | None, calendar: Calendar, first: date, newest_in_source: date, newest: date
) -> tuple[date, tuple[str, ...]]:
    """Return the session a run stands on, and messages about it.

    Parameters
    ----------
    wanted : date or None
        None: the newest session of the source. A day that is not a session resolves to the session before. A day after
        `newest` resolves to `newest`, because no later session is known to have taken place.
    calendar : Calendar
        The panel's sessions.
    first, newest_in_source, newest : date
        The first session with a price, the newest of the source, and the newest of source and tables.

    Raises
    ------
    SourceError
        There is no price at or before `wanted`.
    """
    if wanted is None:
        return newest_in_source, ()
    if wanted < first:
        raise SourceError(f"as_of must not lie before the first price, of {first}, got {wanted}. Give a later session.")
    if wanted > newest:
        return newest, (f"No price after {newest} is known: the run stands on that session, not on {wanted}.",)
    session = calendar.at_or_before(wanted)
    message = f"{wanted} is not a session of {calendar.name}: the run stands on {session}, the session before."
    return session, () if session == wanted else (message,)


def is_live(as_of: date, newest: date, calendar: Calendar) -> bool:
    """Whether forecasts of `as_of` come in time: at most one session before `newest`.

    Parameters
    ----------
    as_of, newest : date
        The session of the run, and the newest session that the panel has seen.
    calendar : Calendar
        The panel's sessions.
    """
    return calendar.number_at(newest) - calendar.number_at(as_of) <= 1
