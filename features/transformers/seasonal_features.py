"""Columns of panels that repeat themselves every day or week: demand, electricity, traffic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import polars as pl

from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.daily import DailyCalendar
from tidecast.features.error_text import check_whole
from tidecast.features.transformers.base import PanelTransformer

LEVEL = "__tidecast_seasonal_level"
HARMONICS = 2  # sines and cosines of the time of day
LONG = 4  # of the longest season: the mean that shows where a level stands
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class SeasonalFeatures(PanelTransformer):
    """Changes against one season ago, what followed then, and the time of the day and of the week.

    A level is the log of the target, or the target itself when not `positive`. For each season of S rows:

    - `{target}_change_{S}`: level less the level S rows before; also `{target}_change_1`;
    - `{target}_gap_{S}`: level less the mean of the last S levels; also of 4 times the longest season;
    - `{target}_after_{S}_{k}`, for k from 1 to `horizon`: what followed this row one season ago, the level k rows after
      it less that level. For k > S the last season whose k rows are all known;
    - `{column}_change_{S}` for each of the `columns`.

    From the time alone, where `seasons` names a day and a week: `day_sin_1`, `day_cos_1`, … of the angle of the time of
    day and of twice that angle; always `weekday_mon` … `weekday_sun`: 1 on that day of the week, else 0; with
    `holidays`, `holiday` and `holiday_next`: 1 where the row's day, or the next one, is a Monday to Friday without a
    session.

    Values are null on the first rows of a series, until S rows lie before, and after a break.

    Parameters
    ----------
    seasons : tuple of int, default=(24, 168)
        Rows in a day and in a week; for daily rows those in a week alone: ``(5,)``.
    horizon : int, default=0
        Coming rows for which to add what followed a season ago; 0 for none.
    columns : sequence of str, default=()
        Further columns of numbers, such as covariates, whose changes against a season ago are added.
    holidays : str, optional
        Name of a calendar of days, see `get_calendar`, that knows the holidays.
    target : str, default="close"
    positive : bool, default=True
        Whether the target is above zero and its level is the log.

    References
    ----------
    J. Lago, G. Marcjasz, B. De Schutter, R. Weron (2021), Applied Energy 293, 116983,
    doi:10.1016/j.apenergy.2021.116983, section 4.1: inputs of day-ahead forecasts.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.date_range(date(2024, 1, 1), date(2024, 1, 9), eager=True)
    >>> rows = pl.DataFrame({"series_id": "a", "time": days, "close": [1.0, 1, 1, 1, 1, 1, 2, 3, 4]})
    >>> table = SeasonalFeatures((7,), horizon=1, positive=False).fit_transform(rows)
    >>> table["close_change_7"].to_list()[-2:], table["close_after_7_1"].to_list()[-2:]
    ([2.0, 3.0], [0.0, 0.0])
    """

    def __init__(
        self,
        seasons: Sequence[int] = (24, 168),
        horizon: int = 0,
        columns: Sequence[str] = (),
        holidays: str | None = None,
        target: str = "close",
        positive: bool = True,
    ) -> None:
        self.seasons = seasons
        self.horizon = horizon
        self.columns = columns
        self.holidays = holidays
        self.target = target
        self.positive = positive

    @property
    def min_history(self) -> int:
        """Rows of the longest mean, and of the season before the longest horizon."""
        longest = max(self.seasons)
        return max(LONG * longest, longest * math.ceil(max(self.horizon, 1) / longest) + 1)

    def _check_parameters(self) -> None:
        if isinstance(self.seasons, str) or not isinstance(self.seasons, Sequence):
            raise TypeError(f"seasons must be numbers of rows such as (24, 168) or (5,), got {self.seasons!r}.")
        if not len(self.seasons) or list(self.seasons) != sorted(set(self.seasons)):
            raise ValueError(f"seasons must be rising numbers of rows such as (24, 168), got {self.seasons!r}.")
        for season in self.seasons:
            check_whole("seasons", season, 2)
        check_whole("horizon", self.horizon, 0)
        if self.holidays is not None and not isinstance(get_calendar(self.holidays), DailyCalendar):
            raise ValueError(f"holidays must name a calendar of days such as 'XOSL', got {self.holidays!r}.")

    def shared(self) -> dict[str, pl.Expr]:
        """Return the level."""
        target = pl.col(self.target)
        return {LEVEL: target.log() if self.positive else target.cast(pl.Float64)}

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added columns by name."""
        level = pl.col(LEVEL)
        changes = {f"{self.target}_change_{lag}": level - level.shift(lag) for lag in (1, *self.seasons)}
        windows = (*self.seasons, LONG * self.seasons[-1])
        gaps = {f"{self.target}_gap_{window}": level - level.rolling_mean(window) for window in windows}
        others = {
            f"{name}_change_{season}": pl.col(name) - pl.col(name).shift(season)
            for name in self.columns
            for season in self.seasons
        }
        return changes | gaps | self._followed() | others | self._times()

    def _followed(self) -> dict[str, pl.Expr]:
        level, followed = pl.col(LEVEL), {}
        for season in self.seasons:
            for k in range(1, self.horizon + 1):
                lag = season * math.ceil(k / season)
                followed[f"{self.target}_after_{season}_{k}"] = level.shift(lag - k) - level.shift(lag)
        return followed

    def _times(self) -> dict[str, pl.Expr]:
        """Columns of the time of day, of the week, and of holidays."""
        time = pl.col("time")
        columns: dict[str, pl.Expr] = {}
        if len(self.seasons) > 1:
            minute = 60 * time.dt.hour().cast(pl.Float64) + time.dt.minute()
            for n in range(1, HARMONICS + 1):
                angle = minute * (2 * math.pi * n / 1440)
                columns |= {f"day_sin_{n}": angle.sin(), f"day_cos_{n}": angle.cos()}
        for number, name in enumerate(WEEKDAYS, start=1):
            columns[f"weekday_{name}"] = (time.dt.weekday() == number).cast(pl.Float64)
        if self.holidays is not None:
            day, closed = time.cast(pl.Date), _closed(self.holidays)
            columns["holiday"] = day.is_in(closed.implode()).cast(pl.Float64)
            columns["holiday_next"] = day.dt.offset_by("1d").is_in(closed.implode()).cast(pl.Float64)
        return columns


@cache
def _closed(name: str) -> pl.Series:
    """Return the Mondays to Fridays without a session, within the years of the calendar."""
    calendar = get_calendar(name)
    assert isinstance(calendar, DailyCalendar)
    dates = calendar.dates
    every = np.arange(dates[0], dates[-1] + 1)
    return pl.Series("closed", every[np.is_busday(every) & ~np.isin(every, dates)]).cast(pl.Date)
