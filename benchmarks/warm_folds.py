"""Whether a fold's fit gains by the weights of the fold before, a year older, on the years before the test years.

python -m benchmarks.warm_folds DATA [--panel "US closes, 26"] [--cell GRU] [--seeds 3] [--folds 3]

Features, scalers, base quantiles and calibration are fitted anew in each fold, whatever the network begins with. The
first fold is the same for all and is not counted.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import polars as pl

from benchmarks.every_model import HORIZON, MOST_ORIGINS
from benchmarks.panels import SOURCES, panels_in
from benchmarks.variants import mean_loss, skill_text
from tidecast.forecasting import GRUForecaster, MinGRUForecaster, RandomWalk, RollingOrigin, evaluate
from tidecast.forecasting.evaluation.splits import Fold
from tidecast.forecasting.tables.names import RANDOM_WALK

CELLS = {"GRU": GRUForecaster, "MINGRU": MinGRUForecaster}
YEAR = 252
"""Origins in a fold."""


@dataclass(frozen=True)
class Start:
    """How a fold's fit begins.

    Attributes
    ----------
    warm : bool
        With the weights of the fold before.
    settings : dict
        Of the forecaster, where they differ from the defaults.
    """

    warm: bool
    settings: dict[str, Any]


STARTS = {
    "cold": Start(False, {}),
    "cold, 16 epochs": Start(False, {"max_epochs": 16}),
    "warm": Start(True, {}),
    "warm, a tenth of the learning rate": Start(True, {"learning_rate": 5e-4}),
    "warm, 3 epochs": Start(True, {"max_epochs": 3}),
    "warm, not trained": Start(True, {"max_epochs": 0}),
}


@dataclass(frozen=True)
class Fit:
    """Cost of one fit.

    Attributes
    ----------
    name : str
        Start and seed.
    epochs : int
    seconds : float
        CPU seconds, without forecasts.
    """

    name: str
    epochs: int
    seconds: float


def begin_with(model: Any, other: Any) -> None:
    """Let the next fit of a forecaster begin with another one's weights."""
    new_network = model._new_network

    def begun() -> Any:
        network = new_network()
        network.load_state_dict(other._network.weights())
        return network

    model._new_network = begun


def losses_of(
    panel: pl.DataFrame, cell: str, shared: dict[str, Any], starts: list[str], seeds: range, folds: list[Fold]
) -> tuple[pl.DataFrame, list[Fit]]:
    """CRPS by model and origin, and the cost of each fit, of all folds but the first.

    Parameters
    ----------
    panel : polars.DataFrame
    cell : str
    shared : dict
        Settings of all models.
    starts : list of str
        Names of `STARTS`.
    seeds : range
    folds : list of Fold
    """
    new, losses, fits = CELLS[cell], [], []
    train = panel.filter(pl.col("time") <= folds[0].train_end)
    first = {seed: new(random_state=seed, **shared).fit(train) for seed in seeds}
    before = {f"{name}/{seed}": first[seed] for name in starts for seed in seeds}
    for fold in folds[1:]:
        train, known = (panel.filter(pl.col("time") <= end) for end in (fold.train_end, fold.end))
        origins = known["time"].unique().sort()
        origins = origins.filter(origins.is_between(fold.first_origin, fold.last_origin)).to_list()
        tables = {RANDOM_WALK: RandomWalk(**shared).fit(train).predict(known, origins=origins)}
        for name, older in before.items():
            start, seed = name.split("/")
            model = new(random_state=int(seed), **shared, **STARTS[start].settings)
            if STARTS[start].warm:
                begin_with(model, older)
            begun = process_time()
            before[name] = model.fit(train)
            fits.append(Fit(name, len(model.learning_curve_) - 1, process_time() - begun))
            tables[name] = model.predict(known, origins=origins)
        named = [table.select(pl.lit(name).alias("model"), pl.all()) for name, table in tables.items()]
        losses.append(evaluate(pl.concat(named), known).losses.group_by("model", "origin").agg(pl.col("crps").mean()))
    return pl.concat(losses).sort("model", "origin"), fits


def main() -> None:
    """Print a line per start."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--panel", choices=list(SOURCES), default="US closes, 26")
    parser.add_argument("--cell", choices=list(CELLS), default="GRU")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--origins", type=int, default=YEAR, help="in a fold")
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS), help="cold among them")
    options = parser.parse_args()
    panel, schema = next(found[1:] for found in panels_in(options.data) if found[0] == options.panel)
    sessions = panel["time"].unique().sort()
    rows = panel.filter(pl.col("time") <= sessions[-1 - min(MOST_ORIGINS, (len(sessions) - HORIZON) // 4)])
    folds = RollingOrigin(n_splits=options.folds, horizon=HORIZON, stride=options.origins).folds(rows)
    shared = {"horizon": HORIZON, "schema": schema}
    losses, fits = losses_of(rows, options.cell, shared, options.starts, range(options.seeds), folds)

    walk, cold = mean_loss(losses, RANDOM_WALK), mean_loss(losses, "cold")
    first, last = losses["origin"].min(), losses["origin"].max()
    print(f"\n{options.panel}, {options.cell}, {options.seeds} seeds, {len(walk)} origins {first} to {last}\n")
    print("| start | against the random walk, % (± s.e.) | against cold, % | seed by seed, % | epochs | CPU s |")
    print("|---|---|---|---|---|---|")
    for start in options.starts:
        names = [f"{start}/{seed}" for seed in range(options.seeds)]
        own = [skill_text(mean_loss(losses, name), walk).split(" ±")[0] for name in names]
        loss, of_start = mean_loss(losses, start), [fit for fit in fits if fit.name in names]
        epochs = sum(fit.epochs for fit in of_start) / len(of_start)
        seconds = sum(fit.seconds for fit in of_start) / len(of_start)
        numbers = [skill_text(loss, walk), skill_text(loss, cold), ", ".join(own), f"{epochs:.1f}", f"{seconds:.1f}"]
        print(f"| {start} | {' | '.join(numbers)} |", flush=True)


if __name__ == "__main__":
    main()
