"""Whether skew or tails, or all quantiles, gain over one scale a step, on the years before the test years.

python -m benchmarks.heads DATA [--panel "US shares, 88"] [--cell LSTM] [--seeds 3]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from benchmarks.every_model import CELLS, HORIZON, MOST_ORIGINS, REFITS
from benchmarks.panels import SOURCES, panels_in
from tidecast.features import PanelSchema
from tidecast.forecasting import RollingOrigin, Training, evaluate, timed_backtest
from tidecast.forecasting.evaluation.decision import signed
from tidecast.forecasting.evaluation.dm_test import compare
from tidecast.forecasting.network.heads import HEADS, SCALE


def losses_of(panel: pl.DataFrame, schema: PanelSchema, cell: str, seeds: int) -> tuple[pl.DataFrame, dict[str, float]]:
    """CRPS by head, seed and origin, and CPU seconds by model.

    Parameters
    ----------
    panel : polars.DataFrame
    schema : PanelSchema
    cell : str
    seeds : int
    """
    sessions = panel["time"].unique().sort()
    n_origins = min(MOST_ORIGINS, (len(sessions) - HORIZON) // 4)
    rows = panel.filter(pl.col("time") <= sessions[-1 - n_origins])
    models = {
        f"{head}/{seed}": CELLS[cell](horizon=HORIZON, schema=schema, random_state=seed, training=Training(head=head))
        for head in HEADS
        for seed in range(seeds)
    }
    cv = RollingOrigin(n_splits=REFITS, horizon=HORIZON, stride=n_origins // REFITS)
    forecasts, seconds = timed_backtest(models, rows, cv)
    losses = evaluate(forecasts, rows).losses.group_by("model", "origin").agg(pl.col("crps").mean())
    return losses.sort("model", "origin"), seconds


def main() -> None:
    """Print a line per head."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--panel", choices=list(SOURCES), default="US shares, 88")
    parser.add_argument("--cell", choices=list(CELLS), default="LSTM")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    panel, schema = next(found[1:] for found in panels_in(options.data) if found[0] == options.panel)
    losses, seconds = losses_of(panel, schema, options.cell, options.seeds)

    def mean_loss(head: str) -> pl.Series:
        """By origin, over seeds."""
        of_head = losses.filter(pl.col("model").str.split("/").list.first() == head)
        return of_head.group_by("origin").agg(pl.col("crps").mean()).sort("origin")["crps"]

    def skill(loss: pl.Series, reference: pl.Series) -> str:
        found = compare(loss.to_numpy(), reference.to_numpy(), HORIZON)
        error = "" if found.se is None else f" ± {100 * found.se:.2f}"
        return signed(found.skill or 0.0) + error

    walk, scale = mean_loss("random_walk"), mean_loss(SCALE)
    first, last = losses["origin"].min(), losses["origin"].max()
    print(f"\n{options.panel}, {options.cell}, {options.seeds} seeds, {len(walk)} origins {first} to {last}\n")
    print("| head | against the random walk, % (± standard error) | against one scale, % | seed by seed, % | CPU s |")
    print("|---|---|---|---|---|")
    for head in HEADS:
        names = [f"{head}/{seed}" for seed in range(options.seeds)]
        each = [losses.filter(model=name)["crps"] for name in names]
        own = [losses.filter(model=f"{SCALE}/{seed}")["crps"] for seed in range(options.seeds)]
        by_seed = ", ".join(skill(*pair).split(" ±")[0] for pair in zip(each, own, strict=True))
        cost = sum(seconds[name] for name in names)
        against = skill(mean_loss(head), scale)
        print(f"| {head} | {skill(mean_loss(head), walk)} | {against} | {by_seed} | {cost:.1f} |", flush=True)


if __name__ == "__main__":
    main()
