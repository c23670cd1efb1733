"""Variants of one forecaster, compared on the years before the test years: skill, by seed, and cost."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.every_model import CELLS as CELLS_OF_TABLES
from benchmarks.every_model import HORIZON, MOST_ORIGINS, REFITS
from benchmarks.made_up_shares import made_up_shares
from benchmarks.panels import MOST_SERIES, SOURCES, panels_in
from tidecast.features import PanelSchema
from tidecast.forecasting import MinGRUForecaster, RollingOrigin, Training, evaluate, timed_backtest
from tidecast.forecasting.evaluation.decision import signed
from tidecast.forecasting.evaluation.dm_test import compare

CELLS = CELLS_OF_TABLES | {"MINGRU": MinGRUForecaster}
MADE_UP = "made-up shares"


def losses_of(
    panel: pl.DataFrame, schema: PanelSchema, cell: str, variants: dict[str, Training], seeds: int, refits: int,
    most_origins: int = MOST_ORIGINS,
) -> tuple[pl.DataFrame, dict[str, float]]:  # fmt: skip
    """CRPS by variant, seed and origin, and CPU seconds by model.

    Parameters
    ----------
    panel : polars.DataFrame
    schema : PanelSchema
    cell : str
    variants : dict of str to Training
    seeds, refits : int
    most_origins : int, default=504
    """
    sessions = panel["time"].unique().sort()
    n_origins = min(most_origins, (len(sessions) - HORIZON) // 4)
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


def mean_loss(losses: pl.DataFrame, variant: str) -> pl.Series:
    """Loss by origin, over the seeds of a variant, or of one model.

    Parameters
    ----------
    losses : polars.DataFrame
        As from `losses_of`.
    variant : str
        Or ``variant/seed``.
    """
    name = pl.col("model")
    of_variant = losses.filter((name == variant) | name.str.starts_with(f"{variant}/"))
    return of_variant.group_by("origin").agg(pl.col("crps").mean()).sort("origin")["crps"]


def skill_text(loss: pl.Series, than: pl.Series) -> str:
    """Skill in per cent, with its standard error.

    Parameters
    ----------
    loss, than : polars.Series
        By origin.
    """
    found = compare(loss.to_numpy(), than.to_numpy(), HORIZON)
    error = "" if found.se is None else f" ± {100 * found.se:.2f}"
    return signed(found.skill or 0.0) + error


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
    parser.add_argument("data", type=Path, help="folder with panels; made-up shares read nothing from it")
    parser.add_argument("--panel", choices=[*SOURCES, MADE_UP], default="US shares, 88")
    parser.add_argument("--cell", choices=list(CELLS), default="LSTM")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--series", type=int, default=MOST_SERIES, help="most, of a file with hundreds of shares")
    parser.add_argument("--origins", type=int, default=MOST_ORIGINS, help="at most")
    parser.add_argument("--refits", type=int, default=REFITS)
    options = parser.parse_args()
    if options.panel == MADE_UP:
        panel, schema = made_up_shares(options.series), PanelSchema()
    else:
        found = panels_in(options.data, options.series)
        panel, schema = next(each[1:] for each in found if each[0] == options.panel)
    compared = variants()
    losses, seconds = losses_of(panel, schema, options.cell, compared, options.seeds, options.refits, options.origins)

    walk, best = mean_loss(losses, "random_walk"), mean_loss(losses, reference)
    first, last = losses["origin"].min(), losses["origin"].max()
    print(f"\n{options.panel}, {options.cell}, {options.seeds} seeds, {len(walk)} origins {first} to {last}\n")
    print(f"| {column} | against the random walk, % (± s.e.) | against {reference}, % | seed by seed, % | CPU s |")
    print("|---|---|---|---|---|")
    for variant in compared:
        names = [f"{variant}/{seed}" for seed in range(options.seeds)]
        each = [losses.filter(model=name)["crps"] for name in names]
        own = [losses.filter(model=f"{reference}/{seed}")["crps"] for seed in range(options.seeds)]
        by_seed = ", ".join(skill_text(*pair).split(" ±")[0] for pair in zip(each, own, strict=True))
        cost = sum(seconds[name] for name in names)
        loss = mean_loss(losses, variant)
        skills = f"{skill_text(loss, walk)} | {skill_text(loss, best)} | {by_seed}"
        print(f"| {variant} | {skills} | {cost:.1f} |", flush=True)
