"""Gain of columns added to the default inputs of a network, on validation years only.

    python -m benchmarks.inputs DATA_FOLDER                # the three panels below
    python -m benchmarks.inputs DATA_FOLDER --panel stocks --seeds 5 --series 88

Every set is `PriceFeatures(ranges=False)` and further columns, in a GRU with default settings, refit every other year.
A gain is the CRPS skill against the same GRU without them, losses averaged over the seeds and paired origin by origin.
Its error is over origins (`dm_test.compare`); how far seeds differ is beside it, and no part of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.base import clone

from tidecast.features import (
    CalendarFeatures,
    GarmanKlassVolatility,
    MarketReturn,
    PanelSchema,
    ParkinsonVolatility,
    PriceFeatures,
    RelativeVolume,
    ReturnRank,
    VolumeZScore,
    YangZhangVolatility,
)
from tidecast.features.panel import check_panel
from tidecast.features.volatility import with_volatility
from tidecast.forecasting import GRUForecaster, RollingOrigin, backtest, evaluate
from tidecast.forecasting.evaluation.decision import signed, skill_text
from tidecast.forecasting.evaluation.dm_test import Skill, compare

HORIZON, YEAR, WIDEST_RATIO = 5, 252, 3.0
PRICES_ONLY = {"market": [MarketReturn()], "rank": [ReturnRank()], "calendar": [CalendarFeatures()]}
WITH_OHLCV = {
    "Parkinson": [ParkinsonVolatility()],
    "Garman-Klass": [GarmanKlassVolatility()],
    "Yang-Zhang": [YangZhangVolatility()],
    "Parkinson of 2 and 5": [ParkinsonVolatility(2), ParkinsonVolatility(5)],
    "volume": [RelativeVolume(), VolumeZScore(63)],
    "Yang-Zhang and volume": [YangZhangVolatility(), RelativeVolume(), VolumeZScore(63)],
    **PRICES_ONLY,
}
VOLATILITIES = ("parkinson_", "garman_klass_", "yang_zhang_", "market_dispersion_")


def rates(folder: Path) -> tuple[pl.DataFrame, str, int]:
    """ECB rates to the end of 2019: panel, calendar, years to forecast."""
    panel = pl.read_parquet(folder / "ecb_fx_daily.parquet").rename({"date": "time", "value": "close"})
    return panel.filter(pl.col("time").dt.year() < 2020), "TARGET", 4


def stocks(folder: Path) -> tuple[pl.DataFrame, str, int]:
    """88 shares of stocknet with open, high, low and volume, to the end of 2016."""
    panel = pl.read_parquet(folder / "stocks_stocknet88_daily.parquet").rename({"date": "time"})
    return panel.drop("adj_close").filter(pl.col("time").dt.year() < 2017), "XNYS", 2


def old_stocks(folder: Path) -> tuple[pl.DataFrame, str, int]:
    """7 shares of the WIKI prices, adjusted, 1990 to the end of 2009."""
    names = ("open", "high", "low", "close", "volume")
    panel = pl.read_parquet(folder / "stocks_wiki7_corporate_actions.parquet")
    panel = panel.select("series_id", time="date", **{name: pl.col(f"adj_{name}") for name in names})
    return panel.filter(pl.col("time").dt.year().is_between(1990, 2009)), "XNYS", 4


PANELS = {"rates": rates, "stocks": stocks, "old_stocks": old_stocks}


def with_columns(panel: pl.DataFrame, calendar: str) -> tuple[pl.DataFrame, dict[str, tuple[str, ...]]]:
    """The panel with all candidates, and the names of each set's columns.

    Free of scale, as the network's other inputs: volatilities are logs of their ratio to σ, the market's return is in
    units of σ.
    """
    panel = with_volatility(panel)
    sigma, sets = pl.when(pl.col("volatility") > 0).then(pl.col("volatility")), {}
    for name, transformers in (WITH_OHLCV if "volume" in panel.columns else PRICES_ONLY).items():
        sets[name] = tuple(column for transformer in transformers for column in transformer.added_)
        for transformer in transformers:
            if hasattr(transformer, "calendar"):
                transformer.set_params(calendar=calendar)
            panel = transformer.fit_transform(panel.drop(transformer.added_, strict=False))
    columns = {column for names in sets.values() for column in names}
    ratios = [
        (pl.col(name) / sigma).log().clip(-WIDEST_RATIO, WIDEST_RATIO).alias(name)
        for name in columns
        if name.startswith(VOLATILITIES)
    ]
    if "market_return_1" in columns:
        ratios.append((pl.col("market_return_1") / sigma).alias("market_return_1"))
    return panel.with_columns(ratios).drop("change", "volatility", "pegged"), {"PriceFeatures": (), **sets}


def by_origin(model: GRUForecaster, panel: pl.DataFrame, cv: RollingOrigin, seeds: int) -> dict[str, np.ndarray]:
    """Mean CRPS of each origin, of the random walk ("random_walk") and of the model with each seed ("0", "1", …)."""
    models = {str(seed): clone(model).set_params(random_state=seed) for seed in range(seeds)}
    losses = evaluate(backtest(models, panel, cv, refit=2), panel).losses
    means = losses.group_by("model", "origin").agg(pl.col("crps").mean()).sort("model", "origin")
    return {name: part["crps"].to_numpy() for (name,), part in means.group_by("model", maintain_order=True)}


def measure(name: str, folder: Path, seeds: int, n_series: int) -> None:
    """Print one Markdown table, each row as soon as it is measured."""
    panel, calendar, years = PANELS[name](folder)
    panel = check_panel(panel, PanelSchema(calendar=calendar))
    series = panel["series_id"].unique().sort()
    panel = panel.filter(pl.col("series_id").is_in(series.gather_every(-(-len(series) // n_series)).implode()))
    panel, sets = with_columns(panel, calendar)
    cv = RollingOrigin(n_splits=years, horizon=HORIZON, stride=YEAR)
    folds = cv.folds(panel)
    print(f"\n{name}: {panel['series_id'].n_unique()} series, {years * YEAR} origins, ", end="")
    print(f"{folds[0].first_origin} to {folds[-1].last_origin}, steps 1 to {HORIZON}, {seeds} seeds\n")
    print("| inputs | gain, % (95 %) | p | skill against the random walk, % (95 %) | seed by seed |")
    print("|---|---|---|---|---|")
    reference: np.ndarray | None = None
    for label, columns in sets.items():
        schema = PanelSchema(calendar=calendar, covariates=columns)
        found = by_origin(
            GRUForecaster(horizon=HORIZON, schema=schema, features=PriceFeatures(ranges=False)), panel, cv, seeds
        )
        walk = found.pop("random_walk")
        loss = np.mean(list(found.values()), axis=0)
        skill = compare(loss, walk, HORIZON)
        each = ", ".join(signed(1 - loss.mean() / walk.mean()) for loss in found.values())
        total = f"{text_of(skill)} | {each}"
        if reference is None:
            reference = loss
            print(f"| {label} | – | – | {total} |", flush=True)
        else:
            gain = compare(loss, reference, HORIZON)
            print(f"| + {label} | {text_of(gain)} | {gain.p:.3f} | {total} |", flush=True)


def text_of(skill: Skill) -> str:
    """A skill in per cent with its 95 % interval."""
    return skill_text(skill.skill, skill.low, skill.high, unit=False)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the Parquet files")
    parser.add_argument("--panel", choices=list(PANELS), nargs="*", default=list(PANELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--series", type=int, default=45, help="maximum number of series, evenly spaced by name")
    given = parser.parse_args()
    for name in given.panel:
        measure(name, given.folder, given.seeds, given.series)


if __name__ == "__main__":
    main()
