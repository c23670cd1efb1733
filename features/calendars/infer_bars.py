"""Infer calendars of bars within the day from instants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from tidecast.features.calendars.bars_in_hours import bars_name
from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.inference import SHOWN, Inference, fit_of
from tidecast.features.calendars.intraday import RegularCalendar
from tidecast.features.calendars.spelling import DAY, HOUR, MINUTE, WORKING, microseconds_of, spell_duration
from tidecast.features.error_text import shorten

ZONES = ("UTC", "America/New_York", "Europe/London", "Australia/Sydney")
"""Time zones whose clocks bars may follow; one for each set of days on which clocks change."""

MOST_STRAY, LEAST_FOUND = 0.05, 0.5
"""A calendar fits when at most the first share of the rows are not a bar, and at least the second share of the bars
have a row."""

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
    instants = microseconds_of(times)
    if len(instants) < 2:
        raise ValueError(f"A calendar can be inferred from two times or more, found {len(instants)}. Name a calendar.")
    step = _mode(np.diff(instants))
    if step >= DAY:
        raise ValueError(
            f"Bars must lie within the day to infer a calendar, found steps of {spell_duration(step)}. Give the days "
            "as dates, in a panel of their own, or name a calendar."
        )
    best = _best(times, instants, step)
    if best.n_stray > MOST_STRAY * best.n_rows or best.share < LEAST_FOUND:
        raise ValueError(_no_fit(best, times))
    whole_week = instants[-1] - instants[0] >= WEEK - 2 * step
    doubt = "" if whole_week else f"the rows cover less than a week, {times[0]} to {times[-1]}"
    return replace(best, doubt=doubt)


def _best(times: pl.Series, instants: np.ndarray, step: int) -> Inference:
    """Return the calendar with fewest rows that are not a session and sessions without a row.

    The simpler calendar is kept unless a later one halves its misfit of more than 1 % of the rows.
    """
    regular = RegularCalendar(step, _mode(instants % step))
    best: Inference | None = None
    fewest = np.inf
    for calendar in _candidates(instants, step, regular):
        found = fit_of(calendar, times)
        misfit = found.n_stray + found.n_sessions - found.n_found
        if best is None or (fewest > 0.01 * len(instants) and misfit < fewest / 2):
            best, fewest = found, misfit
    return best or fit_of(regular, times)


def _candidates(instants: np.ndarray, step: int, regular: RegularCalendar) -> Iterator[Calendar]:
    """Yield calendars that bars of this length may have, the simpler first."""
    if DAY % step:
        yield regular
        return
    for zone in ZONES if HOUR % step == 0 or step % HOUR == 0 else ZONES[:1]:
        week = _Week.of(_local(instants, zone), step)
        if week.is_around_the_clock:
            if zone == "UTC":
                yield regular
        elif not (week.offset % MINUTE or step % MINUTE):  # names spell minutes
            yield from _in_hours(week, zone)


@dataclass(frozen=True)
class _Week:
    """The bars of a week, from Monday.

    Attributes
    ----------
    step, offset : int
        Length of a bar, and the end of the first one after midnight, in microseconds.
    usual, seen : ndarray of bool, shape (7, bars a day)
        Whether each bar usually has a row, and whether it lies between the first and the last row.
    """

    step: int
    offset: int
    usual: np.ndarray
    seen: np.ndarray

    @classmethod
    def of(cls, local: np.ndarray, step: int) -> _Week:
        """Return the week that instants on one clock, in microseconds, show."""
        offset = _mode(local % step)
        slot = (local - offset + _MONDAY) // step
        per_week = WEEK // step
        rows = np.bincount(slot % per_week, minlength=per_week)
        weeks = _occurrences(int(slot[0]), int(slot[-1]), per_week)
        share = np.divide(rows, weeks, out=np.full(per_week, np.nan), where=weeks > 0)
        usual = share >= 0.5 * np.quantile(share[rows > 0], 0.75)
        return cls(step, offset, usual.reshape(7, -1), (weeks > 0).reshape(7, -1))

    @property
    def is_around_the_clock(self) -> bool:
        """Whether nearly all bars usually have a row."""
        return bool(self.usual[self.seen].mean() >= 0.9)

    def end(self, bar: int) -> int:
        """The end of a bar, in microseconds since the midnight before bar 0."""
        return int(bar) * self.step + self.offset


def _occurrences(first: int, last: int, per_week: int) -> np.ndarray:
    """Return how often each bar of the week occurs from the first to the last."""
    whole, rest = divmod(last - first + 1, per_week)
    counts = np.full(per_week, whole)
    counts[(first + np.arange(rest)) % per_week] += 1
    return counts


def _in_hours(week: _Week, zone: str) -> Iterator[Calendar]:
    """Yield the calendars of the same hours on some days, with a lunch break or without, and of one run a week."""
    days = np.flatnonzero(week.usual.any(axis=1))
    hours = np.flatnonzero(week.usual[days].sum(axis=0) * 2 > week.seen[days].sum(axis=0))
    before_break = np.flatnonzero(np.diff(hours) > 1)
    if hours.size and before_break.size <= 1:
        open_days = _with_unseen(frozenset(days.tolist()), week)
        lunch = None
        if before_break.size:
            lunch = week.end(hours[before_break[0]]), week.end(hours[before_break[0] + 1])
        yield get_calendar(bars_name(week.step, week.end(hours[0]), week.end(hours[-1]), open_days, zone, lunch))
    flat = week.usual.ravel()
    starts = np.flatnonzero(flat & ~np.roll(flat, 1))
    if starts.size == 1 and week.seen.all():
        day, first = divmod(week.end(starts[0]), DAY)
        last = first + (int(flat.sum()) - 1) * week.step
        if last >= DAY:
            yield get_calendar(bars_name(week.step, first, last, frozenset({day}), zone))


def _with_unseen(days: frozenset[int], week: _Week) -> frozenset[int]:
    """Return Monday to Friday where the other days of these lie before the first or after the last row."""
    unseen = set(np.flatnonzero(~week.seen.any(axis=1)).tolist())
    return WORKING if days <= WORKING <= days | unseen else days


def _local(instants: np.ndarray, zone: str) -> np.ndarray:
    """Return the clock times of a zone, in microseconds since 1970, of instants in UTC."""
    if zone == "UTC":
        return instants
    there = pl.Series(instants).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    return there.dt.replace_time_zone(None).to_physical().to_numpy()


def _no_fit(best: Inference, times: pl.Series) -> str:
    """Return the message that names the rows which no calendar explains, and calendars that can be named."""
    found = f"{best.calendar.name!r} would have a row in {best.share:.0%} of its sessions"
    stray = times.filter(pl.Series(~best.calendar.is_session(times)))
    if len(stray):
        shown = shorten([str(time) for time in stray[:SHOWN]])
        found += f", and {len(stray)} of {len(times)} rows are not a session ({shown})"
    step = best.calendar.name.split(" ")[1]
    return (
        f"The bars must show a calendar, found none that fits: {found}. Name it in the schema or in a column "
        f"'calendar', such as 'XNYS {step}' or 'every {step} 09:30-15:30 MON-FRI'."
    )


def _mode(values: np.ndarray) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])
