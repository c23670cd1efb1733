"""Recurrent forecasters, the baselines they have to beat, and the test that decides."""

from forecasting.backtest import backtest
from forecasting.baselines import Drift, RandomWalk, SeasonalNaive
from forecasting.decide import Decision, GatePolicy, decide
from forecasting.forecasters import GRUForecaster, LSTMForecaster, RNNForecaster
from forecasting.metrics import Evaluation, evaluate
from forecasting.persistence import load_forecaster
from forecasting.quantiles import DEFAULT_QUANTILES
from forecasting.regressors import GRURegressor, LSTMRegressor, RNNRegressor
from forecasting.splits import RollingOrigin

__all__ = [
    "DEFAULT_QUANTILES",
    "Decision",
    "Drift",
    "Evaluation",
    "GRUForecaster",
    "GRURegressor",
    "GatePolicy",
    "LSTMForecaster",
    "LSTMRegressor",
    "RNNForecaster",
    "RNNRegressor",
    "RandomWalk",
    "RollingOrigin",
    "SeasonalNaive",
    "backtest",
    "decide",
    "evaluate",
    "load_forecaster",
]
