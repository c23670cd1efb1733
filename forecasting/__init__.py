"""Recurrent forecasters, the baselines they have to beat, and the test that decides."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from forecasting.backtest import backtest
from forecasting.decide import Decision, GatePolicy, decide
from forecasting.metrics import Evaluation, evaluate
from forecasting.outsiders import PanelModel
from forecasting.quantiles import DEFAULT_QUANTILES
from forecasting.splits import RollingOrigin

if TYPE_CHECKING:
    from forecasting.baselines import Drift, RandomWalk, SeasonalNaive
    from forecasting.forecasters import GRUForecaster, LSTMForecaster, MinGRUForecaster, RNNForecaster
    from forecasting.persistence import load_forecaster
    from forecasting.regressors import GRURegressor, LSTMRegressor, MinGRURegressor, RNNRegressor
    from forecasting.saved_classes import UnreadableModel
    from forecasting.training import Training
    from forecasting.tuned import Tuned
    from forecasting.tuning import tune

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
    "MinGRUForecaster",
    "MinGRURegressor",
    "PanelModel",
    "RNNForecaster",
    "RNNRegressor",
    "RandomWalk",
    "RollingOrigin",
    "SeasonalNaive",
    "StopTraining",
    "Training",
    "Tuned",
    "UnreadableModel",
    "backtest",
    "decide",
    "evaluate",
    "load_forecaster",
    "tune",
]

_WITH_TORCH = {
    "baselines": ("Drift", "RandomWalk", "SeasonalNaive"),
    "forecasters": ("GRUForecaster", "LSTMForecaster", "MinGRUForecaster", "RNNForecaster"),
    "persistence": ("load_forecaster",),
    "regressors": ("GRURegressor", "LSTMRegressor", "MinGRURegressor", "RNNRegressor"),
    "progress": ("StopTraining",),
    "saved_classes": ("UnreadableModel",),
    "training": ("Training",),
    "tuned": ("Tuned",),
    "tuning": ("tune",),
}


def __getattr__(name: str) -> Any:
    """Torch takes seconds to import, and is imported only when a model is asked for."""
    for module, names in _WITH_TORCH.items():
        if name in names:
            return getattr(import_module(f"forecasting.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
