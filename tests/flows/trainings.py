"""Trainings as `tidecast.flows.training.train` would return them, made in a second or two."""

from dataclasses import replace

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.tracking.store import MlflowStore
from tidecast.flows.tracking.training_runs import Tracking
from tidecast.flows.training.result import TrainingResult
from tidecast.forecasting.backtesting.backtest import backtest
from tidecast.forecasting.evaluation.decide import decide
from tidecast.forecasting.evaluation.gate_policy import GatePolicy
from tidecast.forecasting.evaluation.metrics import evaluate
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.forecasters.baselines import Drift, RandomWalk
from tidecast.forecasting.forecasters.recurrent import GRUForecaster
from tidecast.forecasting.plotting.tables import quantile_shares

SHARED = {"horizon": 2, "lookback": 16, "quantiles": (0.1, 0.5, 0.9)}
SETTINGS = Settings(calendar="weekdays", **SHARED)


def judged_on(walks: pl.DataFrame) -> TrainingResult:
    """A first training: the drift was tested, and turned down."""
    cv = RollingOrigin(n_splits=1, horizon=2, stride=130)
    forecasts = backtest({"drift": Drift(**SHARED)}, walks, cv)
    evaluation = evaluate(forecasts, walks)
    decision = decide(evaluation.losses, GatePolicy(max_origins=130, min_origins=120), candidate="drift")
    walk = RandomWalk(**SHARED).fit(walks)
    profile = pl.DataFrame({"cell": "gru", "step": 1, "k": [0, 1], "influence": [1.0, 0.1]})
    curve = pl.DataFrame({"epoch": [1, 2], "train_loss": [0.3, 0.2], "validation_loss": [0.35, None]})
    return TrainingResult(
        as_of=walks["time"].max(), winner="random_walk", model=walk, random_walk=walk, decision=decision,
        reason=decision.reason, outcome="first", trained_through=walks["time"].max(), evaluation=evaluation,
        gate_shares=quantile_shares(forecasts, walks), selection=pl.DataFrame({"model": ["drift"], "pinball": [0.5]}),
        learning_curves={"GRU": curve}, seconds={"gate": 1.5}, panel=walks, settings=SETTINGS,
        table_versions={"prices": 7}, memory=profile,
    )  # fmt: skip


def refreshed_before(judged: TrainingResult) -> TrainingResult:
    """The same panel a year earlier, a network, and no gate."""
    seen = judged.panel.filter(pl.col("time") <= judged.panel["time"].unique().sort()[260])
    model = GRUForecaster(hidden_size=4, max_epochs=1, **SHARED).fit(seen)
    end = seen["time"].max()
    return replace(
        judged, as_of=end, trained_through=end, panel=seen, model=model, winner="GRU", outcome="refreshed",
        reason="Refit on newer rows.", decision=None, evaluation=None, gate_shares=None, selection=pl.DataFrame(),
        learning_curves={"GRU": model.learning_curve_},
    )  # fmt: skip


def crowned(store: MlflowStore, training: TrainingResult, key: str) -> str:
    """Id of the run of a training that was logged, registered and made champion."""
    registry = Registry(store)
    run_id = Tracking(store).log_training(training, key)
    Tracking(store).forget(key)
    registry.promote(registry.register(run_id, key), registry.aliases().get("champion"))
    return run_id
