"""The last price, with quantiles that a linear regression on past volatility makes wider or narrower.

Axes: N rows of the panel or origins, F inputs, H horizon steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import torch
from sklearn.base import clone
from torch import Tensor

from tidecast.features.docstrings import complete_docstring
from tidecast.features.panel import PanelSchema
from tidecast.features.transformers.volatility_terms import VolatilityTerms
from tidecast.forecasting.estimator.fitted_settings import check_fitted
from tidecast.forecasting.estimator.validation import check_transformer
from tidecast.forecasting.forecasters.fitted_network import STEP
from tidecast.forecasting.forecasters.log_scale import Array, coming_log_scale, pooled_ridge
from tidecast.forecasting.forecasters.network_forecaster import NetworkForecaster
from tidecast.forecasting.forecasters.quantile_base import MOST_RESIDUALS
from tidecast.forecasting.forecasters.quantile_model import QuantileModel
from tidecast.forecasting.network.cell_registry import NO_MEMORY
from tidecast.forecasting.network.heads import SCALE
from tidecast.forecasting.network.progress import learning_curve
from tidecast.forecasting.network.recurrent import RecurrentNetwork
from tidecast.forecasting.network.scale_head import ScaleHead
from tidecast.forecasting.network.training import isolated
from tidecast.forecasting.panel.flat_panel import FlatPanel, thinned
from tidecast.forecasting.panel.holdout import Holdout
from tidecast.forecasting.panel.step_inputs import StepInputs
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES


class VolatilityRegression(NetworkForecaster):
    """The last price, with quantiles as wide as a regression on past volatility expects the coming sessions to be.

    The logarithm of the coming volatility, up to each step and relative to the exponentially weighted volatility of
    the random walk, is a linear function of its `VolatilityTerms`: a heterogeneous autoregression (Corsi 2009,
    doi:10.1093/jjfinec/nbp001) with longer spans, falls and rises, the same sessions of earlier quarters and, where the
    panel has them, ranges and volume. One ridge regression per step is pooled over all series and solved in closed
    form. The quantiles are those of changes divided by this volatility; the median is the last price. The newest tenth
    of the training sessions calibrates the quantiles.

    Nothing is drawn at random. A term that is missing, such as the same sessions of a year ago in a series of half a
    year, counts as average.

    Parameters
    ----------
    horizon : int, default=5
        Sessions to forecast.
    lookback : int, default=64
        Rows a series needs before its first forecast. It does not limit the terms.
    quantiles : sequence of float
        Levels between 0 and 1; 0.5 is always among them.
    target : str, default="close"
        The column to forecast.
    schema : PanelSchema, optional
        The meaning of the panel's columns. Its past and static covariates are terms too, and for each step its future
        covariates of that step.
    features : transformer, optional
        Adds the terms to the panel; `VolatilityTerms` by default. Saved and applied with the model.
    ridge : float, default=3000
        Penalty of the weights, in rows: as if so many training rows had shown no effect of any term. A short panel
        therefore stays close to the random walk.

    Attributes
    ----------
    fit_end_ : date or datetime
        Time of the last training row.
    quantiles_ : tuple of float
    calendar_ : Calendar
    inputs_ : list of str
        The terms.
    coefficients_ : DataFrame
    columns_ : list of str
        The columns of a panel that forecasts need.
    skipped_ : tuple
        Series without a forecast from their last row.

    Examples
    --------
    >>> import numpy as np, polars as pl
    >>> times = pl.date_range(pl.date(2020, 1, 1), pl.date(2021, 12, 31), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(times))
    >>> prices = pl.DataFrame({"series_id": "a", "time": times, "close": np.exp(steps.cumsum())})
    >>> model = VolatilityRegression(horizon=2).fit(prices)
    >>> bool((model.predict()["forecast"] == prices["close"][-1]).all())
    True
    """

    num_layers = 1
    head = SCALE
    _reads_future = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_docstring(cls)

    def __init__(
        self,
        horizon: int = 5,
        lookback: int = 64,
        quantiles: Sequence[float] = DEFAULT_QUANTILES,
        target: str = "close",
        schema: PanelSchema | None = None,
        features: Any = None,
        ridge: float = 3000.0,
    ) -> None:
        self.horizon = horizon
        self.lookback = lookback
        self.quantiles = quantiles
        self.target = target
        self.schema = schema
        self.features = features
        self.ridge = ridge

    def _check_settings(self) -> None:
        super()._check_settings()
        if isinstance(self.ridge, bool) or not isinstance(self.ridge, int | float | np.integer | np.floating):
            raise TypeError(f"ridge must be a number, got {self.ridge!r}.")
        if not 0 < self.ridge < np.inf:
            raise ValueError(f"ridge must be above 0 and finite, got {self.ridge!r}.")
        check_transformer(self.features, "VolatilityTerms()")

    def search_space(self) -> dict[str, Any]:
        """Settings that `tune` tries by default: the penalty."""
        from optuna.distributions import FloatDistribution  # takes a second to load, and only tuning needs it

        return {"ridge": FloatDistribution(100.0, 100_000.0, log=True)}

    @property
    def coefficients_(self) -> pl.DataFrame:
        """Weights of the regression: ``term``, ``step``, ``weight``.

        The weight is the change of the log of the expected volatility per standard deviation of the term. A covariate
        with missing values has a second row, ``… missing``, for an indicator.
        """
        check_fitted(self, "fit_end_")
        flagged = np.array(self.inputs_)[self._inputs.scaler.flagged]
        of_steps = [f"{name} at the step" for name in self._steps.names] if self._steps else []
        terms = [*self.inputs_, *(f"{name} missing" for name in flagged), *of_steps]
        weights_HF = self._weights_HF().double().numpy()
        return pl.DataFrame(
            {
                "term": np.repeat(terms, self.horizon),
                "step": np.tile(np.arange(1, self.horizon + 1), len(terms)),
                "weight": weights_HF.T.ravel(),
            }
        )

    def _weights_HF(self) -> Tensor:
        network = self._network
        outputs_HPF = network.head.weight.detach().view(self.horizon, network.n_outputs, network.width)
        weights_HF = outputs_HPF[:, ScaleHead.scale_output]
        if self._steps is None:
            return weights_HF
        return torch.cat([weights_HF, network.decoder.linear.detach()[..., ScaleHead.scale_output]], dim=1)

    # ------------------------------------------------------------------ fit
    def _fit_network(self, rows: FlatPanel, holdout: Holdout, weights: Tensor) -> None:
        holdout = replace(holdout, train=holdout.validation)  # nothing stops early, so no row is held out for it
        self._steps = self._fit_steps(rows, holdout)
        inputs_NF = self._fit_inputs(rows, holdout)
        held = torch.zeros(self.horizon, dtype=torch.float64)  # the scale of a median that does not move
        self._quantile_model = replace(self._quantile_model, scale_H=held, head=SCALE)
        self._shortcut, self.learning_curve_ = True, learning_curve([])
        with isolated(0):
            self._network = self._new_network()
        at = thinned(rows.moving & rows.before(holdout.train) & (weights > 0), MOST_RESIDUALS)
        if not len(at):  # all pegged: no distribution to learn or forecast
            return
        changes_NH, weights_N = self._residuals(rows, at, until=holdout.train), weights[at].numpy()
        weights_FH, log_scale_NH = self._regressed(rows, at, inputs_NF[at].double().numpy(), changes_NH, weights_N)
        self._network.begin_linear(torch.from_numpy(weights_FH), ScaleHead.scale_output)
        scaled_NH = changes_NH * np.exp(-log_scale_NH)
        quantiles = QuantileModel.of(scaled_NH, weights_N, self.quantiles_)
        self._quantile_model = replace(self._quantile_model, base_HQ=quantiles.base_HQ)

    def _regressed(
        self, rows: FlatPanel, at: Tensor, terms_NF: Array, changes_NH: Array, weights_N: Array
    ) -> tuple[Array, Array]:
        """Weights of the terms, then of the inputs of each step, for each step; and the fitted logs of its scale."""
        targets_NH = coming_log_scale(changes_NH)
        if self._steps is None:
            weights_FH = pooled_ridge(terms_NF, targets_NH, weights_N, self.ridge)
            return weights_FH, terms_NF @ weights_FH
        steps_NHU = self._steps.scaled(self._numbers_of_steps(rows, at)).double().numpy()
        found, fitted = [], []
        for step in range(self.horizon):
            inputs_NF = np.column_stack([terms_NF, steps_NHU[:, step]])
            found.append(pooled_ridge(inputs_NF, targets_NH[:, step : step + 1], weights_N, self.ridge))
            fitted.append(inputs_NF @ found[-1])
        return np.column_stack(found), np.column_stack(fitted)

    def _continue_training(self, rows: FlatPanel, weights: Tensor, epochs: int) -> None:
        """Learn nothing: a `fit` takes less than a second."""

    def _new_features(self) -> Any:
        if self.features is not None:
            return clone(self.features)
        horizon = min(self.horizon, VolatilityTerms.longest_horizon)
        return VolatilityTerms(horizon, target=self.target, positive=self._schema.positive)

    def _new_network(self) -> RecurrentNetwork:
        return RecurrentNetwork(
            NO_MEMORY, self._inputs.scaler.width, 0, 1, 0.0, self.horizon, ScaleHead.n_outputs, shortcut=True,
            n_step=self._steps.width if self._steps else 0,
        )  # fmt: skip

    def _new_steps(self) -> StepInputs:
        return StepInputs((), self.horizon, self._future_names)  # the terms remember the seasons

    def _fit_steps(self, rows: FlatPanel, holdout: Holdout) -> StepInputs | None:
        return super()._fit_steps(rows, holdout) if self._future_names else None

    @property
    def _future_names(self) -> tuple[str, ...]:
        return self._schema.future if self._reads_future else ()

    def _restore(self, description: dict[str, Any], learned: dict[str, Tensor], keys: pl.DataFrame) -> None:
        self._reads_future = f"{STEP}_mean" in learned  # earlier versions ignored future covariates
        super()._restore(description, learned, keys)

    # --------------------------------------------------------------- recipe
    def _to_recipe(self, settings: dict[str, Any]) -> dict[str, Any]:
        return settings

    @classmethod
    def _from_recipe(cls, settings: dict[str, Any]) -> dict[str, Any]:
        return settings
