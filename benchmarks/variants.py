"""Variants of one forecaster, compared on the years before the test years: skill, by seed, and cost."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.every_model import CELLS, HORIZON, MOST_ORIGINS, REFITS
from benchmarks.panels import MOST_SERIES, SOURCES, panels_in
from tidecast.features import PanelSchema
from tidecast.forecasting import RollingOrigin, Training, evaluate, timed_backtest
from tidecast.forecasting.evaluation.decision import signed
from tidecast.forecasting.evaluation.dm_test import compare


def losses_of(
    panel: pl.DataFrame, schema: PanelSchema, cell: str, variants: dict[str, Training], seeds: int, refits: int
) -> tuple[pl.DataFrame, dict[str, float]]:
    """CRPS by variant, seed and origin, and CPU seconds by model.

    Parameters
    ----------
    panel : polars.DataFrame
    schema : PanelSchema
    cell : str
    variants : dict of str to Training
    seeds, refits : int
    """
    sessions = panel["time"].unique().sort()
    n_origins = min(MOST_ORIGINS, (len(sessions) - HORIZON) // 4)
    rows = panel.filter(pl.col("time") <= sessions[-1 - n_origins])
    models: dict[str, Any] = {
        f"{name}/{seed}": CELLS[cell](horizon=HORIZON, schema=schema, random_state=seed, training=training)
        for name, training in variants.items()
        for seed in range(seeds)
    }
    cv = RollingOrigin(n_splits=refits, horizon=HORIZON, stride=n_origins // refits)
    forecasts, seconds = timed_backtest(models, rows, cv)
    losses = evaluate(forecasts, rows).losses.group_by("model", "origin").agg(pl.col("crps").mean())
    return losses.sort("model", "origin"), seconds


def main(about: str, variants: Callable[[], dict[str, Training]], reference: str, column: str) -> None:
    """Print a line per variant.

    Parameters
    ----------
    about : str
        The benchmark's docstring.
    variants : callable
        Returns the variants by name.
    reference : str
        The variant that the others are compared with.
    column : str
        Heading of their names.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--panel", choices=list(SOURCES), default="US shares, 88")
    parser.add_argument("--cell", choices=list(CELLS), default="LSTM")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--series", type=int, default=MOST_SERIES, help="most, of a file with hundreds of shares")
    parser.add_argument("--refits", type=int, default=REFITS)
    options = parser.parse_args()
    panel, schema = next(found[1:] for found in panels_in(options.data, options.series) if found[0] == options.panel)
    compared = variants()
    losses, seconds = losses_of(panel, schema, options.cell, compared, options.seeds, options.refits)

    def mean_loss(variant: str) -> pl.Series:
        """By origin, over seeds."""
        of_variant = losses.filter(pl.col("model").str.split("/").list.first() == variant)
        return of_variant.group_by("origin").agg(pl.col("crps").mean()).sort("origin")["crps"]

    def skill(loss: pl.Series, than: pl.Series) -> str:
        found = compare(loss.to_numpy(), than.to_numpy(), HORIZON)
        error = "" if found.se is None else f" ± {100 * found.se:.2f}"
        return signed(found.skill or 0.0) + error

    walk, best = mean_loss("random_walk"), mean_loss(reference)
    first, last = losses["origin"].min(), losses["origin"].max()
    print(f"\n{options.panel}, {options.cell}, {options.seeds} seeds, {len(walk)} origins {first} to {last}\n")
    print(f"| {column} | against the random walk, % (± s.e.) | against {reference}, % | seed by seed, % | CPU s |")
    print("|---|---|---|---|---|")
    for variant in compared:
        names = [f"{variant}/{seed}" for seed in range(options.seeds)]
        each = [losses.filter(model=name)["crps"] for name in names]
        own = [losses.filter(model=f"{reference}/{seed}")["crps"] for seed in range(options.seeds)]
        by_seed = ", ".join(skill(*pair).split(" ±")[0] for pair in zip(each, own, strict=True))
        cost = sum(seconds[name] for name in names)
        against = skill(mean_loss(variant), best)
        print(f"| {variant} | {skill(mean_loss(variant), walk)} | {against} | {by_seed} | {cost:.1f} |", flush=True)
