"""A linear forecast of panels that repeat themselves: electricity, demand, traffic.

Axes: N origins, F inputs, H horizon steps, U inputs of the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import Tensor

from tidecast.features.docstrings import complete_docstring
from tidecast.features.panel import PanelSchema
from tidecast.forecasting.estimator.fitted_settings import check_fitted
from tidecast.forecasting.estimator.validation import check_transformer
from tidecast.forecasting.forecasters.network_forecaster import MOST_OF_STEPS, NetworkForecaster
from tidecast.forecasting.forecasters.quantile_model import QuantileModel
from tidecast.forecasting.network.cell_registry import NO_MEMORY
from tidecast.forecasting.network.heads import SCALE
from tidecast.forecasting.network.progress import learning_curve
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.scale_head import ScaleHead
from tidecast.forecasting.network.training import isolated
from tidecast.forecasting.panel.flat_panel import FlatPanel, thinned
from tidecast.forecasting.panel.holdout import Holdout
from tidecast.forecasting.panel.step_inputs import SharedInputs, StepInputs
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES

Array = NDArray[np.float64]

SPANS = (26, 52, 104, 208)  # longest seasons that a regression looks back: half a year to four years of weeks
PENALTIES = 10.0 ** np.arange(-5, 1.5, 0.5)  # tried, as shares of the rows
FEWEST = 8  # origins to learn from


@dataclass(frozen=True)
class _Ridge:
    """A ridge regression for each step, all with one penalty.

    Attributes
    ----------
    weights_FH : ndarray of shape (F, H)
    bias_H : ndarray of shape (H,)
    errors_NH : ndarray of shape (N, H)
        Of each origin, forecast by a regression on the others.
    """

    weights_FH: Array
    bias_H: Array
    errors_NH: Array

    @classmethod
    def fit(cls, inputs_NF: Array, targets_NH: Array, weights_N: Array) -> _Ridge:
        """Choose the penalty by leave-one-out errors in closed form.

        Golub, Heath and Wahba (1979), Technometrics 21(2), doi:10.1080/00401706.1979.10489751, equation 1.3.

        Parameters
        ----------
        inputs_NF : ndarray of shape (N, F)
        targets_NH : ndarray of shape (N, H)
        weights_N : ndarray of shape (N,)
        """
        shares_N = weights_N / weights_N.mean()
        model = RidgeCV(PENALTIES * len(inputs_NF), store_cv_results=True)
        model.fit(inputs_NF, targets_NH, None if (shares_N == 1).all() else shares_N)
        best = int(np.argmin(np.abs(np.asarray(model.alphas) - model.alpha_)))
        squares_NH = model.cv_results_.reshape(*targets_NH.shape, -1)[..., best] / shares_N[:, None]
        residuals_NH = targets_NH - model.predict(inputs_NF).reshape(targets_NH.shape)  # of the same signs
        weights_FH = np.reshape(model.coef_, (targets_NH.shape[1], -1)).T
        return cls(weights_FH, np.ravel(model.intercept_), np.copysign(np.sqrt(squares_NH), residuals_NH))


def _spans(age_N: NDArray[np.int64], season: int) -> list[NDArray[np.bool_]]:
    """Which origins each of `SPANS` holds, the longest last; a longer one that holds no more is left out."""
    spans = [age_N < span * season for span in SPANS]
    sizes = [0, *(int(newer_N.sum()) for newer_N in spans)]
    grown = zip(spans, pairwise(sizes), strict=True)
    return [newer_N for newer_N, (before, size) in grown if size > before and size >= FEWEST]


class SeasonalRegression(NetworkForecaster):
    """Linear in what the coming steps' counterparts of a day and a week ago were, and in what is known ahead of them.

    For panels whose calendar has seasons and whose rows follow them; on any other it forecasts as the random walk. Each
    step has a ridge regression, which reads the level at the same place of earlier seasons, the covariates known
    ahead and their changes against a season ago, all of these for every step, and `SeasonalFeatures` of the origin.
    The mean of four regressions is used, which learn from the newest 26, 52, 104 and 208 of the longest seasons: where
    a market changes, the short ones follow, and the long ones know rare events (Lago, Marcjasz, De Schutter and Weron
    2021, Applied Energy 293, 116983, doi:10.1016/j.apenergy.2021.116983, section 4.2, with the lasso). Penalties are
    chosen by leave-one-out errors. The quantiles are those of such errors, calibrated on the newest tenth of the
    origins, around the median. All series share the weights.

    Best used beside networks, in an `Average`: it is refit in a second. Nothing is drawn at random.

    Parameters
    ----------
    horizon : int, default=24
        Sessions to forecast.
    lookback : int, default=168
        Rows a series needs before its first forecast. It does not limit the inputs.
    quantiles : sequence of float
        Levels between 0 and 1; 0.5 is always among them.
    target : str, default="close"
        The column to forecast.
    schema : PanelSchema, optional
        The meaning of the panel's columns. With an `origin_time`, only rows of that time teach.
    features : transformer, optional
        Adds inputs of the origin; `SeasonalFeatures` by default. Saved and applied with the model.

    Attributes
    ----------
    fit_end_ : date or datetime
        Time of the last training row.
    quantiles_ : tuple of float
    calendar_ : Calendar
    inputs_ : list of str
        Inputs of the origin.
    coefficients_ : DataFrame
    columns_ : list of str
        The columns of a panel that forecasts need.
    skipped_ : tuple
        Series without a forecast from their last row.

    Examples
    --------
    >>> from datetime import datetime, timedelta
    >>> import numpy as np, polars as pl
    >>> hours = [datetime(2024, 1, 1) + timedelta(hours=k) for k in range(24 * 60)]
    >>> level = 50 + 10 * np.sin(np.arange(len(hours)) * 2 * np.pi / 24)
    >>> noise = np.random.default_rng(0).normal(size=len(hours))
    >>> prices = pl.DataFrame({"series_id": "a", "time": hours, "close": level + noise})
    >>> schema = PanelSchema(calendar="every 1h", positive=False)
    >>> table = SeasonalRegression(schema=schema).fit(prices).predict()
    >>> bool((table["forecast"] - level[:24]).abs().mean() < 1)
    True
    """

    num_layers = 1
    head = SCALE

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_docstring(cls)

    def __init__(
        self,
        horizon: int = 24,
        lookback: int = 168,
        quantiles: Sequence[float] = DEFAULT_QUANTILES,
        target: str = "close",
        schema: PanelSchema | None = None,
        features: Any = None,
    ) -> None:
        self.horizon = horizon
        self.lookback = lookback
        self.quantiles = quantiles
        self.target = target
        self.schema = schema
        self.features = features

    def _check_settings(self) -> None:
        super()._check_settings()
        check_transformer(self.features, "SeasonalFeatures()")

    @property
    def coefficients_(self) -> pl.DataFrame:
        """Weights of the regressions, averaged: ``input``, ``step``, ``weight``; empty without seasons.

        The weight is the change of the median per standard deviation of the input, in volatilities of the series ·
        √step.
        """
        check_fitted(self, "fit_end_")
        network, median = self._network, ScaleHead.median_output
        outputs_HPF = network.head.weight.detach().view(self.horizon, network.n_outputs, network.width)
        weights_HF, names = outputs_HPF[:, median], list(self.inputs_)
        names += [f"{name} missing" for name in np.array(self.inputs_)[self._inputs.scaler.flagged]]
        if self._steps is not None:
            weights_HF = torch.cat([weights_HF, network.decoder.linear.detach()[..., median]], dim=1)
            names += self._steps.columns
        if not self._seasonal.seasons:
            weights_HF, names = weights_HF[:, :0], []
        return pl.DataFrame(
            {
                "input": np.repeat(np.array(names, dtype=str), self.horizon),
                "step": np.tile(np.arange(1, self.horizon + 1), len(names)),
                "weight": weights_HF.double().numpy().T.ravel(),
            }
        )

    # ------------------------------------------------------------------ fit
    def _fit_network(self, rows: FlatPanel, holdout: Holdout, weights: Tensor) -> None:
        holdout = replace(holdout, train=holdout.validation)  # penalties need no rows held out
        self._steps = self._fit_steps(rows, holdout)
        inputs_NF = self._fit_inputs(rows, holdout)
        moves = torch.full((self.horizon,), float(bool(self._seasonal.seasons)), dtype=torch.float64)
        self._quantile_model = replace(self._quantile_model, scale_H=moves, head=SCALE)
        self._shortcut, self.learning_curve_ = True, learning_curve([])
        with isolated(0):
            self._network = self._new_network()
        errors_NH, weights_N = self._regress(rows, inputs_NF, weights, holdout.train)
        if len(errors_NH):
            base = QuantileModel.of(errors_NH, weights_N, self.quantiles_).base_HQ
            self._quantile_model = replace(self._quantile_model, base_HQ=base)

    def _learn_all(self, rows: FlatPanel, weights: Tensor) -> None:
        """Learn from the newest rows too; the calibration stays."""
        self._regress(rows, self._inputs.halves(rows.frame), weights, cast("date | datetime", rows.frame["time"].max()))
        self._carried, _ = self._carry(rows, rows.newest[:0])

    def _regress(
        self, rows: FlatPanel, inputs_NF: Tensor, weights: Tensor, until: date | datetime
    ) -> tuple[Array, Array]:
        """Learn from origins whose targets are known at `until`; return leave-one-out errors and weights."""
        none = np.zeros((0, self.horizon)), np.zeros(0)
        if self._steps is None or not self._seasonal.seasons:
            return none
        at = thinned(rows.moving & rows.before(until) & (weights > 0), MOST_OF_STEPS, self._longest_season)
        changes_NH = self._residuals(rows, at, until=until)
        known = torch.from_numpy(np.isfinite(changes_NH).all(axis=1))
        at, changes_NH = at[known], changes_NH[known.numpy()]
        age_N = (rows.sessions_at(until)[rows.segment(at)] - rows.session[at]).numpy()
        spans = _spans(age_N, self._longest_season)
        if not spans:
            return none
        steps_NU = self._steps.scaled(self._numbers_of_steps(rows, at))[:, 0]
        all_NF = torch.cat([inputs_NF[at].float(), steps_NU], dim=1).double().numpy()
        weights_N = weights[at].numpy()
        fitted = [_Ridge.fit(all_NF[newer_N], changes_NH[newer_N], weights_N[newer_N]) for newer_N in spans]
        weights_FH = torch.from_numpy(np.mean([one.weights_FH for one in fitted], axis=0))
        bias_H = torch.from_numpy(np.mean([one.bias_H for one in fitted], axis=0))
        self._network.begin_linear(weights_FH, ScaleHead.median_output, bias_H)
        return fitted[-1].errors_NH, weights_N[spans[-1]]

    def _continue_training(self, rows: FlatPanel, weights: Tensor, epochs: int) -> None:
        """Learn nothing: a `fit` takes seconds."""

    def _new_network(self) -> RecurrentNetwork:
        return RecurrentNetwork(
            NO_MEMORY, self._inputs.scaler.width, 0, 1, 0.0, self.horizon, ScaleHead.n_outputs, shortcut=True,
            n_step=self._steps.width if self._steps else 0,
        )  # fmt: skip

    def _new_steps(self) -> StepInputs:
        return SharedInputs(self._seasonal.seasons, self.horizon, self._future_names)

    # --------------------------------------------------------------- recipe
    def _to_recipe(self, settings: dict[str, Any]) -> dict[str, Any]:
        return settings

    @classmethod
    def _from_recipe(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return settings
