"""Infer calendars of bars within the day from instants."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar, get_calendar
from tidecast.features.calendars.daily import DAY
from tidecast.features.calendars.fit import SHOWN, Inference, fit_of
from tidecast.features.calendars.intraday import RegularCalendar, spell
from tidecast.features.calendars.weekdays import WEEKDAYS, WORKING, spell_days
from tidecast.features.error_text import shorten

ZONES = ("UTC", "America/New_York", "Europe/London", "Australia/Sydney")
"""Clocks that bars may follow; one for each set of days on which clocks change."""

MOST_STRAY = 0.05
"""Share of rows that may lie outside the calendar's bars."""

LEAST_FOUND = 0.5
"""Share of the bars from the first to the last row that must have one."""

HOUR = 3_600_000_000
WEEK = 7 * DAY
_MONDAY = 3 * DAY
"""1970 began on a Thursday."""


def infer_bars(times: pl.Series) -> Inference:
    """Return the calendar that the instants of one series suggest.

    Parameters
    ----------
    times : Series of Datetime
        Distinct and sorted, in UTC or on the clocks of one place.

    Raises
    ------
    ValueError
        When no calendar that can be inferred has these bars.
    """
    instants = times.cast(pl.Datetime("us")).to_physical().to_numpy()
    if len(instants) < 2:
        raise ValueError(f"A calendar can be inferred from two times or more, found {len(instants)}. Name a calendar.")
    step = _mode(np.diff(instants))
    phase = _mode(instants % step)
    if step >= DAY:
        raise ValueError(
            f"Bars must lie within the day to infer a calendar, found steps of {spell(step)}. Give the days as dates, "
            "in a panel of their own, or name a calendar."
        )
    best, fewest = fit_of(RegularCalendar(step, phase), times), np.inf
    for calendar in _candidates(instants, step, phase):
        found = fit_of(calendar, times)
        misfit = found.n_stray + found.n_sessions - found.n_found
        if misfit < (fewest if fewest == np.inf else fewest / 2 if fewest > 0.01 * len(instants) else 0):
            best, fewest = found, misfit
    if best.n_stray > MOST_STRAY * best.n_rows or best.share < LEAST_FOUND:
        raise ValueError(_unclear(best, times))
    whole_week = instants[-1] - instants[0] >= WEEK - 2 * step
    doubt = "" if whole_week else f"the rows cover less than a week, {times[0]} to {times[-1]}"
    return Inference(best.calendar, best.n_rows, best.n_stray, best.n_sessions, best.n_found, doubt)


def _candidates(instants: np.ndarray, step: int, phase: int) -> Iterator[Calendar]:
    """Calendars that bars of this length may have, the simpler first."""
    if DAY % step:
        yield RegularCalendar(step, phase)
        return
    for zone in ZONES if HOUR % step == 0 or step % HOUR == 0 else ZONES[:1]:
        yield from _on_clock(_wall(instants, zone), step, zone, phase)


def _on_clock(wall: np.ndarray, step: int, zone: str, phase: int) -> Iterator[Calendar]:
    """Calendars that the week shows on one clock."""
    offset = _mode(wall % step)
    slot = (wall - offset + _MONDAY) // step
    per_week, per_day = WEEK // step, DAY // step
    counts = np.bincount(slot % per_week, minlength=per_week)
    passed = _passed(int(slot[0]), int(slot[-1]), per_week)
    share = np.divide(counts, passed, out=np.full(per_week, np.nan), where=passed > 0)
    usual = np.quantile(share[counts > 0], 0.75)
    usually = (share >= 0.5 * usual).reshape(7, per_day)
    known = (passed > 0).reshape(7, per_day)
    if usually[known].mean() >= 0.9:
        if zone == "UTC":
            yield RegularCalendar(step, phase)
        return
    where = "" if zone == "UTC" else f" in {zone}"
    days = np.flatnonzero(usually.any(axis=1))
    of_day = np.flatnonzero(usually[days].sum(axis=0) * 2 > known[days].sum(axis=0))
    minute = 60_000_000
    if offset % minute or step % minute:  # names know minutes
        return
    if of_day.size and of_day[-1] - of_day[0] + 1 == of_day.size:
        unseen = {int(day) for day in np.flatnonzero(~known.any(axis=1))}
        week = WORKING if set(days) <= WORKING and set(days) | unseen >= WORKING else frozenset(int(d) for d in days)
        first, last = (_clock(int(at) * step + offset) for at in (of_day[0], of_day[-1]))
        yield get_calendar(f"every {spell(step)} {first}-{last} {spell_days(week)}{where}")
    flat = usually.ravel()
    starts = np.flatnonzero(flat & ~np.roll(flat, 1))
    if starts.size == 1 and known.all():
        begins = int(starts[0]) * step + offset
        ends = begins + (int(flat.sum()) - 1) * step
        if ends // DAY > begins // DAY:
            begin, end = WEEKDAYS[begins // DAY % 7], WEEKDAYS[ends // DAY % 7]
            yield get_calendar(f"every {spell(step)} {begin} {_clock(begins)}-{end} {_clock(ends)}{where}")


def _passed(first: int, last: int, per_week: int) -> np.ndarray:
    """How often each slot of the week occurs from the first to the last."""
    whole, rest = divmod(last - first + 1, per_week)
    passed = np.full(per_week, whole)
    passed[(first + np.arange(rest)) % per_week] += 1
    return passed


def _wall(instants: np.ndarray, zone: str) -> np.ndarray:
    """What the clocks of a zone show, in microseconds since 1970."""
    if zone == "UTC":
        return instants
    there = pl.Series(instants).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    return there.dt.replace_time_zone(None).to_physical().to_numpy()


def _clock(time: int) -> str:
    minutes = time % DAY // 60_000_000
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _unclear(best: Inference, times: pl.Series) -> str:
    """Say which rows no calendar explains, and which calendars can be named."""
    outside = times.filter(pl.Series(~best.calendar.is_session(times)))
    found = f"{best.calendar.name!r} would have a row in {best.share:.0%} of its sessions"
    if len(outside):
        shown = shorten([str(time) for time in outside[:SHOWN]])
        found += f", and {len(outside)} of {len(times)} rows are not a session ({shown})"
    step = best.calendar.name.split(" ")[1]
    return (
        f"The bars must show a calendar, found none that fits: {found}. Name it in the schema or in a column "
        f"'calendar', such as 'XNYS {step}' or 'every {step} 09:30-15:30 MON-FRI'."
    )


def _mode(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
