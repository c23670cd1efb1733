"""Snapshots of series at a row: all that a forecast needs, and how one more row advances them.

Axes: N origins, M rows taken in, K newest levels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import polars as pl
import torch
from torch import Tensor

from tidecast.features.segments import MAX_PAUSE
from tidecast.features.volatility import DECAY
from tidecast.forecasting.panel.flat_panel import FlatPanel


@dataclass(frozen=True)
class Snapshot:
    """Origins, and what is known there of the segment that each belongs to.

    Attributes
    ----------
    series_id, time : Series
    session : LongTensor of shape (N,)
    rows : LongTensor of shape (N,)
        Rows of the segment so far; 0 for a series without a row.
    price, volatility : Tensor of shape (N,), float64
        As in `FlatPanel`.
    first_session : LongTensor of shape (N,)
        Session of the segment's first row.
    first_level : Tensor of shape (N,), float64
    levels_NK : Tensor of shape (N, K), float64
        The newest K levels, the origin's own last; a shorter segment repeats its first one.
    """

    series_id: pl.Series
    time: pl.Series
    session: Tensor
    rows: Tensor
    price: Tensor
    volatility: Tensor
    first_session: Tensor
    first_level: Tensor
    levels_NK: Tensor

    def __len__(self) -> int:
        return len(self.session)

    @property
    def keys(self) -> pl.DataFrame:
        """``series_id`` and ``time``."""
        return pl.DataFrame({"series_id": self.series_id, "time": self.time})

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the keys, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)[2:]}

    def take(self, at_N: Tensor) -> Snapshot:
        """The origins at these places.

        Parameters
        ----------
        at_N : Tensor of shape (N,)
            Places of series.
        """
        places = at_N.numpy()
        taken = {name: values[at_N] for name, values in self.tensors().items()}
        return Snapshot(self.series_id[places], self.time[places], **taken)

    def with_room(self, series_id: pl.Series) -> tuple[Snapshot, Tensor]:
        """Add series without a row, and sort all by name.

        Parameters
        ----------
        series_id : polars.Series
            New ones.

        Returns
        -------
        snapshot : Snapshot
        order : LongTensor of shape (N,)
            Place of each series among the old ones followed by the new ones.
        """
        names = pl.concat([self.series_id, series_id])
        order = torch.from_numpy(names.arg_sort().to_numpy().astype(np.int64))
        extended = {
            name: torch.cat([values, values.new_zeros(len(series_id), *values.shape[1:])])
            for name, values in self.tensors().items()
        }
        times = self.time.extend_constant(None, len(series_id))
        return Snapshot(names, times, **extended).take(order), order

    def advanced(
        self,
        at_M: Tensor,
        time: pl.Series,
        session_M: Tensor,
        price_M: Tensor,
        level_M: Tensor,
        longest_M: pl.Series | None = None,
        decay: float = DECAY,
    ) -> tuple[Snapshot, Tensor]:
        """Advance the series at `at_M` by one row; the others stay.

        A pause is longer than `MAX_PAUSE`, or than the durations `longest_M`. Volatility follows its recursion,
        n ← λn + r² and d ← λd + 1 with λ = `decay`; d follows from the number of rows.

        Parameters
        ----------
        at_M : Tensor of shape (M,)
            Places of the series, each once.
        time : polars.Series
            Of the new rows.
        session_M : Tensor of shape (M,)
            Session numbers of the new rows.
        price_M, level_M : Tensor of shape (M,)
            Prices of the new rows, and their levels (logarithms, where prices are positive).
        longest_M : polars.Series, optional
            The longest pause of each series.
        decay : float, default=0.94
            λ.

        Returns
        -------
        snapshot : Snapshot
        begins : BoolTensor of shape (M,)
            Rows that begin a segment: the first of a series, or after a pause.
        """
        old = self.take(at_M)
        limit = MAX_PAUSE if longest_M is None else longest_M
        paused = torch.from_numpy((time - old.time > limit).fill_null(True).to_numpy().copy())
        begins = paused | (old.rows == 0)
        change = level_M - old.levels_NK[:, -1]
        n = decay * _weights(old.rows - 1, decay) * old.volatility**2 + change**2
        levels_MK = torch.cat([old.levels_NK[:, 1:], level_M[:, None]], dim=1)
        new = {
            "session": session_M,
            "rows": torch.where(begins, 1, old.rows + 1),
            "price": price_M,
            "volatility": torch.where(begins, 0.0, (n / _weights(old.rows, decay)).sqrt()),
            "first_session": torch.where(begins, session_M, old.first_session),
            "first_level": torch.where(begins, level_M, old.first_level),
            "levels_NK": torch.where(begins[:, None], level_M[:, None], levels_MK),
        }
        times = self.time.clone().scatter(at_M.numpy(), time)
        advanced = {name: values.index_copy(0, at_M, new[name]) for name, values in self.tensors().items()}
        return Snapshot(self.series_id, times, **advanced), begins


def snapshot_of(rows: FlatPanel, at_N: Tensor, n_levels: int = 1) -> Snapshot:
    """Snapshot of the rows `at_N` of a panel.

    Parameters
    ----------
    rows : FlatPanel
    at_N : LongTensor of shape (N,)
    n_levels : int, default=1
        Newest levels to hold, K.
    """
    first_N = rows.first(at_N)
    newest_NK = at_N[:, None] - torch.arange(n_levels - 1, -1, -1)
    keys = rows.keys[at_N.numpy()]
    return Snapshot(
        series_id=keys["series_id"],
        time=keys["time"],
        session=rows.session[at_N].long(),
        rows=at_N - first_N + 1,
        price=rows.price(at_N),
        volatility=rows.volatility[at_N],
        first_session=rows.session[first_N].long(),
        first_level=rows.level(first_N),
        levels_NK=rows.level(torch.maximum(newest_NK, first_N[:, None])),
    )


def _weights(changes: Tensor, decay: float) -> Tensor:
    """Sum of the weights of that many changes, d = 1 + λ + λ² + …; 0 for none."""
    return (1 - decay ** changes.clamp(min=0).double()) / (1 - decay)
