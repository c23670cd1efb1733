"""Promotions by the gate where nothing can be forecast.

python -m benchmarks.false_alarms [--panels 60] [--first 0]
"""

from __future__ import annotations

import argparse

import polars as pl

from tests.conftest import make_random_walks
from tidecast.flows.config.settings import Settings
from tidecast.flows.training.result import TrainingResult
from tidecast.flows.training.train import train
from tidecast.forecasting.tables.names import RANDOM_WALK

SEED = 1000
"""Seed of panel 0. No test and no design choice has used panels from this seed on."""


def trained(panel: pl.DataFrame) -> TrainingResult:
    """A panel's first training with its gate, as in `tidecast train`, in one process."""
    settings = Settings(calendar="weekdays", n_jobs=1)
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
    options = parser.parse_args()
    promoted = 0
    for number in range(options.first, options.first + options.panels):
        training = trained(make_random_walks(n_series=6, n_rows=1300, seed=SEED + number))
        promoted += training.winner != RANDOM_WALK
        print(f"panel {number}: {verdict(training)}", flush=True)
    print(f"{promoted} of {options.panels} panels promoted a network.")


if __name__ == "__main__":
    main()
