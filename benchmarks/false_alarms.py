"""Promotions by the gate where nothing can be forecast.

python -m benchmarks.false_alarms [--panels 60] [--series 6] [--rows 1300] [--models RNN LSTM GRU] [--epochs N]
"""

from __future__ import annotations

import argparse
from typing import Any

import polars as pl

from tests.conftest import make_random_walks
from tidecast.flows.config.settings import Settings
from tidecast.flows.training.result import TrainingResult
from tidecast.flows.training.train import train
from tidecast.forecasting.tables.names import RANDOM_WALK

SEED = 1000
"""Seed of panel 0. No test and no design choice has used panels from this seed on."""


def trained(panel: pl.DataFrame, **other: Any) -> TrainingResult:
    """A panel's first training with its gate, as in `tidecast train`, in one process; with `other` settings."""
    settings = Settings(calendar="weekdays", n_jobs=1, **other)
    return train(panel, panel["time"].max(), settings, None, gate_due=True, say=lambda text: None)


def verdict(training: TrainingResult) -> str:
    """One line on a training."""
    decision = training.decision
    if decision is None:
        return f"{training.winner}; {training.reason}"
    return (
        f"{training.winner}; candidate {decision.candidate}, {decision.n_origins} origins, p = "
        f"{decision.distribution_p:.4f}; {' '.join(decision.verdict.splitlines())}"
    )


def main() -> None:
    """Print a line per panel, and the count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--panels", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="number of the first panel")
    parser.add_argument("--series", type=int, default=6)
    parser.add_argument("--rows", type=int, default=1300, help="sessions of a panel; 3,900 give the longest gate")
    parser.add_argument("--models", nargs="+", default=["RNN", "LSTM", "GRU"])
    parser.add_argument("--epochs", type=int, help="at most; default: those of the models")
    options = parser.parse_args()
    promoted = 0
    for number in range(options.first, options.first + options.panels):
        panel = make_random_walks(options.series, options.rows, seed=SEED + number)
        training = trained(panel, models=tuple(options.models), max_epochs=options.epochs)
        promoted += training.winner != RANDOM_WALK
        print(f"panel {number}: {verdict(training)}", flush=True)
    print(f"{promoted} of {options.panels} panels promoted a network.")


if __name__ == "__main__":
    main()
