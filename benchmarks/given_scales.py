"""The last price with quantiles as wide as columns of the panel say: how models of other libraries are calibrated.

Axes: N rows or origins, H horizon steps, P outputs of a step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from tidecast.forecasting import RandomWalk
from tidecast.forecasting.forecasters.log_scale import coming_log_scale
from tidecast.forecasting.forecasters.quantile_base import MOST_RESIDUALS
from tidecast.forecasting.forecasters.quantile_model import QuantileModel
from tidecast.forecasting.network.scale_head import ScaleHead
from tidecast.forecasting.panel.flat_panel import FlatPanel, thinned
from tidecast.forecasting.panel.holdout import Holdout

SCALE, MOVE = "scale_{}", "move_{}"
"""Columns of step k: the log of the volatility of the change to it ÷ that of the random walk, and the median's change
in units of the random walk's volatility · √step."""


def scale_columns(horizon: int) -> list[str]:
    """Names of the columns of all steps, the scales first.

    Parameters
    ----------
    horizon : int
    """
    return [name.format(step) for name in (SCALE, MOVE) for step in range(1, horizon + 1)]


class GivenScales(RandomWalk):
    """Quantiles of training changes divided by given scales, calibrated as `VolatilityRegression` calibrates its own.

    The base quantiles are those of the oldest 90 % of the training sessions; the newest tenth calibrates, with offsets
    × n / (n + 504). Its schema names `scale_columns` as covariates. A fit keeps ``targets_``, the changes to learn
    scales from: ``series_id``, ``time``, ``target_1``, …, as `coming_log_scale` defines them.
    """

    targets_: pl.DataFrame

    def _fit_network(self, rows: FlatPanel, holdout: Holdout, weights: Tensor) -> None:
        at = thinned(rows.moving & rows.before(holdout.validation) & (weights > 0), MOST_RESIDUALS)
        changes_NH = self._residuals(rows, at, until=holdout.validation)
        outputs_NHP = self._outputs(rows, at).numpy()
        scale_NH, move_NH = (outputs_NHP[..., k] for k in (ScaleHead.scale_output, ScaleHead.median_output))
        found = QuantileModel.of((changes_NH - move_NH) / np.exp(scale_NH), weights[at].numpy(), self.quantiles_)
        moved = torch.ones(self.horizon, dtype=torch.float64)
        self._quantile_model = replace(self._quantile_model, base_HQ=found.base_HQ, scale_H=moved)
        self.targets_ = self._targets(rows, holdout)

    def _targets(self, rows: FlatPanel, holdout: Holdout) -> pl.DataFrame:
        at = torch.nonzero(rows.moving & rows.before(holdout.validation))[:, 0]
        target_NH = coming_log_scale(self._residuals(rows, at, until=holdout.validation))
        columns = {f"target_{step}": target_N for step, target_N in enumerate(target_NH.T, start=1)}
        return rows.frame[at.numpy()].select("series_id", "time").with_columns(
            pl.Series(name, values).fill_nan(None) for name, values in columns.items()
        )  # fmt: skip

    def _outputs(self, rows: FlatPanel, at: Tensor) -> Tensor:
        names = scale_columns(self.horizon)
        given: NDArray[np.float64] = rows.frame[at.numpy()].select(names).fill_null(0.0).to_numpy()
        outputs_NHP = torch.zeros(len(at), self.horizon, ScaleHead.n_outputs, dtype=torch.float64)
        outputs_NHP[..., ScaleHead.scale_output] = torch.from_numpy(given[:, : self.horizon].copy())
        outputs_NHP[..., ScaleHead.median_output] = torch.from_numpy(given[:, self.horizon :].copy())
        return outputs_NHP

    def _carried_outputs(self, at: Tensor, known: Any) -> Tensor:
        raise TypeError("Scales are given for the rows of a panel: pass it to predict.")
