"""Recurrent forecasters, the baselines they have to beat, and the test that decides."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tidecast.forecasting.backtesting.backtest import backtest
from tidecast.forecasting.backtesting.outside_models import PanelModel
from tidecast.forecasting.evaluation.decide import Decision, GatePolicy, decide
from tidecast.forecasting.evaluation.metrics import Evaluation, evaluate
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES

if TYPE_CHECKING:  # for type checkers and editors alone: at run time the registry of cells names the classes
    from tidecast.forecasting.forecasters.baselines import Drift, RandomWalk, SeasonalNaive
    from tidecast.forecasting.forecasters.recurrent import (  # noqa: F401
        GRUForecaster,
        LSTMForecaster,
        MinGRUForecaster,
        RNNForecaster,
    )
    from tidecast.forecasting.forecasters.recurrent import SLSTMForecaster as SLSTMForecaster
    from tidecast.forecasting.network.training import Training
    from tidecast.forecasting.persistence import load_forecaster
    from tidecast.forecasting.regressors import GRURegressor, LSTMRegressor, MinGRURegressor, RNNRegressor  # noqa: F401
    from tidecast.forecasting.regressors import SLSTMRegressor as SLSTMRegressor
    from tidecast.forecasting.saving.saved_classes import UnreadableModel
    from tidecast.forecasting.tuning.result import TuningResult
    from tidecast.forecasting.tuning.tune import tune

__all__ = [
    "DEFAULT_QUANTILES",
    "Decision",
    "Drift",
    "Evaluation",
    "GatePolicy",
    "PanelModel",
    "RandomWalk",
    "RollingOrigin",
    "SeasonalNaive",
    "StopTraining",
    "Training",
    "TuningResult",
    "UnreadableModel",
    "backtest",
    "decide",
    "evaluate",
    "load_forecaster",
    "tune",
    *(cell.forecaster for cell in CELLS.values()),
    *(cell.regressor for cell in CELLS.values()),
]

_WITH_TORCH = {
    "forecasters.baselines": ("Drift", "RandomWalk", "SeasonalNaive"),
    "forecasters.recurrent": tuple(cell.forecaster for cell in CELLS.values()),
    "persistence": ("load_forecaster",),
    "regressors": tuple(cell.regressor for cell in CELLS.values()),
    "network.progress": ("StopTraining",),
    "saving.saved_classes": ("UnreadableModel",),
    "network.training": ("Training",),
    "tuning.result": ("TuningResult",),
    "tuning.tune": ("tune",),
}


def __getattr__(name: str) -> Any:
    """Torch takes seconds to import, and is imported only when a model is asked for."""
    for module, names in _WITH_TORCH.items():
        if name in names:
            return getattr(import_module(f"tidecast.forecasting.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if __name__ == "forecasting":  # imported by the folder's own name, from a checkout
    from tidecast.bare_names import use_bare_name

    use_bare_name(__name__)
