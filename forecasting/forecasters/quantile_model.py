"""Quantiles around the median change, in units of volatility · √step.

Axes: N origins, H horizon steps, Q quantiles, P outputs of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidecast.forecasting.forecasters.conformal import calibrate, credibility, outwards
from tidecast.forecasting.network.heads import HEADS, SCALE, Head
from tidecast.forecasting.panel.scaling import weighted_quantiles
from tidecast.forecasting.tables.quantiles import MEDIAN

Array = NDArray[np.float64]

MEDIAN_SCALE = 0.1  # least move of the median per unit of output, in volatilities: prices hardly drift
CLOSEST = 0.25  # least gap between quantiles, as a share of the gap that training changes show: no ties
AT_A_TIME = 1 << 9  # origins whose quantiles are computed together: they stay in the cache


@dataclass(frozen=True)
class QuantileModel:
    """Quantiles of standardised changes, shaped by a network's outputs and calibrated.

    Attributes
    ----------
    levels : tuple of float
        In rising order, 0.5 among them.
    base_HQ : Tensor of shape (H, Q), float64
        Quantiles for outputs of 0; the median is exactly 0.
    offsets_HQ : ndarray of shape (H, Q)
        Added by the calibration, times the width of the quantiles relative to the base.
    scale_H : Tensor of shape (H,), float64
        Move of the median per unit of output, in volatilities · √step. It sets how fast a network learns the median,
        see `LinearForecast`.
    head : str, default="scale"
        A name in `tidecast.forecasting.network.heads.HEADS`: how outputs shape the quantiles.
    relative : bool, default=True
        Whether offsets follow the width of the quantiles. Models saved by earlier versions add them as they are.
    """

    levels: tuple[float, ...]
    base_HQ: Tensor
    offsets_HQ: Array
    scale_H: Tensor
    head: str = SCALE
    relative: bool = True

    @classmethod
    def none(cls, horizon: int, levels: Sequence[float]) -> QuantileModel:
        """Return the model of pegged series: all quantiles are 0."""
        zeros = np.zeros((horizon, len(levels)))
        return cls(tuple(levels), torch.from_numpy(zeros.copy()), zeros, slow(horizon))

    @classmethod
    def of(cls, residuals_NH: Array, weights_N: Array, levels: Sequence[float]) -> QuantileModel:
        """Estimate weighted quantiles of standardised residuals, NaN without a truth; not calibrated yet.

        The median becomes 0. A quantile that this would pass keeps a quarter of its distance to its neighbour.
        """
        found_HQ = np.zeros((residuals_NH.shape[1], len(levels)))
        for step, residuals_N in enumerate(residuals_NH.T):
            known = np.isfinite(residuals_N)
            found_HQ[step] = weighted_quantiles(residuals_N[known], weights_N[known], np.array(levels))
        median, least = levels.index(MEDIAN), CLOSEST * np.diff(found_HQ, axis=-1)
        found_HQ[:, median] = 0.0
        base = torch.from_numpy(outwards(found_HQ, median, least))
        return cls(tuple(levels), base, np.zeros_like(found_HQ), slow(len(found_HQ)))

    def calibrated(self, residuals_NH: Array, outputs_NHP: Tensor, weights_N: Array, n_sessions: int) -> QuantileModel:
        """Return a copy with offsets that bring the quantiles at these origins closer to their nominal coverage.

        Parameters
        ----------
        residuals_NH : ndarray of shape (N, H)
            Standardised changes at held-out origins; NaN without a truth.
        outputs_NHP : Tensor of shape (N, H, P)
        weights_N : ndarray of shape (N,)
        n_sessions : int
            Different sessions among these origins, see `credibility`.
        """
        offsets = []
        for step in range(len(self.base_HQ)):  # one by one, because the quantiles of all steps need much memory
            here = slice(step, step + 1)
            of_step = replace(
                self, base_HQ=self.base_HQ[here], offsets_HQ=self.offsets_HQ[here], scale_H=self.scale_H[here]
            )
            quantiles_N1Q = of_step.quantiles(outputs_NHP[:, here])
            width_N11 = of_step._widths(quantiles_N1Q)
            offsets.append(
                calibrate(
                    residuals_NH[:, here] / width_N11[..., 0],
                    quantiles_N1Q / width_N11,
                    np.array(self.levels),
                    weights_N,
                )
            )
        return replace(self, offsets_HQ=credibility(n_sessions) * np.concatenate(offsets))

    @property
    def median(self) -> int:
        """Index of the median among the levels."""
        return self.levels.index(MEDIAN)

    @property
    def layer(self) -> Head:
        """A new head on the base quantiles, before calibration; a network is trained with it."""
        return HEADS[self.head](self.base_HQ, self.scale_H, self.levels)

    def quantiles(self, outputs_NHP: Tensor) -> Array:
        """Calibrated quantiles of shape (N, H, Q), never crossing; each level is contiguous, for the table."""
        n, horizon, _ = outputs_NHP.shape
        n_levels = len(self.levels)
        quantiles, layer = np.empty((n_levels, n, horizon)).transpose(1, 2, 0), self.layer
        least_HG = CLOSEST * self.base_HQ.diff(dim=-1).numpy() if self.relative else 0.0
        with torch.inference_mode():
            for begin in range(0, len(outputs_NHP), AT_A_TIME):  # intermediate arrays are several times as large
                block = slice(begin, begin + AT_A_TIME)
                found_NHQ = layer(outputs_NHP[block]).numpy()
                width_NH1 = self._widths(found_NHQ)
                quantiles[block] = outwards(found_NHQ + self.offsets_HQ * width_NH1, self.median, least_HG * width_NH1)
        return quantiles

    def _widths(self, quantiles_NHQ: Array) -> Array:
        """Width of quantiles relative to the base, outermost to outermost, shape (N, H, 1); 1 without a width."""
        base_H = (self.base_HQ[:, -1] - self.base_HQ[:, 0]).numpy()
        if not self.relative:
            return np.ones((*quantiles_NHQ.shape[:-1], 1))
        width_NH = quantiles_NHQ[..., -1] - quantiles_NHQ[..., 0]
        return np.divide(width_NH, base_H, out=np.ones_like(width_NH), where=(base_H > 0) & (width_NH > 0))[..., None]


def slow(horizon: int) -> Tensor:
    """Scale of a median change that nothing predicts, shape (H,)."""
    return torch.full((horizon,), MEDIAN_SCALE, dtype=torch.float64)
