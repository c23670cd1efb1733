"""A linear forecast of changes from the inputs at the origin, used only as far as newer rows confirm it.

Axes: N origins, F inputs, H horizon steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidecast.forecasting.forecasters.quantile_model import MEDIAN_SCALE, slow

Array = NDArray[np.float64]

CERTAIN = 3.0  # standard errors of a correlation under which it may be chance
RIDGE = 1e-3  # share of the inputs' variance added to it, so that collinear columns do no harm


@dataclass(frozen=True)
class LinearForecast:
    """A linear estimate of the median before a network is trained.

    Attributes
    ----------
    scale_H : Tensor of shape (H,), float64
        Move of the median per unit of output: the correlation √R² of changes with the forecast on newer rows, at least
        `MEDIAN_SCALE`. For prices R² is below zero there, and the median learns slowly; for seasonal values it learns
        fast.
    weights_FH : Tensor of shape (F, H), float64
        From standardised inputs to standardised changes, if the scale is significantly above `MEDIAN_SCALE`; else 0.
        Where steps have inputs of their own, those follow the ones that all steps share.
    bias_H : Tensor of shape (H,), float64, optional
        Added to the forecast; where steps have inputs of their own.
    """

    scale_H: Tensor
    weights_FH: Tensor
    bias_H: Tensor | None = None

    @property
    def holds(self) -> bool:
        """Whether it predicts any step."""
        return bool(self.weights_FH.any())

    @property
    def earned_scale_H(self) -> Tensor:
        """The scale of the steps that it predicts, and 0 for the others, whose median stays the last price."""
        return self.scale_H * self.weights_FH.any(0)

    @classmethod
    def measure(cls, older: tuple[Array, Array], newer: tuple[Array, Array]) -> LinearForecast:
        """Fit a ridge regression on older rows, evaluate it on newer ones; where it holds, fit again on both.

        Parameters
        ----------
        older, newer : tuple of ndarray, of shape (n, F) and (n, H)
            Standardised inputs and changes; NaN without a truth.
        """
        (x_NF, y_NH), (newer_NF, newer_NH) = (_whole(*rows) for rows in (older, newer))
        n_inputs, horizon = x_NF.shape[1], y_NH.shape[1]
        none = cls(slow(horizon), torch.zeros(n_inputs, horizon, dtype=torch.float64))
        if min(len(x_NF), len(newer_NF)) <= n_inputs:
            return none
        error_H = ((newer_NH - newer_NF @ _ridge(x_NF, y_NH)) ** 2).sum(0)
        explained_H = 1 - error_H / np.maximum((newer_NH**2).sum(0), np.finfo(float).tiny)
        scale_H = none.scale_H.maximum(torch.from_numpy(np.sqrt(explained_H.clip(0))))
        error_of_scale_H = torch.from_numpy(np.sqrt(np.arange(1, horizon + 1) / len(newer_NF)))  # changes overlap
        holds_H = (scale_H > MEDIAN_SCALE) & (scale_H > CERTAIN * error_of_scale_H)
        if not holds_H.any():
            return cls(scale_H, none.weights_FH)
        weights_FH = torch.from_numpy(_ridge(np.vstack([x_NF, newer_NF]), np.vstack([y_NH, newer_NH])))
        return cls(scale_H, weights_FH * holds_H)

    @classmethod
    def measure_steps(cls, older: tuple[Array, Array, Array], newer: tuple[Array, Array, Array]) -> LinearForecast:
        """As `measure`, with inputs of each step besides those that all steps share.

        Parameters
        ----------
        older, newer : tuple of ndarray, of shape (n, F), (n, H, U) and (n, H)
            Inputs of the rows, inputs of the steps, and changes.
        """
        of_steps = []
        for step in range(older[2].shape[1]):
            parts = [
                (np.column_stack([np.ones(len(x_NF)), x_NF, u_NHU[:, step]]), y_NH[:, step : step + 1])
                for x_NF, u_NHU, y_NH in (older, newer)
            ]
            of_steps.append(cls.measure(parts[0], parts[1]))
        weights_FH = torch.cat([linear.weights_FH for linear in of_steps], dim=1)
        return cls(torch.cat([linear.scale_H for linear in of_steps]), weights_FH[1:], weights_FH[0])


def _ridge(x_NF: Array, y_NH: Array) -> Array:
    gram_FF = x_NF.T @ x_NF + RIDGE * len(x_NF) * np.eye(x_NF.shape[1])
    return cast("Array", np.linalg.solve(gram_FF, x_NF.T @ y_NH))


def _whole(x_NF: Array, y_NH: Array) -> tuple[Array, Array]:
    known = np.isfinite(y_NH).all(axis=1)
    return x_NF[known], y_NH[known]
