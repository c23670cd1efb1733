"""A short training, on this machine and on the workers of a cluster."""

import sys

from tidecast.flows.config.settings import Settings
from tidecast.flows.training.engine import engine_of
from tidecast.flows.training.train import train
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

SETTINGS = Settings(
    calendar="weekdays", horizon=2, lookback=16, quantiles=(0.1, 0.5, 0.9), models=("GRU", "volatility_regression"),
    max_epochs=1, n_jobs=1, gate=GatePolicy(max_origins=130, min_origins=120),
)  # fmt: skip


def trained(walks, say=lambda text: None, stored=None):
    return train(walks, walks["time"].max(), SETTINGS, None, True, say, {"prices": 3}, stored=stored)


def on(engine):
    """The engine in force, with a warehouse that workers do not see as a folder."""
    return engine_of(SETTINGS.model_copy(update={"engine": engine}), "s3://bucket/tables")


def check_equal(one, other):
    assert one.winner == other.winner
    assert one.selection.equals(other.selection)
    assert one.evaluation.losses.equals(other.evaluation.losses)
    assert one.model.predict().equals(other.model.predict())
    assert one.learning_curves["GRU"].equals(other.learning_curves["GRU"])


def servers_loaded():
    """Libraries of servers in a worker, which needs none."""
    return sorted({"prefect", "mlflow"} & set(sys.modules))
