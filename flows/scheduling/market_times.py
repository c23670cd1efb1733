"""When the daily forecast runs: some time after each close of the panel's market, in the zone of the market.

Prefect knows cron and the recurrence rules of iCalendar (RFC 5545), but no exchange. A rule has the usual hour on the
usual days of the week; days on which the exchange is closed are its exceptions, and days on which it closes early are
dates of their own. Prefect keeps local time across changes of daylight saving time. Exceptions are listed for
`YEARS` years; after them the run itself finds that there is no new session, and does nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.error_text import counted
from tidecast.flows.config.settings import CALENDARS, Settings

YEARS = 3
"""Years for which holidays and half days are listed."""

LONGEST = 6000
"""Most characters of a rule; Prefect refuses one of 6,500."""

NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@dataclass(frozen=True)
class Times:
    """A schedule as Prefect takes it: `cron` or `rrule`, in a zone.

    Attributes
    ----------
    zone : str
    text : str
        For people.
    cron, rrule : str or None
        One of them is None.
    """

    zone: str
    text: str
    cron: str | None = None
    rrule: str | None = None


def daily_times(settings: Settings, today: date) -> Times:
    """Return when the daily forecast runs: after each close, unless the settings have a schedule of their own.

    Series of several markets make one panel and one run a day, after the last of their closes.

    Parameters
    ----------
    settings : Settings
    today : date
        Holidays are listed from this year on.
    """
    if settings.cron is not None:
        zone = settings.time_zone or _zones(_calendar(settings))[0]
        return Times(zone, f"{settings.cron!r} ({zone})", cron=settings.cron)
    calendar = _calendar(settings)
    first, last = date(today.year, 1, 1), date(today.year + YEARS, 12, 31)
    starts = _starts(calendar, first, last, timedelta(minutes=settings.after_close))
    zone, local = min(
        ((zone, _local(starts, zone)) for zone in _zones(calendar)), key=lambda found: len({t.time() for t in found[1]})
    )
    return _rule(local, zone, calendar.name, first, last)


def monthly_times(which: int, day: str, hour: int, settings: Settings, today: date) -> Times:
    """Return a time once a month, such as the first Saturday, in the zone of the panel's market.

    Parameters
    ----------
    which : int
        1 for the first such day of the month.
    day : {"MO", "TU", "WE", "TH", "FR", "SA", "SU"}
    hour : int
    settings : Settings
    today : date
        The rule begins with this year.
    """
    zone = settings.time_zone or _zones(_calendar(settings))[0]
    rule = f"DTSTART:{today.year}0101T{hour:02}0000\nRRULE:FREQ=MONTHLY;BYDAY={which}{day}"
    names = dict(zip(DAYS, NAMES, strict=True))
    ordinal = ("first", "second", "third", "fourth")[which - 1]
    return Times(zone, f"at {hour:02}:00 on the {ordinal} {names[day]} of the month ({zone})", rrule=rule)


def _calendar(settings: Settings) -> Calendar:
    """The calendar of the panel; before its first run, that of a bundled source."""
    named = settings.calendar or CALENDARS.get(settings.source)
    return settings.model_copy(update={"calendar": named}).sessions


def _zones(calendar: Calendar) -> list[str]:
    """Zones of the markets of a calendar; UTC where there is none."""
    parts = [get_calendar(name.strip()).market_zone for name in calendar.name.split("|")]
    return list(dict.fromkeys(filter(None, parts))) or ["UTC"]


def _starts(calendar: Calendar, first: date, last: date, after_close: timedelta) -> pl.Series:
    """The instants, UTC, at which runs start: those of the session before the first day, too."""
    numbers = np.arange(calendar.number_at(first) - 1, calendar.number_at(last) + 1)
    return calendar.closes(calendar.times(numbers)) + after_close


def _local(starts: pl.Series, zone: str) -> list[datetime]:
    """Clock times in a zone, to the minute."""
    return starts.dt.convert_time_zone(zone).dt.replace_time_zone(None).dt.truncate("1m").to_list()


def _rule(starts: Sequence[datetime], zone: str, calendar: str, first: date, last: date) -> Times:
    """The rule for these starts: cron where nothing is exceptional, or too much is."""
    clock, _ = Counter(start.time() for start in starts).most_common(1)[0]
    weeks = (last - first).days / 7
    counts = Counter(start.weekday() for start in starts if start.time() == clock)
    usual = sorted(day for day, count in counts.items() if count > weeks / 2) or list(range(7))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    by_rule = {datetime.combine(day, clock) for day in days if day.weekday() in usual}
    wanted = {start for start in starts if first <= start.date() <= last}
    left_out, added = by_rule - wanted, wanted - by_rule
    text = f"at {clock:%H:%M} ({zone}), {_of_days(usual)}, after the close of {calendar}"
    rule = _text(usual, clock, first, left_out, added)
    if not (left_out or added) or len(rule) > LONGEST:
        cron_days = ",".join(str((day + 1) % 7) for day in usual) if len(usual) < len(DAYS) else "*"
        return Times(zone, text, cron=f"{clock.minute} {clock.hour} * * {cron_days}")
    return Times(zone, text + _exceptions(left_out, added, last.year), rrule=rule)


def _text(
    usual: Iterable[int], clock: time, first: date, left_out: Iterable[datetime], added: Iterable[datetime]
) -> str:
    lines = [
        f"DTSTART:{datetime.combine(first, clock):%Y%m%dT%H%M%S}",
        f"RRULE:FREQ=WEEKLY;BYDAY={','.join(DAYS[day] for day in usual)}",
    ]
    for name, found in (("EXDATE", left_out), ("RDATE", added)):
        if listed := ",".join(f"{start:%Y%m%dT%H%M%S}" for start in sorted(found)):
            lines.append(f"{name}:{listed}")
    return "\n".join(lines)


def _exceptions(left_out: Iterable[datetime], added: Iterable[datetime], until: int) -> str:
    """Words for days without a run, and for days with a run at another hour."""
    moved = {start.date() for start in added}
    closed = sum(start.date() not in moved for start in left_out)
    words = [f"not on {closed} holidays"] if closed else []
    words += [f"at another hour on {counted(len(moved), 'day')}"] if moved else []
    return f", {' and '.join(words)} up to {until}"


def _of_days(usual: Sequence[int]) -> str:
    if len(usual) == len(DAYS):
        return "every day"
    words = [NAMES[day] for day in usual]
    in_a_row = len(usual) > 2 and usual[-1] - usual[0] == len(usual) - 1
    return f"{words[0]} to {words[-1]}" if in_a_row else ", ".join(words)
