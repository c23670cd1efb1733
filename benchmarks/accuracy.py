"""Skill against the random walk, on bundled or own prices: the table of the README.

    python -m benchmarks.accuracy                      # the two bundled files
    python -m benchmarks.accuracy prices.parquet --series-id id --time date --target value
    python -m benchmarks.accuracy --all FOLDER         # every panel in it × every model, one table each

Every model is refit on every fold with default settings; nothing is chosen on the origins shown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.panels import panels_in
from tidecast.features import PanelSchema
from tidecast.forecasting import (
    Average,
    Drift,
    GRUForecaster,
    LSTMForecaster,
    RNNForecaster,
    RollingOrigin,
    VolatilityRegression,
    backtest,
    comparison,
    evaluate,
)
from tidecast.forecasting.backtesting.averaged_tables import averaged_members
from tidecast.forecasting.evaluation.decision import signed, skill_text
from tidecast.forecasting.forecasters.average import average_tables
from tidecast.forecasting.tables.names import AVERAGE, VOLATILITY_REGRESSION

DATA = Path(__file__).parents[1] / "flows" / "data"
CELLS = {"RNN": RNNForecaster, "LSTM": LSTMForecaster, "GRU": GRUForecaster}
MEANS = ("skill", "skill_low", "skill_high", "ae_skill", "coverage")
FOLDS, STRIDE, HORIZON, SEEDS = 4, 252, 5, (0, 1, 2)
MOST_ORIGINS = 504
COLUMNS = (
    "crps", "skill", "p", "against", "against_p", "qlike", "interval_score", "coverage", "coverage_calm",
    "coverage_usual", "coverage_turbulent", "coverage_after_break", "mae",
)  # fmt: skip


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


def compare_all(name: str, panel: pl.DataFrame, schema: PanelSchema) -> None:
    """Print every model on a panel: on the newest origins, and on those before them, on which models may be chosen."""
    sessions = panel["time"].unique().sort()
    n_origins = min(MOST_ORIGINS, (len(sessions) - HORIZON) // 4)
    cv = RollingOrigin(n_splits=2, horizon=HORIZON, stride=n_origins // 2)
    for period, end in (("development", sessions[-1 - n_origins]), ("test", sessions[-1])):
        rows = panel.filter(pl.col("time") <= end)
        forecasts, seconds = forecasts_of(all_models(schema), rows, cv)
        table = comparison(forecasts, rows)
        first = forecasts["origin"].min()
        print(f"\n{name}, {period}: {panel['series_id'].n_unique()} series, 2 refits, origins {first} to {end}\n")
        print(f"| model | {' | '.join(COLUMNS)} | CPU s |")
        print(f"|---|{'---|' * (len(COLUMNS) + 1)}")
        for row in table.iter_rows(named=True):
            cells = [_cell(row, column) for column in COLUMNS]
            print(f"| {row['model']} | {' | '.join(cells)} | {seconds.get(row['model'], 0.0):.1f} |", flush=True)


def all_models(schema: PanelSchema) -> dict[str, Any]:
    """Every model by name: each network with each seed, the benchmarks, and the average of all networks of seed 0."""
    networks = {
        f"{name}/{seed}": cell(horizon=HORIZON, schema=schema, random_state=seed)
        for name, cell in CELLS.items()
        for seed in SEEDS
    }
    regression = VolatilityRegression(horizon=HORIZON, schema=schema)
    single = [network for name, network in networks.items() if name.endswith("/0")]
    return networks | {
        VOLATILITY_REGRESSION: regression,
        AVERAGE: Average([*single, regression]),
        "drift": Drift(horizon=HORIZON, schema=schema),
    }


def forecasts_of(
    models: dict[str, Any], panel: pl.DataFrame, cv: RollingOrigin
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Forecasts of all models, and the CPU seconds of each one's fits and forecasts; the average adds none."""
    tables, seconds = [], {}
    members = averaged_members(models)
    for name, model in models.items():
        if name not in members:
            begun = time.process_time()
            tables.append(backtest({name: model}, panel, cv))
            seconds[name] = time.process_time() - begun
    found = pl.concat(tables).unique(["model", "fold", "series_id", "origin", "step"], maintain_order=True)
    for name, names in members.items():
        of_members = [found.filter(model=member).sort("fold", "series_id", "origin", "step") for member in names]
        found = pl.concat([found, average_tables(of_members).with_columns(model=pl.lit(name))])
    return found, seconds


def _cell(row: dict[str, Any], column: str) -> str:
    """A number of a comparison as a cell of a table."""
    if column in ("skill", "against", "mae"):
        value = row[column if column == "skill" else f"{column}_skill"]
        return "–" if value is None else skill_text(value, row[f"{column}_low"], row[f"{column}_high"], unit=False)
    value = row[column]
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if column.startswith("coverage") else f"{value:.4f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    for column, default in (("series-id", "series_id"), ("time", "time"), ("target", "close")):
        parser.add_argument(f"--{column}", default=default)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="compare every model on every panel of a folder")
    given = parser.parse_args()
    if given.all is not None:
        for name, panel, schema in panels_in(given.all):
            compare_all(name, panel, schema)
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
