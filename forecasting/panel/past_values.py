"""Levels and covariates of past sessions, looked up by series and session.

Axes: N rows, S series, G sessions from the first to the last row of each series, W newest sessions, M rows of one time,
C values of a session: the level, then covariates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Places = NDArray[np.int64]


class PastValues(Protocol):
    """Levels and covariates of past sessions, by series and session."""

    def at(self, series: Places, session: Places) -> Array:
        """Return values of shape (..., C), NaN where there is no row.

        Parameters
        ----------
        series, session : ndarray of int64, of any one shape
        """


@dataclass(frozen=True)
class PanelValues:
    """Past values of a whole panel.

    Attributes
    ----------
    begins : ndarray of shape (S + 1,)
        Where each series begins in `values`.
    first : ndarray of shape (S,)
        Session of its first row.
    values_GC : ndarray of shape (G, C)
    """

    begins: Places
    first: Places
    values_GC: Array

    @classmethod
    def of(cls, series: Places, session: Places, values_NC: Array) -> PanelValues:
        """Lay out the values of N rows, one place for each session.

        Parameters
        ----------
        series : ndarray of shape (S + 1,)
            First row of each series, then the number of rows.
        session : ndarray of shape (N,)
        values_NC : ndarray of shape (N, C)
        """
        first, last = session[series[:-1]], session[series[1:] - 1]
        begins = np.append(0, np.cumsum(last - first + 1))
        values_GC = np.full((begins[-1], values_NC.shape[1]), np.nan)
        of_row = np.repeat(np.arange(len(first)), np.diff(series))
        values_GC[begins[of_row] + session - first[of_row]] = values_NC
        return cls(begins, first, values_GC)

    def at(self, series: Places, session: Places) -> Array:
        """See `PastValues`.

        Parameters
        ----------
        series, session : ndarray of int64, of any one shape
        """
        place = session - self.first[series]
        inside = (place >= 0) & (place < (self.begins[1:] - self.begins[:-1])[series])
        values = self.values_GC[np.where(inside, self.begins[series] + place, 0)]
        values[~inside] = np.nan
        return values

    def newest(self, width: int) -> NewestValues:
        """Return the values of the last sessions of each series.

        Parameters
        ----------
        width : int
            Number of sessions, W.
        """
        session_S = self.first + np.diff(self.begins) - 1
        back_W = np.arange(width - 1, -1, -1)
        values = self.at(np.arange(len(session_S))[:, None], session_S[:, None] - back_W)
        return NewestValues(torch.from_numpy(session_S), torch.from_numpy(values))


@dataclass(frozen=True)
class NewestValues:
    """Past values of the newest sessions of each series, which one more row advances.

    Attributes
    ----------
    session_S : LongTensor of shape (S,)
        Session of the newest row.
    values_SWC : Tensor of shape (S, W, C), float64
        The newest last; NaN for a session without a row.
    """

    session_S: Tensor
    values_SWC: Tensor

    def at(self, series: Places, session: Places) -> Array:
        """See `PastValues`.

        Parameters
        ----------
        series, session : ndarray of int64, of any one shape
        """
        width = self.values_SWC.shape[1]
        place = width - 1 - (self.session_S.numpy()[series] - session)
        inside = (place >= 0) & (place < width)
        values = self.values_SWC.numpy()[series, np.where(inside, place, 0)]
        values[~inside] = np.nan
        return values

    def advanced(self, at_M: Tensor, session_M: Tensor, values_MC: Tensor) -> NewestValues:
        """Take in one row of some series; the others stay.

        Parameters
        ----------
        at_M : LongTensor of shape (M,)
            Places of the series, each once.
        session_M : LongTensor of shape (M,)
        values_MC : Tensor of shape (M, C)
        """
        width = self.values_SWC.shape[1]
        moved_M1 = torch.arange(width) + (session_M - self.session_S[at_M])[:, None]
        values_MWC = self.values_SWC[at_M[:, None], moved_M1.clamp(max=width - 1)]
        values_MWC[moved_M1 >= width] = torch.nan
        values_MWC[:, -1] = values_MC
        return NewestValues(
            self.session_S.index_copy(0, at_M, session_M), self.values_SWC.index_copy(0, at_M, values_MWC)
        )

    def with_room(self, n: int, order: Tensor) -> NewestValues:
        """Add series without a row, then sort all.

        Parameters
        ----------
        n : int
            Number of series to add.
        order : LongTensor of shape (S + n,)
            Place of each series among the old ones and then the new ones.
        """
        session_S = torch.cat([self.session_S, self.session_S.new_zeros(n)])
        empty = self.values_SWC.new_full((n, *self.values_SWC.shape[1:]), torch.nan)
        return NewestValues(session_S[order], torch.cat([self.values_SWC, empty])[order])
