"""Origins of forecasts: found among a panel's rows, written out as a forecast table.

Axes: N origins, H horizon steps, Q quantiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import meant
from tidecast.forecasting.panel.flat_panel import FlatPanel
from tidecast.forecasting.tables.quantiles import MEDIAN, quantile_columns


class NoOriginError(ValueError):
    """A panel has no row to forecast from."""


@dataclass(frozen=True)
class Origins:
    """Rows that forecasts start from, and a forecaster's outputs for them.

    Attributes
    ----------
    keys : DataFrame
        ``series_id`` and ``time``, one row an origin.
    session : LongTensor of shape (N,)
    price, volatility : Tensor of shape (N,), float64
    median_change_NH : Tensor of shape (N, H), float64
        Expected change of the level for each step; 0 for the random walk.
    outputs_NHQ : Tensor of shape (N, H, Q)
        A network's outputs, which shape the base quantiles; 0 for the random walk.
    calendar : PanelCalendar
    """

    keys: pl.DataFrame
    session: Tensor
    price: Tensor
    volatility: Tensor
    median_change_NH: Tensor
    outputs_NHQ: Tensor
    calendar: PanelCalendar

    def __len__(self) -> int:
        return len(self.session)

    def table(self, values_NHQ: NDArray[np.float64], levels: Sequence[float]) -> pl.DataFrame:
        """Forecast table with a row per origin and step.

        Parameters
        ----------
        values_NHQ : ndarray of shape (N, H, Q)
            Quantiles in the unit of the target.
        levels : sequence of float
            Levels of the last axis, in rising order.

        Returns
        -------
        DataFrame
            ``series_id``, ``origin``, ``step``, ``time``, ``forecast`` and a column for each other quantile.
        """
        horizon = values_NHQ.shape[1]
        steps = np.tile(np.arange(1, horizon + 1), len(self))
        sessions = np.repeat(self.session.numpy(), horizon) + steps
        keys = self.keys[np.repeat(np.arange(len(self)), horizon)]
        others = quantile_columns(levels)
        names = [*others[: (median := levels.index(MEDIAN))], "forecast", *others[median:]]
        quantiles = pl.DataFrame(values_NHQ.reshape(-1, len(levels)), schema=names, orient="row")
        return keys.select(
            "series_id",
            origin="time",
            step=pl.Series(steps, dtype=pl.Int32),
            time=self.calendar.times(keys["series_id"], sessions).cast(keys["time"].dtype),
        ).hstack(quantiles.select("forecast", *others))


def find_origins(rows: FlatPanel, origins: str | Sequence[Any], since: date | datetime, horizon: int) -> Tensor:
    """Numbers of the rows to forecast from, in order.

    Parameters
    ----------
    rows : FlatPanel
    origins : {"last", "new", "all"} or list of times
        As for `predict`.
    since : date or datetime
        Time from which origins are new.
    horizon : int

    Returns
    -------
    LongTensor of shape (n_origins,)

    Raises
    ------
    ValueError, TypeError
        `origins` is none of these.
    """
    if isinstance(origins, str) and origins == "last":
        return rows.newest[rows.ready[rows.newest]]
    if not isinstance(origins, str):
        times = _as_times(origins).cast(rows.frame.schema["time"])
        wanted = rows.ready & torch.from_numpy(rows.frame["time"].is_in(times.implode()).to_numpy().copy())
    elif origins == "new":
        wanted = rows.ready & ~rows.before(since)
    elif origins == "all":
        wanted = rows.ready
    else:
        hint = meant(origins, ("last", "new", "all"))
        raise ValueError(f'origins must be "last", "new", "all" or a list of times, got {origins!r}.{hint}')
    at = torch.nonzero(wanted)[:, 0]
    if isinstance(origins, str) and origins == "new":  # only if the whole horizon lies in the panel
        newest_S = rows.sessions_at(cast("date | datetime", rows.frame["time"].max()))
        at = at[rows.session[at] + horizon <= newest_S[rows.segment(at)]]
    return at


def _as_times(origins: Any) -> pl.Series:
    try:
        times = pl.Series(origins if hasattr(origins, "dtype") else list(origins))
    except TypeError:
        times = pl.Series([origins])
    if not (times.is_empty() or times.dtype.is_temporal()):
        raise TypeError(f'origins must be "last", "new", "all" or a list of dates or datetimes, got {origins!r}.')
    return times
