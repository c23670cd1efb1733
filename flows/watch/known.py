"""The stored tables, as known at a session: all that the watch reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar, mark_long_periods
from tidecast.features.volatility import EWMA_ROWS
from tidecast.flows.config.settings import Settings
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.evaluation.volatility_breaks import AROUND

DAYS_READ = 600
"""Days of forecasts that are read: more than a year of sessions, and the horizon."""

MOST_SERIES = 320
"""Series in `some_series`: a quarter of a year of them has 20,000 values."""


@dataclass(frozen=True)
class Known:
    """Tables as known at a session.

    Attributes
    ----------
    as_of : date
        No row is of a later session.
    prices : polars.DataFrame
        The panel, sorted by series_id and time; without open, high, low and volume.
    forecasts, scores, runs, decisions, flags, quarantine, looks : polars.DataFrame
        As the warehouse returns them; of forecasts only those of the last `DAYS_READ` days.
    calendar : PanelCalendar
    horizon : int
    positive : bool
        Whether prices move by log returns rather than differences.
    """

    as_of: date
    prices: pl.DataFrame
    forecasts: pl.DataFrame
    scores: pl.DataFrame
    runs: pl.DataFrame
    decisions: pl.DataFrame
    flags: pl.DataFrame
    quarantine: pl.DataFrame
    looks: pl.DataFrame
    calendar: PanelCalendar
    horizon: int
    positive: bool = True

    def until(self, as_of: date) -> Known:
        """Return what was known at an earlier session, if nothing was corrected since.

        Parameters
        ----------
        as_of : date
        """
        day, time = pl.col("as_of") <= as_of, pl.col("time") <= as_of
        return replace(
            self, as_of=as_of, prices=self.prices.filter(time), scores=self.scores.filter(time),
            **{name: getattr(self, name).filter(day) for name in _BY_AS_OF},
        )  # fmt: skip

    def prices_from(self, first: date) -> pl.DataFrame:
        """Return the prices from a day on, and as many before as an average with exponential weights needs.

        Parameters
        ----------
        first : date
        """
        days = self.sessions
        before = days.filter(days < first).tail(EWMA_ROWS + AROUND)
        return self.prices.filter(pl.col("time") >= (before[0] if len(before) else first))

    @property
    def some_series(self) -> pl.DataFrame:
        """The prices of at most `MOST_SERIES` series, every k-th by name: enough to measure what they share."""
        series = self.prices["series_id"].unique().sort()
        if len(series) <= MOST_SERIES:
            return self.prices
        chosen = series.gather_every(-(-len(series) // MOST_SERIES))
        return self.prices.filter(pl.col("series_id").is_in(chosen.implode()))

    @property
    def sessions(self) -> pl.Series:
        """The sessions with a price, in rising order."""
        return self.prices["time"].unique().sort()


_BY_AS_OF = ("forecasts", "runs", "decisions", "flags", "quarantine", "looks")


def known_at(warehouse: Warehouse, settings: Settings, as_of: date) -> Known:
    """Read the tables as known at a session.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
        With the calendar decided.
    as_of : date
    """
    prices = mark_long_periods(warehouse.closes(as_of), settings.calendar)
    day = pl.col("as_of") <= as_of
    return Known(
        as_of=as_of,
        prices=prices,
        forecasts=warehouse.forecasts_between(as_of - timedelta(days=DAYS_READ), as_of),
        scores=warehouse.scores().filter(pl.col("time") <= as_of),
        runs=warehouse.runs().filter(day),
        decisions=warehouse.decisions().filter(day),
        flags=warehouse.flags().filter(day),
        quarantine=warehouse.quarantine().filter(day),
        looks=warehouse.looks(),
        calendar=PanelCalendar.of(prices, settings.calendar or "weekdays"),
        horizon=settings.horizon,
        positive=settings.positive,
    )
