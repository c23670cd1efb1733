"""A panel as flat tensors: one row after the other, series after series.

Axes: N rows, F features, H horizon steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from features.calendar import Calendar
from features.panel import breaks
from features.volatility import with_volatility

SESSIONS = 1 << 32  # more than any calendar has: sequence × SESSIONS + session is unique and sorted


@dataclass(frozen=True)
class PanelRows:
    """Rows sorted by series and time; a *sequence* is a series' rows between two breaks.

    Attributes
    ----------
    frame : DataFrame
        The checked panel itself.
    first, last : LongTensor of shape (N,)
        The rows at which the row's own sequence begins and ends.
    session : LongTensor of shape (N,)
        Number of the row's session in the calendar.
    price : Tensor of shape (N,), float64
    level : Tensor of shape (N,), float64
        Log price, or the price itself where prices need not be positive: what the forecasts' steps add up in.
    volatility : Tensor of shape (N,), float64
        Of one step's change, as of the row; 0 where there is none yet.
    ready : BoolTensor of shape (N,)
        Rows with at least `lookback` rows of their sequence up to them: origins.
    moving : BoolTensor of shape (N,)
        Ready rows of series that are not pegged: what is learned from and scored.
    newest : BoolTensor of shape (N,)
        The last row of each series.
    position : LongTensor of shape (N,)
        Sequence and session in one sorted number, to find rows by.
    """

    frame: pl.DataFrame
    first: Tensor
    last: Tensor
    session: Tensor
    price: Tensor
    level: Tensor
    volatility: Tensor
    ready: Tensor
    moving: Tensor
    newest: Tensor
    position: Tensor

    def __len__(self) -> int:
        return len(self.session)

    @property
    def keys(self) -> pl.DataFrame:
        """``series_id`` and ``time`` of each row."""
        return self.frame.select("series_id", "time")

    def changes(self, at: Tensor, horizon: int) -> Tensor:
        """Changes of the level from each row to 1…`horizon` sessions later; NaN where that session has no row.

        Parameters
        ----------
        at : LongTensor of shape (...)

        Returns
        -------
        Tensor of shape (..., horizon), float64
        """
        sequence = self.first[at].unsqueeze(-1)
        wanted = sequence * SESSIONS + self.session[at].unsqueeze(-1) + torch.arange(1, horizon + 1)
        found = torch.searchsorted(self.position, wanted).clamp(max=len(self) - 1)
        change = self.level[found] - self.level[at].unsqueeze(-1)
        return torch.where(self.position[found] == wanted, change, torch.nan)

    def scaled_changes(self, at: Tensor, horizon: int) -> Tensor:
        """Changes ÷ (volatility at the row × √step): what networks learn; NaN where there is no truth or no scale."""
        scale = self.volatility[at].unsqueeze(-1) * root_steps(horizon)
        scale = torch.where(self.moving[at].unsqueeze(-1), scale, torch.nan)
        return self.changes(at, horizon) / scale


def root_steps(horizon: int) -> Tensor:
    """√1, √2, … √horizon, float64."""
    return torch.arange(1, horizon + 1, dtype=torch.float64).sqrt()


def panel_rows(frame: pl.DataFrame, positive: bool, target: str, calendar: Calendar, lookback: int) -> PanelRows:
    """Lay out a panel that `check_panel` has checked and sorted.

    Raises
    ------
    ValueError
        When rows are no sessions of the calendar.
    """
    measured = with_volatility(frame, target, positive)
    sequence = frame.select(pl.struct("series_id", breaks().over("series_id")).rle_id()).to_series()
    starts = np.flatnonzero((sequence != sequence.shift()).fill_null(True))
    lengths = np.diff(starts, append=len(frame))
    first = np.repeat(starts, lengths)
    session = calendar.numbers(frame["time"])
    price = frame[target].to_numpy()
    volatility = measured["volatility"].fill_null(0.0).to_numpy()
    ready = np.arange(len(frame)) - first >= lookback - 1
    series = frame["series_id"]
    tensor = torch.from_numpy
    return PanelRows(
        frame=frame,
        first=tensor(first),
        last=tensor(np.repeat(starts + lengths - 1, lengths)),
        session=tensor(session),
        price=tensor(price.copy()),
        level=tensor(np.log(price) if positive else price.copy()),
        volatility=tensor(volatility.copy()),
        ready=tensor(ready),
        moving=tensor(ready & ~measured["pegged"].to_numpy()),
        newest=tensor((series != series.shift(-1)).fill_null(True).to_numpy().copy()),
        position=tensor(first * SESSIONS + session),
    )
