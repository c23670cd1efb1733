"""Seasons of a panel, found in its calendar and confirmed by its rows, and the levels that such a panel is forecast in.

Axes: N rows, S series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.panel import PanelSchema
from tidecast.features.segments import series_starts
from tidecast.features.stray_rows import settle
from tidecast.features.volatility import DECAY

Array = NDArray[np.float64]

CONFIRMED = 0.3  # least correlation of changes with those a season before; those of prices have next to none
CERTAIN = 4.0  # standard errors of a correlation under which it may be chance
CLIP = 5.0  # mean absolute changes; a spike says little about seasons
SEASONS = 208  # of the longest kind that the volatility remembers: four years of weeks
BEYOND = 1.0  # levels beyond all known ones that a quantile may lie, 2.7 times as far out: sinh makes a wide one absurd
FURTHEST = 7.0  # known level of models saved before they stored theirs
LEVELS = ("centre", "spread", "lowest", "highest")  # arrays of the levels
NORMAL = 1.4826  # standard deviation of a normal distribution ÷ its median absolute deviation


@dataclass(frozen=True)
class SeasonalTarget:
    """What a forecaster knows of its panel's seasons. Without any, the target stays as it is.

    Attributes
    ----------
    seasons : tuple of int
        Sessions in each season, rising: (24, 168) for hours with a daily and a weekly pattern.
    series_id : tuple
        Series with levels of their own, if the target may be negative.
    centre, spread : ndarray of shape (S + 1,)
        Median, and median absolute deviation made comparable to a standard deviation, of each series; last, those of
        any other series.
    lowest, highest : ndarray of shape (S + 1,)
        Of the levels in training, likewise.
    """

    seasons: tuple[int, ...] = ()
    series_id: tuple[Any, ...] = ()
    centre: Array | None = None
    spread: Array | None = None
    lowest: Array | None = None
    highest: Array | None = None

    @classmethod
    def of(cls, panel: pl.DataFrame, target: str, positive: bool, calendar: PanelCalendar) -> SeasonalTarget:
        """Find the seasons of training rows, sorted by series and time.

        Parameters
        ----------
        panel : DataFrame
        target : str
        positive : bool
            Whether levels are log prices. If not, and the panel has seasons, levels are ``asinh((price − centre) /
            spread)``: close to the price in its usual range, close to its logarithm far from it, so that a price of 20
            times the usual one teaches the network no more than it should (Uniejewski, Weron and Ziel 2018,
            doi:10.1109/TPWRS.2017.2734563, section III).
        calendar : PanelCalendar
        """
        kinds = {one.seasons for one in calendar.calendars}
        seasons = kinds.pop() if len(kinds) == 1 else ()
        if not seasons or not _repeats(panel, target, positive, calendar, seasons):
            return cls()
        if positive:
            return cls(seasons)
        of_series = panel.group_by("series_id", maintain_order=True).agg(
            centre=pl.col(target).median(),
            spread=NORMAL * (pl.col(target) - pl.col(target).median()).abs().median(),
            mean_spread=(pl.col(target) - pl.col(target).median()).abs().mean(),
            lowest=pl.col(target).min(),
            highest=pl.col(target).max(),
        )
        of_series = of_series.with_columns(
            spread=pl.when(pl.col("spread") > 0).then("spread").when(pl.col("mean_spread") > 0).then("mean_spread")
        ).with_columns(pl.col("spread").fill_null(1.0))
        level = ((pl.col("lowest", "highest") - pl.col("centre")) / pl.col("spread")).arcsinh()
        of_series = of_series.with_columns(level)
        centre, spread, lowest, highest = (of_series[name].to_numpy() for name in LEVELS)
        return cls(
            seasons,
            tuple(of_series["series_id"]),
            np.append(centre, np.median(centre)),
            np.append(spread, np.median(spread)),
            np.append(lowest, lowest.min()),
            np.append(highest, highest.max()),
        )

    @property
    def decay(self) -> float:
        """Weight of an older squared change next to a newer one: `DECAY`, or one that remembers `SEASONS` seasons.

        The volatility of the last hours says little about the next day, and a scale that follows a spike for weeks
        spoils what the network knows of load and wind.
        """
        return 1 - 1 / (SEASONS * self.seasons[-1]) if self.seasons else DECAY

    def levels(self, frame: pl.DataFrame, target: str) -> pl.DataFrame:
        """Return rows with the target's levels in its place.

        Parameters
        ----------
        frame : polars.DataFrame
            With ``series_id``.
        target : str
        """
        if self.centre is None or self.spread is None:
            return frame
        at = self._places(frame["series_id"])
        level = np.arcsinh((frame[target].to_numpy() - self.centre[at]) / self.spread[at])
        return frame.with_columns(pl.Series(target, level))

    def prices(self, levels: Array, series_id: pl.Series, origin_N: Array) -> Array:
        """Turn forecast levels into prices, in place.

        Those further than `BEYOND` outside the levels of the training and of the origin are drawn in.

        Parameters
        ----------
        levels : ndarray of shape (N, ...)
        series_id : Series of shape (N,)
        origin_N : ndarray of shape (N,)
            Levels at the origins.
        """
        if self.centre is None or self.spread is None:
            return levels
        at = self._places(series_id)
        shape = (-1,) + (1,) * (levels.ndim - 1)
        lowest, highest = self._range(at)
        low, high = np.minimum(lowest, origin_N) - BEYOND, np.maximum(highest, origin_N) + BEYOND
        np.clip(levels, low.reshape(shape), high.reshape(shape), out=levels)
        np.sinh(levels, out=levels)
        levels *= self.spread[at].reshape(shape)
        levels += self.centre[at].reshape(shape)
        return levels

    def of_series(self, series_id: Sequence[Any]) -> SeasonalTarget:
        """Return a copy for exactly these series, to be saved with them.

        Parameters
        ----------
        series_id : sequence
        """
        if self.centre is None or self.spread is None:
            return self
        at = np.append(self._places(pl.Series(list(series_id))), len(self.centre) - 1)
        return SeasonalTarget(self.seasons, tuple(series_id), self.centre[at], self.spread[at], *self._range(at))

    def _range(self, at: NDArray[np.int64]) -> tuple[Array, Array]:
        """Lowest and highest level of the series at these places."""
        if self.lowest is None or self.highest is None:
            return np.full(len(at), -FURTHEST), np.full(len(at), FURTHEST)
        return self.lowest[at], self.highest[at]

    def _places(self, series_id: pl.Series) -> NDArray[np.int64]:
        known = pl.DataFrame({"series_id": list(self.series_id), "at": np.arange(len(self.series_id))})
        names = series_id.to_frame("series_id").with_columns(pl.col("series_id").cast(known.schema["series_id"]))
        at = names.join(known, on="series_id", how="left", maintain_order="left")["at"]
        return at.fill_null(len(self.series_id)).to_numpy()


def has_seasons(panel: pl.DataFrame, target: str, schema: PanelSchema) -> bool:
    """Whether a forecaster would find seasons in a panel.

    Parameters
    ----------
    panel : polars.DataFrame
        Sorted by series and time.
    target : str
    schema : PanelSchema
    """
    calendar = PanelCalendar.of(panel, schema.calendar).meeting(panel)
    panel, _ = settle(panel, calendar)
    return bool(SeasonalTarget.of(panel, target, schema.positive, calendar).seasons)


def _repeats(
    panel: pl.DataFrame, target: str, positive: bool, calendar: PanelCalendar, seasons: tuple[int, ...]
) -> bool:
    """Whether changes resemble those a season before, for any of the seasons."""
    starts = series_starts(panel)
    price, session = panel[target].to_numpy(), calendar.numbers(panel.select("series_id", "time"))
    series = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(panel)))
    level = np.log(price) if positive else price
    change, apart = np.diff(level, prepend=level[0]), np.diff(session, prepend=session[0])
    usable = (apart == 1) & (np.diff(series, prepend=-1) == 0)
    size = np.bincount(series, np.abs(change) * usable, len(starts)) / np.bincount(series, usable).clip(1)
    size = np.where(size > 0, size, 1.0)[series]
    change = np.where(usable, np.clip(change / size, -CLIP, CLIP), 0.0)
    return any(
        _correlation(change, usable, series, session, season) >= CONFIRMED or _recurs(level, series, session, season)
        for season in seasons
    )


def _recurs(level: Array, series: NDArray[np.int64], session: NDArray[np.int64], season: int) -> bool:
    """Whether levels less the mean of their last season resemble those a season before, despite noise.

    For a random walk the two depend on different changes, so their correlation is 0 within its standard error: 1 ÷ √ of
    the number of seasons.
    """
    if len(level) <= 2 * season:
        return False
    sums = np.cumsum(np.append(0.0, level))
    place = np.arange(season - 1, len(level))
    gap = level[place] - (sums[season:] - sums[:-season]) / season
    before = place - season + 1
    whole = (series[place] == series[before]) & (session[place] - session[before] == season - 1)
    size = np.bincount(series[place], np.abs(gap) * whole) / np.bincount(series[place], whole).clip(1)
    gap = np.clip(gap / np.where(size > 0, size, 1.0)[series[place]], -CLIP, CLIP)
    same = whole[season:] & whole[:-season] & (series[place[season:]] == series[place[:-season]])
    same &= session[place[season:]] - session[place[:-season]] == season
    now, then = gap[season:][same], gap[:-season][same]
    if not len(now):
        return False
    correlation = now @ then / np.sqrt(max((now @ now) * (then @ then), np.finfo(float).tiny))
    n_seasons = len(np.unique(session[place[season:]][same])) / season
    return bool(correlation >= max(CONFIRMED, CERTAIN / np.sqrt(n_seasons)))


def _correlation(
    change: Array, usable: NDArray[np.bool_], series: NDArray[np.int64], session: NDArray[np.int64], season: int
) -> float:
    """Correlation of changes with those `season` rows before, where these are as many sessions before."""
    if len(change) <= season:
        return 0.0
    same = usable[season:] & usable[:-season] & (series[season:] == series[:-season])
    same &= session[season:] - session[:-season] == season
    now, before = change[season:][same], change[:-season][same]
    return float(now @ before / np.sqrt(max((now @ now) * (before @ before), np.finfo(float).tiny)))
