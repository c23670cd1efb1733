"""Recurrent forecasters, the baselines they have to beat, and the test that decides."""

from typing import TYPE_CHECKING, Any

from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.lazy_names import import_name

if TYPE_CHECKING:  # for type checkers and editors, which do not run __getattr__
    from tidecast.forecasting.backtesting.backtest import backtest, timed_backtest
    from tidecast.forecasting.backtesting.outside_models import PanelModel
    from tidecast.forecasting.estimator.data_parallel import data_parallel
    from tidecast.forecasting.evaluation.comparison import comparison
    from tidecast.forecasting.evaluation.decide import Decision, decide
    from tidecast.forecasting.evaluation.gate_policy import GatePolicy
    from tidecast.forecasting.evaluation.metrics import Evaluation, evaluate
    from tidecast.forecasting.evaluation.splits import RollingOrigin
    from tidecast.forecasting.forecasters.average import Average
    from tidecast.forecasting.forecasters.baselines import Drift, RandomWalk, SeasonalNaive
    from tidecast.forecasting.forecasters.recurrent import (  # noqa: F401
        GRUForecaster,
        LSTMForecaster,
        MinGRUForecaster,
        RNNForecaster,
    )
    from tidecast.forecasting.forecasters.recurrent import SLSTMForecaster as SLSTMForecaster
    from tidecast.forecasting.forecasters.seasonal_regression import SeasonalRegression
    from tidecast.forecasting.forecasters.volatility_regression import VolatilityRegression
    from tidecast.forecasting.interop.darts import from_darts, to_darts
    from tidecast.forecasting.interop.gluonts import from_gluonts, to_gluonts
    from tidecast.forecasting.interop.nixtla import from_nixtla, to_nixtla
    from tidecast.forecasting.interop.sktime import from_sktime, to_sktime
    from tidecast.forecasting.network.progress import StopTraining
    from tidecast.forecasting.network.training import Training
    from tidecast.forecasting.persistence import load_forecaster
    from tidecast.forecasting.plotting.fan import plot
    from tidecast.forecasting.plotting.over_time import plot_backtest
    from tidecast.forecasting.plotting.scores import plot_reliability, plot_skill
    from tidecast.forecasting.regressors import GRURegressor, LSTMRegressor, MinGRURegressor, RNNRegressor  # noqa: F401
    from tidecast.forecasting.regressors import SLSTMRegressor as SLSTMRegressor
    from tidecast.forecasting.saving.saved_classes import UnreadableModel
    from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES
    from tidecast.forecasting.tuning.result import TuningResult
    from tidecast.forecasting.tuning.tune import tune

__all__ = [
    "DEFAULT_QUANTILES",
    "Average",
    "Decision",
    "Drift",
    "Evaluation",
    "GatePolicy",
    "PanelModel",
    "RandomWalk",
    "RollingOrigin",
    "SeasonalNaive",
    "SeasonalRegression",
    "StopTraining",
    "Training",
    "TuningResult",
    "UnreadableModel",
    "VolatilityRegression",
    "backtest",
    "comparison",
    "data_parallel",
    "decide",
    "evaluate",
    "from_darts",
    "from_gluonts",
    "from_nixtla",
    "from_sktime",
    "load_forecaster",
    "plot",
    "plot_backtest",
    "plot_reliability",
    "plot_skill",
    "timed_backtest",
    "to_darts",
    "to_gluonts",
    "to_nixtla",
    "to_sktime",
    "tune",
    *(cell.forecaster for cell in CELLS.values()),
    *(cell.regressor for cell in CELLS.values()),
]

_MODULES = {
    "backtesting.backtest": ("backtest", "timed_backtest"),
    "backtesting.outside_models": ("PanelModel",),
    "estimator.data_parallel": ("data_parallel",),
    "evaluation.comparison": ("comparison",),
    "evaluation.decide": ("Decision", "decide"),
    "evaluation.gate_policy": ("GatePolicy",),
    "evaluation.metrics": ("Evaluation", "evaluate"),
    "evaluation.splits": ("RollingOrigin",),
    "forecasters.average": ("Average",),
    "forecasters.baselines": ("Drift", "RandomWalk", "SeasonalNaive"),
    "forecasters.recurrent": tuple(cell.forecaster for cell in CELLS.values()),
    "forecasters.seasonal_regression": ("SeasonalRegression",),
    "forecasters.volatility_regression": ("VolatilityRegression",),
    "interop.darts": ("from_darts", "to_darts"),
    "interop.gluonts": ("from_gluonts", "to_gluonts"),
    "interop.nixtla": ("from_nixtla", "to_nixtla"),
    "interop.sktime": ("from_sktime", "to_sktime"),
    "network.progress": ("StopTraining",),
    "network.training": ("Training",),
    "persistence": ("load_forecaster",),
    "plotting.fan": ("plot",),
    "plotting.over_time": ("plot_backtest",),
    "plotting.scores": ("plot_reliability", "plot_skill"),
    "regressors": tuple(cell.regressor for cell in CELLS.values()),
    "saving.saved_classes": ("UnreadableModel",),
    "tables.quantiles": ("DEFAULT_QUANTILES",),
    "tuning.result": ("TuningResult",),
    "tuning.tune": ("tune",),
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: torch takes seconds to import, scikit-learn a second."""
    return import_name("forecasting", _MODULES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if __name__ == "forecasting":  # imported by the folder's own name, from a checkout
    from tidecast.bare_names import use_bare_name

    use_bare_name(__name__)
