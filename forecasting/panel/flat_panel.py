"""A panel as flat arrays: one row after the other, series after series.

Axes: N rows, S segments, H horizon steps.

Each row costs 4 bytes of session, 8 of volatility and 2 of flags. Prices stay in the panel's own memory. Anything
larger is computed for one block of series at a time, or for the rows asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from itertools import pairwise

import numpy as np
import polars as pl
import polars.selectors as cs
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.segments import BLOCK, blocks_of, segment_starts, series_starts
from tidecast.features.volatility import DECAY, with_changes, with_volatility
from tidecast.forecasting.estimator.mapped_arrays import new_array
from tidecast.forecasting.panel.known_covariates import CovariatesAhead
from tidecast.forecasting.panel.past_values import PanelValues


@dataclass(frozen=True)
class FlatPanel:
    """Rows sorted by series and time. A *segment* is the rows of one series between two long pauses.

    Attributes
    ----------
    frame : DataFrame
        The checked panel.
    starts : LongTensor of shape (S + 1,)
        First row of each segment, then the number of rows.
    series : LongTensor of shape (n_series + 1,)
        First row of each series, then the number of rows.
    times : ndarray of shape (N,), int
        The column ``time`` as stored: days or microseconds since 1970.
    session : IntTensor of shape (N,)
        Number of the row's session in its calendar.
    prices : ndarray of shape (N,), float64
    volatility : Tensor of shape (N,), float64
        Of one step's change, as of the row; 0 while unknown.
    ready : BoolTensor of shape (N,)
        Rows that may be origins: at least `lookback` rows of their segment lie at or before them.
    target : str
        The column of prices.
    positive : bool
        Whether levels are log prices; otherwise they are the prices.
    calendar : PanelCalendar
        The calendar of each series.
    known_covariates : CovariatesAhead, optional
        Future covariates, for networks that see some.
    season : int, default=0
        Rows of the longest season, see `with_volatility`.
    """

    frame: pl.DataFrame
    starts: Tensor
    series: Tensor
    times: NDArray[np.integer]
    session: Tensor
    prices: NDArray[np.float64]
    volatility: Tensor
    ready: Tensor
    target: str
    positive: bool
    calendar: PanelCalendar
    known_covariates: CovariatesAhead | None = None
    season: int = 0

    def __len__(self) -> int:
        return len(self.session)

    @property
    def keys(self) -> pl.DataFrame:
        """``series_id`` and ``time`` of each row."""
        return self.frame.select("series_id", "time")

    @cached_property
    def moving(self) -> Tensor:
        """Ready rows of series that are not pegged, bool of shape (N,): the rows to learn from and to score."""
        moving = self.ready.clone()
        for block in self.blocks():
            prices = self.frame[block].select(
                *self.keys.columns, self.target, cs.by_name("calendar", require_all=False)
            )
            pegged = with_volatility(prices, self.target, self.positive, self.season)["pegged"]
            moving[block] &= torch.from_numpy(~pegged.to_numpy())
        return moving

    @cached_property
    def past_values(self) -> PanelValues:
        """The level and the future covariates of each row, by session."""
        names = () if self.known_covariates is None else self.known_covariates.names
        columns = [self.frame[name].fill_null(float("nan")).to_numpy() for name in names]
        levels = self.level(torch.arange(len(self))).numpy()
        return PanelValues.of(
            self.series.numpy(), self.session.numpy().astype(np.int64), np.column_stack([levels, *columns])
        )

    @property
    def series_id(self) -> pl.Series:
        """The name of each series."""
        return self.frame["series_id"][self.series[:-1].numpy()]

    @property
    def newest(self) -> Tensor:
        """The last row of each series."""
        return self.series[1:] - 1

    @property
    def usual_distance(self) -> int:
        """Median number of sessions from a row to the next of its segment; 1 without missing rows, 0 without a pair."""
        inside = torch.ones(len(self) - 1, dtype=torch.bool)
        inside[self.starts[1:-1] - 1] = False
        steps = self.session.diff()[inside]
        return int(steps.median()) if len(steps) else 0

    @property
    def longest_span(self) -> int:
        """Most sessions from the first to the last row of a segment."""
        return int((self.session[self.starts[1:] - 1] - self.session[self.starts[:-1]]).max())

    def segment(self, at: Tensor) -> Tensor:
        """Numbers of the segments that these rows belong to.

        Parameters
        ----------
        at : Tensor
            Row numbers, of any shape.
        """
        return torch.searchsorted(self.starts, at.contiguous(), right=True) - 1

    def series_of(self, at: Tensor) -> Tensor:
        """Numbers of the series that these rows belong to.

        Parameters
        ----------
        at : Tensor
            Row numbers, of any shape.
        """
        return torch.searchsorted(self.series, at.contiguous(), right=True) - 1

    def first(self, at: Tensor) -> Tensor:
        """First row of the segment of each of these rows.

        Parameters
        ----------
        at : Tensor
            Row numbers, of any shape.
        """
        return self.starts[self.segment(at)]

    def last(self, at: Tensor) -> Tensor:
        """Last row of the segment of each of these rows.

        Parameters
        ----------
        at : Tensor
            Row numbers, of any shape.
        """
        return self.starts[self.segment(at) + 1] - 1

    def price(self, at: Tensor) -> Tensor:
        """Prices of these rows, float64.

        Parameters
        ----------
        at : Tensor
            Row numbers, of any shape.
        """
        return torch.from_numpy(self.prices[at.numpy()])

    def level(self, at: Tensor) -> Tensor:
        """Log prices of these rows, or prices where they need not be positive; changes of it add up over steps.

        Parameters
        ----------
        at : Tensor
            Row numbers, of any shape.
        """
        price = self.prices[at.numpy()]
        return torch.from_numpy(np.log(price) if self.positive else price)

    def before(self, time: date | datetime, included: bool = False) -> Tensor:
        """Whether each row lies before this time (or at it), bool of shape (N,).

        Parameters
        ----------
        time : date or datetime
            In the unit and time zone of the panel's ``time``.
        included : bool, default=False
            Whether a row at that time counts.
        """
        limit = pl.Series([time]).cast(self.frame.schema["time"]).to_physical()[0]
        return torch.from_numpy(self.times <= limit if included else self.times < limit)

    def sessions_at(self, time: date | datetime) -> Tensor:
        """The number of the last session at or before this time, in the calendar of each segment; shape (S,).

        Parameters
        ----------
        time : date or datetime
        """
        return torch.from_numpy(self.calendar.through(self.frame["series_id"][self.starts[:-1].numpy()], time))

    def lengths(self, until_S: Tensor) -> Tensor:
        """Number of rows of each segment up to the sessions `until_S`, shape (S,).

        Parameters
        ----------
        until_S : Tensor of shape (S,)
            A session number for each segment.
        """
        low, high = self.starts[:-1], self.starts[1:]
        for _ in range(int((high - low).max()).bit_length()):  # a binary search in all segments at once
            middle = (low + high) // 2
            before = (low < high) & (self.session[middle.clamp(max=len(self) - 1)] <= until_S)
            low, high = torch.where(before, middle + 1, low), torch.where(before, high, middle)
        return low - self.starts[:-1]

    def changes(self, at: Tensor, horizon: int) -> Tensor:
        """Changes of the level from each row to 1…`horizon` sessions later; NaN where that session has no row.

        Parameters
        ----------
        at : LongTensor of shape (...)
        horizon : int
            Sessions.

        Returns
        -------
        Tensor of shape (..., horizon), float64
        """
        at = at.unsqueeze(-1)
        later = at + torch.arange(1, horizon + 1)  # sessions rise by 1 or more a row, so none lies further on
        inside = later <= self.last(at)
        later = torch.where(inside, later, at)
        step = self.session[later] - self.session[at]
        column = torch.where(inside & (step <= horizon), step - 1, horizon).long()  # the last column is dropped
        found = torch.full((*later.shape[:-1], horizon + 1), torch.nan, dtype=torch.float64)
        return found.scatter_(-1, column, self.level(later) - self.level(at))[..., :horizon]

    def scaled_changes(self, at: Tensor, horizon: int) -> Tensor:
        """Changes ÷ (volatility at the row × √step), the targets of networks; NaN without a truth or a scale.

        Parameters
        ----------
        at : Tensor
            Row numbers, of shape (...).
        horizon : int
            Sessions.

        Returns
        -------
        Tensor of shape (..., horizon), float64
        """
        scale = self.volatility[at].unsqueeze(-1) * root_steps(horizon)
        scale = torch.where(self.moving[at].unsqueeze(-1), scale, torch.nan)
        return self.changes(at, horizon) / scale

    def blocks(self) -> Iterator[slice]:
        """Rows of whole series, about `BLOCK` at a time, in order."""
        return blocks_of(self.series.numpy())

    def ends(self, at: Tensor) -> Tensor:
        """The last of the rows `at`, in rising order, in each segment that has any.

        Parameters
        ----------
        at : Tensor
            Row numbers, of shape (N,).
        """
        _, counts = torch.unique_consecutive(self.segment(at), return_counts=True)
        return at[counts.cumsum(0) - 1]


def within(block: slice, at: Tensor) -> slice:
    """Places of the rows `at`, in rising order, that lie in a block.

    Parameters
    ----------
    block : slice
        Of rows.
    at : Tensor
        Row numbers, of shape (N,).
    """
    return slice(*torch.searchsorted(at, torch.tensor([block.start, block.stop])).tolist())


def root_steps(horizon: int) -> Tensor:
    """√1, √2, … √horizon, float64.

    Parameters
    ----------
    horizon : int
    """
    return torch.arange(1, horizon + 1, dtype=torch.float64).sqrt()


def panel_rows(
    frame: pl.DataFrame, positive: bool, target: str, calendar: PanelCalendar, lookback: int, decay: float = DECAY
) -> FlatPanel:
    """Lay out a panel that `check_panel` has checked and sorted.

    Parameters
    ----------
    frame : DataFrame
    positive : bool
    target : str
    calendar : PanelCalendar
    lookback : int
        Rows that an origin needs at or before it.
    decay : float, default=0.94
        λ of the volatility.

    Returns
    -------
    FlatPanel

    Raises
    ------
    ValueError
        A row is not a session of the calendar.
    """
    n_rows, daily = len(frame), frame.schema["time"] == pl.Date
    times = frame["time"].to_physical().to_numpy()
    series = series_starts(frame)
    starts, series = (np.append(begins, n_rows) for begins in (segment_starts(frame, series), series))
    session = new_array((n_rows,), np.int32 if daily else np.int64)
    volatility = new_array((n_rows,), np.float64)
    columns = [name for name in ("series_id", "time", target, "calendar") if name in frame.columns]
    for block in blocks_of(series):
        prices = frame[block].select(columns)
        session[block] = calendar.numbers(prices.select("series_id", "time"))
        begins = series[(series >= block.start) & (series < block.stop)] - block.start
        changes = with_changes(prices, target, positive, begins, decay)
        volatility[block] = changes["volatility"].fill_null(0.0).to_numpy()
    ready = np.zeros(n_rows, dtype=bool)
    for begin, end in pairwise(starts.tolist()):
        ready[begin + lookback - 1 : end] = True
    return FlatPanel(
        frame=frame,
        starts=torch.from_numpy(starts),
        series=torch.from_numpy(series),
        times=times,
        session=torch.from_numpy(session),
        prices=frame[target].to_numpy(),
        volatility=torch.from_numpy(volatility),
        ready=torch.from_numpy(ready),
        target=target,
        positive=positive,
        calendar=calendar,
    )


def thinned(mask: Tensor, most: int, season: int = 1) -> Tensor:
    """Every k-th place where `mask` holds, at most about `most`, so that estimates need bounded memory.

    Parameters
    ----------
    mask : BoolTensor of shape (N,)
    most : int
    season : int, default=1
        Rows of a season, of which k leaves out no part.

    Returns
    -------
    LongTensor of shape (any,)
    """
    every, seen, places = max(1, -(-int(mask.count_nonzero()) // most)), 0, []  # sum() would take 8 bytes a row
    while math.gcd(every, season) > 1:
        every += 1
    for begin in range(0, len(mask), BLOCK):
        at = torch.nonzero(mask[begin : begin + BLOCK])[:, 0] + begin
        places.append(at[-seen % every :: every].clone())  # a view would keep the whole array in memory
        seen += len(at)
    return torch.cat(places)
