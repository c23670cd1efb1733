"""Future covariates that each row brings with it: the values of the next sessions as they were known at the row.

Axes: S series, M rows of the panel, N origins, H horizon steps, Z future covariates.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidecast.features.error_text import counted
from tidecast.features.known_ahead.table import has_lists, lists_of
from tidecast.features.known_ahead.vintages import SPAN, pair_keys
from tidecast.features.panel import AHEAD
from tidecast.forecasting.panel.known_covariates import CovariatesAhead


@dataclass(frozen=True)
class ValuesAhead(CovariatesAhead):
    """Future covariates, looked up by the series and session of the origin.

    Attributes
    ----------
    names : tuple of str
    series_id : Series of shape (S,)
    keys_M : ndarray of shape (M,), int64
        Series and session of the rows in one number, rising.
    values_MHZ : ndarray of shape (M, H, Z), float64
        Unscaled; NaN for what was not known.
    """

    names: tuple[str, ...]
    series_id: pl.Series
    keys_M: NDArray[np.int64]
    values_MHZ: NDArray[np.float64]

    @classmethod
    def of(
        cls, frame: pl.DataFrame, names: Sequence[str], series_id: pl.Series, series_M: NDArray[np.int64],
        session_M: NDArray[np.int64], horizon: int,
    ) -> ValuesAhead:  # fmt: skip
        """Take them from the lists of a panel sorted by series and session.

        Parameters
        ----------
        frame : polars.DataFrame
        names : sequence of str
            Covariates whose lists the panel has.
        series_id : polars.Series
            The panel's series, sorted.
        series_M, session_M : ndarray of shape (M,)
            Places of the series, and session numbers, of the rows.
        horizon : int

        Raises
        ------
        ValueError
            Lists are shorter than the horizon, or hold an infinite value.
        """
        values = np.empty((len(frame), horizon, len(names)))
        for z, name in enumerate(names):
            lists_MH = lists_of(frame[name + AHEAD])
            if lists_MH.shape[1] < horizon:
                raise ValueError(
                    f"{name + AHEAD!r} must hold a value for each of the {horizon} steps, found lists of "
                    f"{lists_MH.shape[1]}. Call with_future or with_events with horizon={horizon}."
                )
            if np.isinf(lists_MH).any():
                raise ValueError(f"{name + AHEAD!r} must be finite, found infinite values. Drop them.")
            values[:, :, z] = lists_MH[:, :horizon]
        return cls(tuple(names), series_id, pair_keys(series_M, session_M), values)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Keys and values."""
        return self.keys_M, self.values_MHZ

    def values(self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int) -> NDArray[np.float64]:
        """Covariates of the `horizon` sessions after these origins, shape (N, H, Z) for any N; NaN where not known.

        Parameters
        ----------
        series_N : ndarray of shape (N,)
            Places of the series among `series_id`.
        session_N : ndarray of shape (N,)
            Session numbers of the origins.
        horizon : int
            Sessions.
        """
        keys = pair_keys(series_N, session_N)
        row = np.searchsorted(self.keys_M, keys).clip(max=max(len(self.keys_M) - 1, 0))
        values = self.values_MHZ[row][..., :horizon, :]
        values[self.keys_M[row] != keys] = np.nan
        return values

    def check(self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int) -> None:
        """Warn of origins at the end of a series where a value ahead was not known.

        Parameters
        ----------
        series_N, session_N : ndarray of shape (N,)
            As of `values`.
        horizon : int
            Sessions.

        Warns
        -----
        UserWarning
            Naming the first such value: the network then sees the mean of training.
        """
        ends = np.append(self.keys_M[1:] // SPAN != self.keys_M[:-1] // SPAN, True)[: len(self.keys_M)]
        newest_N = np.isin(pair_keys(series_N, session_N), self.keys_M[ends])
        unknown = np.isnan(self.values(series_N[newest_N], session_N[newest_N], horizon))
        if not unknown.any():
            return
        n, h, z = np.argwhere(unknown)[0]
        who = self.series_id[int(series_N[newest_N][n])]
        warnings.warn(
            f"The future covariate {self.names[z]!r} should be known for each session after an origin, found none for "
            f"step {h + 1} of series {who!r} ({counted(int(unknown.sum()), 'value')} in all). The mean of the "
            "training rows is used instead; deliver the values for a better forecast.",
            stacklevel=2,
        )


@dataclass(frozen=True)
class JoinedCovariates(CovariatesAhead):
    """Future covariates of which some come with each row and others are looked up by session.

    Attributes
    ----------
    names : tuple of str
        In the order in which values are returned.
    parts : tuple of CovariatesAhead
    """

    names: tuple[str, ...]
    parts: tuple[CovariatesAhead, ...]

    @property
    def _order(self) -> list[int]:
        given = [name for part in self.parts for name in part.names]
        return [given.index(name) for name in self.names]

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Those of the parts."""
        return tuple(array for part in self.parts for array in part.arrays)

    def values(self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int) -> NDArray[np.float64]:
        """As of the parts.

        Parameters
        ----------
        series_N, session_N, horizon
            As of `ValuesAhead.values`.
        """
        found = [part.values(series_N, session_N, horizon) for part in self.parts]
        return np.concatenate(found, axis=-1)[..., self._order]

    def check(self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int) -> None:
        """Check each part.

        Parameters
        ----------
        series_N, session_N, horizon
            As of `ValuesAhead.check`.
        """
        for part in self.parts:
            part.check(series_N, session_N, horizon)


def lists_at(frame: pl.DataFrame, names: Sequence[str], horizon: int, optional: bool = False) -> Tensor | None:
    """Return the lists of rows, shape (N, H, Z), NaN for covariates without lists; None where there is no list at all.

    Parameters
    ----------
    frame : polars.DataFrame
    names : sequence of str
        Future covariates.
    horizon : int
    optional : bool, default=False
        Whether to return NaN instead of None.
    """
    lists = [name for name in names if has_lists(frame, name)]
    if not lists and not optional:
        return None
    values = torch.full((len(frame), horizon, len(names)), torch.nan, dtype=torch.float64)
    if lists:
        row = np.arange(len(frame))
        own = ValuesAhead.of(frame, lists, pl.Series(row), row, row, horizon)
        values[..., [names.index(name) for name in lists]] = torch.from_numpy(own.values_MHZ)
    return values
