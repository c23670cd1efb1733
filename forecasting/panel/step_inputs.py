"""Inputs of single steps of a forecast: what is known ahead of the session that a step is for, or from seasons.

Axes: N origins, H horizon steps, J lags of a step, K seasons, Z future covariates, U inputs of a step, C values of a
past session: level, covariates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidecast.forecasting.panel.flat_panel import root_steps
from tidecast.forecasting.panel.known_covariates import CovariatesAhead
from tidecast.forecasting.panel.past_values import PastValues, Places
from tidecast.forecasting.panel.scaling import InputScaler

Array = NDArray[np.float64]

FURTHER = 2  # counterparts in the shortest season besides the newest: two and three days ago
ONE_BY_ONE = 8  # places in a season up to which each has an input of its own, as the days of a week
HARMONICS = 3  # sines and cosines of the place in a longer season


@dataclass(frozen=True)
class StepInputs:
    """Turns what is known of the session of each step into numbers, with scales estimated on training rows.

    They are, in order: the target's level at the same place of earlier seasons, less the level at the origin, in the
    unit of the targets of training (of the shortest season the three newest that lie at or before the origin, of the
    others the newest); each future covariate, and its change against the newest of each season; the place of the
    session in the seasons.

    Attributes
    ----------
    seasons : tuple of int
        Sessions in each season, rising.
    horizon : int
    names : tuple of str
        Future covariates.
    scaler : InputScaler, optional
        None before it is estimated.
    """

    seasons: tuple[int, ...]
    horizon: int
    names: tuple[str, ...]
    scaler: InputScaler | None = None

    @property
    def lags_JH(self) -> Places:
        """Sessions from each step's own back to its counterparts; the first K are those of each season."""
        step_H = np.arange(1, self.horizon + 1)
        newest = [season * -(-step_H // season) for season in self.seasons]
        if not newest:
            return np.zeros((0, self.horizon), dtype=np.int64)
        return np.stack([*newest, *(newest[0] + k * self.seasons[0] for k in range(1, FURTHER + 1))])

    @property
    def n_steps(self) -> int:
        """Steps with inputs of their own."""
        return self.horizon

    @property
    def columns(self) -> list[str]:
        """Names of the inputs of a step, in order."""
        lags = [f"level {season} sessions ago or more" for season in self.seasons]
        lags += [f"level {k} days earlier" for k in range(1, len(self.lags_JH) - len(lags) + 1)]
        changes = [f"{name} less {season} sessions ago" for season in self.seasons for name in self.names]
        n_places = self.width - len(lags) - len(self.names) - len(changes)
        return [*lags, *self.names, *changes, *(f"place {k}" for k in range(n_places))]

    @property
    def width(self) -> int:
        """Number of inputs of a step, U."""
        return len(self.lags_JH) + len(self.names) * (1 + len(self.seasons)) + self._places(np.zeros(1)).shape[-1]

    @property
    def memory(self) -> int:
        """Newest sessions that the inputs depend on, W."""
        return int((self.lags_JH - np.arange(1, self.horizon + 1)).max(initial=0)) + 1

    def numbers(
        self, past: PastValues, known: CovariatesAhead | None, series_N: Places, session_N: Places, level_N: Array,
        volatility_N: Array,
    ) -> Array:  # fmt: skip
        """Return the inputs, not scaled, shape (N, H, U) for any N; NaN where one is missing.

        Parameters
        ----------
        past : PastValues
        known : CovariatesAhead or None
        series_N, session_N : ndarray of int64
            Of the origins.
        level_N, volatility_N : ndarray of shape (N,)
            At the origins.
        """
        step_H, lags_JH = np.arange(1, self.horizon + 1), self.lags_JH
        session_NH = session_N[..., None] + step_H
        before_NJHC = past.at(series_N[..., None, None], session_NH[..., None, :] - lags_JH)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale_N1H = volatility_N[..., None, None] * root_steps(self.horizon).numpy()
            moved_NJH = (before_NJHC[..., 0] - level_N[..., None, None]) / scale_N1H
        moved_NJH[~np.isfinite(moved_NJH)] = np.nan
        parts = [np.moveaxis(moved_NJH, -2, -1)]
        if known is not None and self.names:
            z_NHZ = known.values(series_N, session_N, self.horizon)
            before_NKHZ = before_NJHC[..., : len(self.seasons), :, 1:]
            parts += [z_NHZ, *(z_NHZ - before_NKHZ[..., k, :, :] for k in range(len(self.seasons)))]
        return np.concatenate([*parts, self._places(session_NH)], axis=-1)

    def fitted(self, numbers_NHU: Array) -> StepInputs:
        """Return a copy whose scales are those of these numbers.

        Parameters
        ----------
        numbers_NHU : ndarray of shape (N, H, U)
        """
        return replace(self, scaler=InputScaler.fit(numbers_NHU.reshape(-1, numbers_NHU.shape[-1])))

    def scaled(self, numbers_NHU: Array) -> Tensor:
        """Standardised inputs of the same shape, float32; 0 where one is missing.

        Parameters
        ----------
        numbers_NHU : ndarray of shape (..., H, U)
        """
        assert self.scaler is not None
        flat = self.scaler.transform(numbers_NHU.reshape(-1, numbers_NHU.shape[-1]))
        return torch.from_numpy(flat.reshape(numbers_NHU.shape))

    def _places(self, session: Array | Places) -> Array:
        """Inputs for the places of sessions in the seasons, shape (..., any)."""
        parts, unit = [], 1
        for season in self.seasons:
            n_places, place = season // unit, (session // unit) % (season // unit)
            if n_places <= ONE_BY_ONE:
                parts += [(place == k).astype(np.float64) for k in range(n_places)]
            else:
                angle = 2 * math.pi / n_places * place
                parts += [wave(n * angle) for n in range(1, HARMONICS + 1) for wave in (np.sin, np.cos)]
            unit = season if n_places * unit == season else 1
        return np.stack(parts, axis=-1) if parts else np.empty((*session.shape, 0))


class SharedInputs(StepInputs):
    """The inputs of all steps, read by each step: prices and covariates of one hour tell of the others.

    The places of the session are left out, because those of the origin say as much. All steps have the same numbers,
    so one step stands for all: arrays have the shape (N, 1, U).
    """

    @property
    def n_steps(self) -> int:
        """One, which stands for all."""
        return 1

    @property
    def columns(self) -> list[str]:
        """Names of the inputs, in order."""
        names = super().columns[: self._per_step]
        return [f"{name}, step {step}" for step in range(1, self.horizon + 1) for name in names]

    @property
    def width(self) -> int:
        """Number of inputs, U."""
        return self.horizon * self._per_step

    def numbers(
        self, past: PastValues, known: CovariatesAhead | None, series_N: Places, session_N: Places, level_N: Array,
        volatility_N: Array,
    ) -> Array:  # fmt: skip
        """As `StepInputs.numbers`, of shape (N, 1, U).

        Parameters
        ----------
        past, known, series_N, session_N, level_N, volatility_N
            As there.
        """
        of_steps_NHU = super().numbers(past, known, series_N, session_N, level_N, volatility_N)
        return of_steps_NHU[..., : self._per_step].reshape(*session_N.shape, 1, self.width)

    @property
    def _per_step(self) -> int:
        return len(self.lags_JH) + len(self.names) * (1 + len(self.seasons))
