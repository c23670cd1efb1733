"""What the times of a series suggest as its calendar, and how well that fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar

SHOWN = 3
"""Times named in a message."""


@dataclass(frozen=True)
class Inference:
    """A calendar that times suggest.

    Attributes
    ----------
    calendar : Calendar
    n_rows, n_stray : int
        Times looked at, and those that are not a session of the calendar.
    n_sessions, n_found : int
        Sessions from the first to the last time, and those that have a row.
    doubt : str
        Why another calendar may be right; empty where nothing speaks for another one.
    """

    calendar: Calendar
    n_rows: int
    n_stray: int
    n_sessions: int
    n_found: int
    doubt: str = ""

    @property
    def share(self) -> float:
        """Share of the sessions from the first to the last time that have a row."""
        return self.n_found / max(self.n_sessions, 1)

    @property
    def fit(self) -> str:
        """How well the calendar fits, as in "98% of 401 sessions have a row"."""
        stray = f", {self.n_stray} of {self.n_rows:,} rows are not a session" if self.n_stray else ""
        return f"{self.share:.0%} of {self.n_sessions:,} sessions have a row{stray}"


def fit_of(calendar: Calendar, times: pl.Series, doubt: str = "") -> Inference:
    """Return how well distinct times fit a calendar."""
    on = calendar.is_session(times)
    number = calendar.numbers(times.filter(pl.Series(on)))
    n_sessions = int(number.max() - number.min()) + 1 if number.size else 0
    n_found = np.unique(number).size
    return Inference(calendar, len(times), int((~on).sum()), n_sessions, n_found, doubt)
