"""Skill against the random walk, on bundled or own prices: the table of the README.

    python -m benchmarks.accuracy                      # the two bundled files
    python -m benchmarks.accuracy prices.parquet --series-id id --time date --target value
    python -m benchmarks.accuracy --all FOLDER         # every panel in it × every model, see benchmarks.every_model

Every model is refit on every fold with default settings; nothing is chosen on the origins shown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.every_model import CELLS, HORIZON, SEEDS, add_arguments, all_models, choice_of, compare_folder
from tidecast.features import PanelSchema
from tidecast.forecasting import RollingOrigin, backtest, evaluate
from tidecast.forecasting.evaluation.decision import signed, skill_text
from tidecast.forecasting.tables.names import AVERAGE, VOLATILITY_REGRESSION

DATA = Path(__file__).parents[1] / "flows" / "data"
MEANS = ("skill", "skill_low", "skill_high", "ae_skill", "coverage")
FOLDS, STRIDE = 4, 252


def bundled() -> Iterator[tuple[str, pl.DataFrame, PanelSchema]]:
    """Name, panel and schema of each bundled file."""
    columns = {"date": "time", "value": "close"}
    rates = pl.read_parquet(DATA / "ecb_fx_daily.parquet").rename(columns)
    yield "ECB rates", rates, PanelSchema(calendar="TARGET")
    energy = pl.read_parquet(DATA / "eia_energy_spot_daily.parquet").rename(columns)
    yield "EIA energy", energy.filter(pl.col("close") > 0), PanelSchema()


def skills(panel: pl.DataFrame, schema: PanelSchema) -> pl.DataFrame:
    """Pooled scores by model and seed."""
    cv = RollingOrigin(n_splits=FOLDS, horizon=HORIZON, stride=STRIDE)
    forecasts = backtest(all_models(schema), panel, cv, n_jobs=2)
    return evaluate(forecasts, panel).summary.filter(pl.col("group") == "pooled")


def show(name: str, panel: pl.DataFrame, schema: PanelSchema) -> None:
    """Print one Markdown table."""
    summary = skills(panel, schema)
    sessions = panel["time"].unique().sort()
    first, last = sessions[-FOLDS * STRIDE - HORIZON], sessions[-1 - HORIZON]
    n_series = summary.select("n_origins").max().item()
    print(f"\n{name}: {panel['series_id'].n_unique()} series, {FOLDS} folds of {STRIDE} origins ({n_series} in all), ")
    print(f"{first} to {last}, steps 1 to {HORIZON}, seeds {', '.join(map(str, SEEDS))}\n")
    print("| model | CRPS skill, % (seed by seed) | mean, % (95 %) | p | MAE skill, % | coverage of 90 %, % |")
    print("|---|---|---|---|---|---|")
    for model in (*CELLS, VOLATILITY_REGRESSION, AVERAGE, "drift", "random_walk"):
        rows = summary.filter(pl.col("model").str.split("/").list.first() == model)
        by_seed = ", ".join(signed(skill) for skill in rows["skill"])
        mean = {column: float(np.mean(rows[column].to_numpy())) for column in MEANS}
        interval = skill_text(mean["skill"], mean["skill_low"], mean["skill_high"], unit=False)
        p = ", ".join(f"{p:.3f}" for p in rows["p"])
        print(f"| {model} | {by_seed} | {interval} | {p} | {signed(mean['ae_skill'])} | {100 * mean['coverage']:.1f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    for column, default in (("series-id", "series_id"), ("time", "time"), ("target", "close")):
        parser.add_argument(f"--{column}", default=default)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="compare every model on every panel of a folder")
    add_arguments(parser)
    given = parser.parse_args()
    if given.all is not None:
        compare_folder(given.all, choice_of(given))
        return
    if given.file is None:
        for name, panel, schema in bundled():
            show(name, panel, schema)
        return
    panel = pl.read_parquet(given.file).select(
        series_id=given.series_id, time=pl.col(given.time), close=pl.col(given.target)
    )
    show(given.file.stem, panel.drop_nulls().filter(pl.col("close") > 0), PanelSchema())


if __name__ == "__main__":
    main()
