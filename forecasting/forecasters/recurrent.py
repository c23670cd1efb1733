"""Recurrent forecasters, one class per cell: settings, search space, memory profile and summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tidecast.features.docstrings import complete_docstring
from tidecast.features.error_text import check_whole
from tidecast.features.panel import PanelSchema, check_panel
from tidecast.forecasting.estimator.fitted_settings import check_fitted
from tidecast.forecasting.estimator.validation import check_transformer
from tidecast.forecasting.forecasters.diagnostics import FittedNetwork, memory_profile, origins_with_history, summary
from tidecast.forecasting.forecasters.network_forecaster import NetworkForecaster
from tidecast.forecasting.network.cell_registry import CELLS, Cell
from tidecast.forecasting.network.heads import HEADS
from tidecast.forecasting.network.settings import check_network_settings
from tidecast.forecasting.network.training import Training
from tidecast.forecasting.panel.made_columns import check_made
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES


class RecurrentForecaster(NetworkForecaster):
    """A recurrent network on top of the random walk; use the class of the cell you want.

    The network sees the columns that its `features` add and the schema's past and static covariates, never a raw price.
    It is trained on every origin of a window of history at once. Future covariates, of the sessions to forecast, join
    its state just before the outputs, so the carried state does not depend on them. Its outputs start at zero:
    untrained, it is the `RandomWalk`. The newest tenth of the training sessions calibrates the quantiles, the tenth
    before it stops the training.

    A panel has seasons if its calendar has a fixed number of sessions in a day or a week ("every 1h", "24/7"), and
    changes in the training rows resemble those a season before. Then `SeasonalFeatures` are the default inputs, the
    state also sees the past of future covariates, and each step is read from the state together with its own inputs:
    the target's levels at the same place of earlier seasons, future covariates and their changes against a season ago,
    and the place in the seasons. When training has stopped, the network is trained afresh on all rows for as many
    epochs as were best. A target that may be negative is forecast as asinh of its standardised value.

    Parameters
    ----------
    horizon : int, default=5
        Sessions to forecast.
    lookback : int, default=64
        Rows in a training window, and rows that a series needs before its first forecast. It does not limit the
        network's memory: the state is carried from a series' first row.
    quantiles : sequence of float
        Levels between 0 and 1; 0.5 is always among them.
    target : str, default="close"
        The column to forecast.
    schema : PanelSchema, optional
        The meaning of the panel's columns.
    features : transformer, optional
        Adds the network's inputs to the panel; `PriceFeatures` by default. Saved and applied with the model.
    hidden_size : int, default=32
    num_layers : int, default=1
    dropout : float, default=0.0
        Between layers; no effect with one layer.
    max_epochs : int, default=8
        Upper limit: training may stop early. 0 gives the random walk. Where the panel has seasons, five times as many,
        because there is more to learn.
    batch_size : int, default=64
        Windows in a batch.
    learning_rate : float, default=5e-3
        Peak of the one-cycle schedule.
    device : str, default="cpu"
        A torch device, or "auto" for a GPU if there is one.
    random_state : int, RandomState or None, default=0
        The same seed gives the same forecasts, bit for bit, on one machine.
    kernel_size : int, default=1
        Rows that a causal convolution in front of the cell sees at once; 1 is none. Useful for MinGRU, whose gates see
        only one row, and for features that matter only in combination.
    training : Training, optional
        The head (every quantile, or Student-t), patience, averaging, recency, the clipping of gradients, checkpoints.

    Attributes
    ----------
    fit_end_ : date or datetime
        Time of the last training row.
    learning_curve_ : DataFrame
        ``epoch``, ``train_loss``, ``validation_loss``: mean pinball losses of standardised changes.
    quantiles_ : tuple of float
    calendar_ : Calendar
    inputs_ : list of str
        The columns that the network uses.
    columns_ : list of str
        The columns of a panel that forecasts need, except future covariates.
    skipped_ : tuple
        Series without a forecast from their last row.

    Examples
    --------
    >>> import numpy as np, polars as pl
    >>> times = pl.date_range(pl.date(2020, 1, 1), pl.date(2020, 12, 31), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(times))
    >>> prices = pl.DataFrame({"series_id": "a", "time": times, "close": np.exp(steps.cumsum())})
    >>> model = GRUForecaster(horizon=2, lookback=16, max_epochs=2).fit(prices[:300])
    >>> model.predict()["time"].to_list()
    [datetime.date(2020, 10, 27), datetime.date(2020, 10, 28)]
    >>> model.predict(prices, origins="new").height // 2
    65
    """

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
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float = 0.0,
        max_epochs: int = 8,
        batch_size: int = 64,
        learning_rate: float = 5e-3,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = 0,
        kernel_size: int = 1,
        training: Training | None = None,
    ) -> None:
        self.horizon = horizon
        self.lookback = lookback
        self.quantiles = quantiles
        self.target = target
        self.schema = schema
        self.features = features
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state
        self.kernel_size = kernel_size
        self.training = training

    def _check_settings(self) -> None:
        super()._check_settings()
        check_network_settings(self)
        check_whole("kernel_size", self.kernel_size, at_least=1)
        check_transformer(self.features, "PriceFeatures()")

    def search_space(self) -> dict[str, Any]:
        """Settings that `tune` tries by default; if `features` is None, also features that the panel allows."""
        from optuna.distributions import (
            FloatDistribution as Between,
        )  # takes a second to load, and only tuning needs it

        return {
            "cell": [key for key, cell in CELLS.items() if cell.searched],
            "head": list(HEADS),
            "hidden_size": [8, 16, 32, 64],
            "num_layers": [1, 2],
            "dropout": Between(0.0, 0.3),
            "lookback": [32, 64, 128],
            "learning_rate": Between(1e-3, 2e-2, log=True),
            "kernel_size": [1, 4],
        }

    def memory_profile(self, X: Any, steps_back: int = 64, n_origins: int = 128, random_state: int = 0) -> pl.DataFrame:
        """Influence of the inputs k rows before the origin on the forecast of each step.

        It shows how far back a network looks, and whether a longer `lookback` would help: the norm of the gradient of
        the quantiles with respect to the inputs of one row, averaged over origins. The state before the oldest of
        these rows is carried from the start of the series and held constant.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The panel with its history.
        steps_back : int, default=64
        n_origins : int, default=128
            Drawn from the rows of series that move.
        random_state : int, default=0

        Returns
        -------
        DataFrame
            ``cell``, ``step``, ``k`` (0: the origin's own row), ``influence`` (root mean square over the quantiles) and
            ``median`` (of the median only), both in volatilities · √step per standard deviation of the inputs.

        Raises
        ------
        ValueError
            No series is long enough.
        """
        check_fitted(self, "fit_end_")
        check_made(X, self._made)
        rows = self._with_known_covariates(self._rows(check_panel(X, self._schema_of_rows, self.target)), X)
        at_N = origins_with_history(rows, steps_back, n_origins, random_state)
        inputs_MF, future_NHZ = self._inputs.of(rows.frame), self._future_of(rows, at_N)
        profile = memory_profile(self._network, self._quantile_model, rows, inputs_MF, at_N, future_NHZ, steps_back)
        return profile.select(pl.lit(self.cell).alias("cell"), pl.all())

    def summary(self, X: Any = None) -> str:
        """Describe the model in a few lines: network, inputs, rows trained on and seen, learning, calibration.

        Parameters
        ----------
        X : polars or pandas DataFrame, optional
            A panel with its history, to measure how far back the network looks.

        Returns
        -------
        str
        """
        check_fitted(self, "fit_end_")
        seen = self._carried.snapshot
        fitted = FittedNetwork(
            name=type(self).__name__,
            cell=self.cell,
            forecasts=self._quantile_model.layer.forecasts,
            num_layers=self.num_layers,
            hidden_size=self.hidden_size,
            n_parameters=sum(parameter.numel() for parameter in self._network.parameters()),
            inputs=self.inputs_,
            shortcut=self._network.shortcut,
            horizon=self.horizon,
            n_quantiles=len(self.quantiles_),
            lookback=self.lookback,
            calendar=self.calendar_.name,
            fit_end=self.fit_end_,
            seen_until=seen.time.sort()[-1],
            n_series=len(seen),
            curve=self.learning_curve_,
            offsets_HQ=self._quantile_model.offsets_HQ,
        )
        return summary(fitted, None if X is None else self.memory_profile(X))


def _named(cell: Cell) -> type[RecurrentForecaster]:
    """Return the forecaster class of a cell; `complete_docstring` adds the shared part of its docstring."""
    doc = f"{cell.title} on top of the random walk: {cell.equation}.\n\n{cell.notes}"
    return type(cell.forecaster, (RecurrentForecaster,), {"__module__": __name__, "__doc__": doc, "cell": cell.key})


FORECASTERS: dict[str, type[RecurrentForecaster]] = {key: _named(cell) for key, cell in CELLS.items()}
"""The forecaster class of each cell; this module also has each under its name."""

globals().update({kind.__name__: kind for kind in FORECASTERS.values()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[RecurrentForecaster]:
        """Type of the class names above, for type checkers and editors."""
