"""Small forecasters of every kind, for tests of what all of them must do, and how their tables are compared."""

import inspect

import numpy as np
import pytest
from sklearn.base import clone

from tidecast.forecasting import (
    DEFAULT_QUANTILES,
    Drift,
    RandomWalk,
    SeasonalNaive,
    SeasonalRegression,
    VolatilityRegression,
)
from tidecast.forecasting.forecasters import recurrent as networks

CELLS = tuple(networks.FORECASTERS.values())
NETWORK = {"lookback": 16, "hidden_size": 8, "max_epochs": 1, "learning_rate": 5e-2, "batch_size": 8}
NETWORKS = {kind.__name__: kind(**NETWORK) for kind in CELLS}
BASELINES = {kind.__name__: kind(lookback=16) for kind in (RandomWalk, Drift, SeasonalNaive)}
REGRESSIONS = {  # closed form, on features
    "VolatilityRegression": VolatilityRegression(lookback=16, ridge=100),
    "SeasonalRegression": SeasonalRegression(horizon=5, lookback=16),  # on prices, the random walk
}
FORECASTERS = BASELINES | REGRESSIONS | NETWORKS
LEVELS = [f"q{level!r}" for level in DEFAULT_QUANTILES if level != 0.5]

every = pytest.mark.parametrize("name", FORECASTERS)
every_network = pytest.mark.parametrize("name", NETWORKS)
each_kind = pytest.mark.parametrize("name", ["RandomWalk", "VolatilityRegression", "GRUForecaster", "LSTMForecaster"])
"""Where baselines share their code, and so do networks: a cell of one state and one of two."""


def model_of(name, **settings):
    """That forecaster, not fitted, with other settings."""
    return clone(FORECASTERS[name]).set_params(**settings)


def assert_init_only_stores(kind):
    """An estimator's class has 16 arguments at most, and keeps each as it is given, whatever it is."""
    names = list(inspect.signature(kind).parameters)
    assert len(names) <= 16
    marks = {setting: object() for setting in names}
    model = kind(**marks)
    assert vars(model) == marks
    assert model.get_params(deep=False) == marks


def cut_of(panel, newest=60):
    """The time that so many sessions of a panel come after."""
    return panel["time"].unique().sort()[-newest - 1]


def values(table):
    """Forecast and quantiles in rising order, shape (rows, levels)."""
    names = [*LEVELS[:9], "forecast", *LEVELS[9:]]
    return table.select(names).to_numpy()


def assert_close(found, expected, rtol=1e-5):
    """Equal tables, but for a share `rtol` of what the quantiles span: networks run in float32."""
    keys = ["series_id", "origin", "step", "time"]
    assert found.select(keys).equals(expected.select(keys))
    span = np.ptp(values(expected), axis=1, keepdims=True)
    assert (np.abs(values(found) - values(expected)) <= rtol * span + 1e-12 * values(expected)).all()
