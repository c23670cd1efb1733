"""Calendars: sessions as consecutive integers, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import date

import numpy as np
import polars as pl

from tidecast.features.error_text import shorten

CLOSING = pl.Datetime("us", "UTC")
"""Type of the instants at which sessions close."""


class Calendar(ABC):
    """Sessions as integers, both ways: step *k* of a forecast is session number (origin + *k*).

    Attributes
    ----------
    name : str
        `get_calendar` returns this calendar for its name. Calendars with equal names are equal.
    time_zone : str
        The market's own zone.
    intraday : bool
        Whether sessions are bars within a day, named by the instant (UTC) at which they end, rather than days.
    """

    name: str
    time_zone: str = "UTC"
    intraday: bool = False

    @abstractmethod
    def numbers(self, times: pl.Series) -> np.ndarray:
        """Session numbers, int64 of shape (n_times,). Consecutive sessions differ by 1.

        Parameters
        ----------
        times : Series of Date or Datetime
            A time's number does not depend on the other times.

        Raises
        ------
        ValueError
            When some times are not sessions; the message names the first of them.
        """

    @abstractmethod
    def is_session(self, times: pl.Series) -> np.ndarray:
        """Whether each time is a session, bool of shape (n_times,). A missing time is not one.

        Parameters
        ----------
        times : Series of Date or Datetime
        """

    @abstractmethod
    def times(self, numbers: np.ndarray) -> pl.Series:
        """Return the sessions with these numbers: Date, or Datetime for an intraday calendar.

        Parameters
        ----------
        numbers : ndarray of int64

        Raises
        ------
        ValueError
            For numbers before the calendar's first session or after its last.
        """

    @abstractmethod
    def at_or_before(self, day: date) -> date:
        """Return the last session at or before the end of a day (intraday: or at or before a datetime, UTC).

        Parameters
        ----------
        day : date or datetime

        Raises
        ------
        ValueError
            When the calendar does not cover that day.
        """

    @abstractmethod
    def closes(self, times: pl.Series) -> pl.Series:
        """Return the instant at which each session closes and its price becomes known, Datetime in UTC.

        Parameters
        ----------
        times : Series of Date or Datetime

        Raises
        ------
        ValueError
            When some times are not sessions; the message names the first of them.
        """

    @property
    def seasons(self) -> tuple[int, ...]:
        """Sessions in a day (if more than one) and in a week; empty where their number varies, as between holidays."""
        return ()

    @property
    def market_zone(self) -> str | None:
        """Time zone of the market whose sessions these are; None for days of no particular market."""
        return None

    def is_half_day(self, times: pl.Series) -> np.ndarray:
        """Whether each session closes earlier than usual, bool of shape (n_times,). False without opening hours.

        Parameters
        ----------
        times : Series of Date or Datetime
        """
        return np.zeros(len(times), dtype=bool)

    def number_at(self, day: date) -> int:
        """Return the number of the session `at_or_before` a day or datetime.

        Parameters
        ----------
        day : date or datetime
        """
        kind = pl.Datetime("us") if self.intraday else pl.Date()
        return int(self.numbers(pl.Series([self.at_or_before(day)], dtype=kind))[0])

    def __repr__(self) -> str:
        return f"<Calendar {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Calendar) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def _refuse(self, outside: pl.Series) -> None:
        found = shorten([str(value) for value in outside.unique(maintain_order=True)])
        advice = "Drop these rows"
        if self.intraday:
            advice = "Bars are named by the instant at which they end, in UTC: shift these rows, drop them"
        raise ValueError(
            f"Every time must be a session of the calendar {self.name!r}, found {found}. "
            f"{advice}, or name another calendar."
        )
