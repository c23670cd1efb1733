"""Columns from the calendar alone, known before each session: covariates of the past and of the future."""

from __future__ import annotations

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.calendars.spelling import weekday_of
from tidecast.features.error_text import check_whole
from tidecast.features.transformers.base import PanelTransformer

NAMES = ("weekday_sin", "weekday_cos", "month_end", "sessions_to_holiday", "days_to_next", "half_day")

FARTHEST = 21
"""Sessions to a holiday are counted up to this number."""


class CalendarFeatures(PanelTransformer):
    """Properties of each row's session, or of the one `ahead` sessions later, in the calendar of its series.

    - `weekday_sin`, `weekday_cos`: of the angle 2π · weekday / 7, Monday is 0;
    - `month_end`: 1 for the last session of a month, else 0;
    - `sessions_to_holiday`: sessions that follow before the next Monday to Friday without one, at most 21, ÷ 21: 0 on
      the eve of a holiday, 1 without a holiday nearby, as always with "24/7";
    - `days_to_next`: days until the next session: 1, 3 over a weekend, more around holidays;
    - `half_day`: 1 where the session closes early, else 0.

    With `ahead` above 0 the names end in `_ahead_{ahead}`. All come from the calendar alone, not from prices. So they
    are known for sessions to come, and may be future covariates (`PanelSchema(future=...)`, with ``ahead=0``) as well
    as past ones.

    Parameters
    ----------
    calendar : str, optional
        Name of the calendar of days of series without one in the panel's column `calendar`. It is never inferred,
        because further rows could change an inferred calendar.
    ahead : int, default=0
        Sessions from the row's own to the described one.
    target : str, default="close"
        A column of the panel.

    Examples
    --------
    >>> from datetime import date
    >>> eve = pl.DataFrame({"series_id": ["a"], "time": [date(2024, 11, 27)], "close": [1.0]})  # of Thanksgiving
    >>> CalendarFeatures("XNYS").fit_transform(eve).select("sessions_to_holiday", "days_to_next", "half_day").row(0)
    (0.0, 2.0, 0.0)
    >>> CalendarFeatures("XNYS", ahead=1).fit_transform(eve)["half_day_ahead_1"].to_list()
    [1.0]
    """

    positive = False  # prices are not read
    needs_target = False

    def __init__(self, calendar: str | None = None, ahead: int = 0, target: str = "close") -> None:
        self.calendar = calendar
        self.ahead = ahead
        self.target = target

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [f"{name}_ahead_{self.ahead}" if self.ahead else name for name in NAMES]

    @property
    def min_history(self) -> int:
        """The row itself."""
        return 1

    @property
    def inputs_(self) -> list[str]:
        """No columns: every transformer reads the column `calendar`."""
        return []

    def _check_parameters(self) -> None:
        check_whole("ahead", self.ahead, 0)

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        values = np.empty((rows.height, len(NAMES)))
        for calendar, at in PanelCalendar.named(rows, self.calendar).groups(rows):
            if calendar.intraday:
                raise ValueError(
                    f"CalendarFeatures need a calendar of days, {calendar.name!r} is of bars within the day. Name the "
                    "calendar of its days, and give a panel of days."
                )
            number = calendar.numbers(rows["time"][at]) + self.ahead
            first = int(number.min())
            values[at] = _described(calendar, first, int(number.max()))[number - first]
        return rows.with_columns(pl.Series(name, values[:, index]) for index, name in enumerate(self.added_))


def _described(calendar: Calendar, first: int, last: int) -> np.ndarray:
    """Return the columns of `NAMES` for the sessions numbered from `first` to `last`, shape (n_sessions, 6)."""
    n_sessions = last - first + 1
    times = calendar.times(np.arange(first, last + FARTHEST + 2))
    day = times.to_numpy().astype("datetime64[D]")
    this, following = day[:-1], day[1:]
    is_eve = np.busday_count(this + 1, following) > 0  # a Monday to Friday without a session comes next
    to_holiday = np.full(n_sessions, FARTHEST)
    for k in reversed(range(FARTHEST)):
        to_holiday[is_eve[k : k + n_sessions]] = k
    weekday = weekday_of(this.astype(np.int64))
    columns = (
        np.sin(2 * np.pi * weekday / 7)[:n_sessions],
        np.cos(2 * np.pi * weekday / 7)[:n_sessions],
        (this.astype("datetime64[M]") != following.astype("datetime64[M]"))[:n_sessions],
        to_holiday / FARTHEST,
        (following - this).astype(np.int64)[:n_sessions],
        calendar.is_half_day(times[:n_sessions]),
    )
    return np.column_stack(columns).astype(np.float64)
