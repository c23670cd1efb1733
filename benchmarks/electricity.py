"""Day-ahead electricity prices: all 24 hours of the next day, forecast at the end of each day for two years.

    python -m benchmarks.electricity DATA_FOLDER NP                      # two networks with default settings
    python -m benchmarks.electricity DATA_FOLDER DE --models GRU --seeds 3 --refit-days 91 --regression-days 7
    python -m benchmarks.electricity DATA_FOLDER NP --development        # the year before the test years

Data and protocol are those of Lago, Marcjasz, De Schutter and Weron (2021), Applied Energy 293, 116983,
doi:10.1016/j.apenergy.2021.116983. DATA_FOLDER holds `epf_np_hourly.parquet` and `epf_np_published.parquet`, and the
same for `de`. Load and the output of wind and sun are known a day ahead. Networks see nothing else but the prices up to
the last hour of the day before. The published models are fitted again every day; networks every `--refit-days`, the
`SeasonalRegression` every `--regression-days`. The last line averages all of them.

The rows of another market have the same columns: ``time``, ``price``, and any number that end in ``_forecast``.
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidecast.features import PanelSchema
from tidecast.forecasting import RandomWalk, SeasonalNaive, SeasonalRegression
from tidecast.forecasting.forecasters.recurrent import FORECASTERS

HOURS, DAYS = 24, 728
FIRST_DAY = {"np": datetime(2016, 12, 27), "de": datetime(2016, 1, 4)}
SETTINGS: dict[str, Any] = {"horizon": HOURS, "lookback": 168, "target": "price"}
HIDDEN = 64


def forecasts_of(
    kind: Any, settings: dict[str, Any], prices: pl.DataFrame, days: list[datetime], refit_days: int
) -> pl.DataFrame:
    """Return the forecasts from the end of the day before each day, of a model fitted every `refit_days`."""
    tables = []
    for begin in range(0, len(days), refit_days):
        block = days[begin : begin + refit_days]
        model = kind(**settings).fit(prices.filter(pl.col("time") < block[0]))
        known = prices.filter(pl.col("time") < block[-1] + timedelta(days=1))
        tables.append(model.predict(known, origins=[day - timedelta(hours=1) for day in block]))
    return pl.concat(tables)


def naive(prices: pl.DataFrame) -> pl.DataFrame:
    """The price a week before on Monday, Saturday and Sunday, else a day before."""
    hour, price = pl.col("time"), pl.col("price")
    at = prices.select("time", "price")
    lagged = at
    for days in (1, 7):
        earlier = at.select(hour.dt.offset_by(f"{days}d"), price.alias(f"lag_{days}"))
        lagged = lagged.join(earlier, on="time", how="left")
    weekly = hour.dt.weekday().is_in([1, 6, 7])
    return lagged.select("time", forecast=pl.when(weekly).then("lag_7").otherwise("lag_1"))


def scores(table: pl.DataFrame, prices: pl.DataFrame, days: list[datetime]) -> dict[str, float]:
    """MAE over all hours; with quantiles also CRPS and the coverage of 90 %, else NaN."""
    inside = pl.col("time").is_between(days[0], days[-1] + timedelta(hours=HOURS - 1))
    found = table.filter(inside).join(prices.select("time", "price"), on="time")
    assert len(found) == HOURS * len(days)
    price, forecast = found["price"].to_numpy(), found["forecast"].to_numpy()
    mae = float(np.abs(price - forecast).mean())
    levels = [name for name in found.columns if name.startswith("q")]
    if not levels:
        return {"MAE": mae, "CRPS": np.nan, "coverage": np.nan}
    losses = [0.5 * np.abs(price - forecast)]
    for name in levels:
        error = price - found[name].to_numpy()
        losses.append(np.maximum(float(name[1:]) * error, (float(name[1:]) - 1) * error))
    covered = (found["q0.05"] <= found["price"]) & (found["price"] <= found["q0.95"])
    return {"MAE": mae, "CRPS": float(2 * np.mean(losses)), "coverage": float(covered.mean())}


def averaged(tables: list[pl.DataFrame]) -> pl.DataFrame:
    """Mean of the medians and of each quantile."""
    values = pl.all().exclude("series_id", "origin", "step", "time").mean()
    return pl.concat(tables).group_by("series_id", "origin", "step", "time", maintain_order=True).agg(values)


def show(name: str, found: dict[str, float], seconds: float) -> None:
    """Print one line of the table."""
    print(
        f"| {name} | {found['MAE']:.3f} | {found['CRPS']:.3f} | {found['coverage']:.1%} | {seconds:.0f} |", flush=True
    )


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("market", choices=["NP", "DE"])
    parser.add_argument("--models", nargs="*", default=["GRU", "LSTM"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--refit-days", type=int, default=DAYS)
    parser.add_argument("--regression-days", type=int, default=DAYS)
    parser.add_argument("--development", action="store_true", help="the last year before the test years")
    arguments = parser.parse_args()
    market = arguments.market.lower()
    prices = pl.read_parquet(arguments.data / f"epf_{market}_hourly.parquet").sort("time")
    ahead = tuple(name for name in prices.columns if name.endswith("_forecast"))
    first, n_days = FIRST_DAY[market], DAYS
    if arguments.development:
        first, n_days = first - timedelta(days=DAYS // 2), DAYS // 2
    days = [first + timedelta(days=k) for k in range(n_days)]
    plain = PanelSchema(positive=False, origin_time="23:00")
    schema = PanelSchema(positive=False, origin_time="23:00", future=ahead)
    print("| model | MAE | CRPS | coverage of 90 % | CPU s |\n|---|---|---|---|---|")
    baselines = {
        "random walk": (RandomWalk, SETTINGS | {"schema": plain}),
        "a day before": (SeasonalNaive, SETTINGS | {"schema": plain, "season": 24}),
        "a week before": (SeasonalNaive, SETTINGS | {"schema": plain, "season": 168}),
    }
    for name, (kind, settings) in baselines.items():
        start = time.process_time()
        table = forecasts_of(kind, settings, prices, days, len(days))
        show(name, scores(table, prices, days), time.process_time() - start)
    show("a week or a day before", scores(naive(prices), prices, days), 0)
    if not arguments.development:
        published = pl.read_parquet(arguments.data / f"epf_{market}_published.parquet")
        of_both = published.with_columns(mean=(pl.col("dnn_ensemble") + pl.col("lear_ensemble")) / 2)
        for name in ("dnn_ensemble", "lear_ensemble", "mean"):
            show(f"published: {name}", scores(of_both.select("time", forecast=name), prices, days), np.nan)
    every = []
    for label in arguments.models:
        for seed in range(arguments.seeds):
            settings = SETTINGS | {"schema": schema, "hidden_size": HIDDEN, "random_state": seed}
            start = time.process_time()
            every.append(forecasts_of(FORECASTERS[label.lower()], settings, prices, days, arguments.refit_days))
            show(f"{label}, seed {seed}", scores(every[-1], prices, days), time.process_time() - start)
    if len(every) > 1:
        show(f"mean of these {len(every)}", scores(averaged(every), prices, days), np.nan)
    start = time.process_time()
    linear = forecasts_of(SeasonalRegression, SETTINGS | {"schema": schema}, prices, days, arguments.regression_days)
    show("seasonal regression", scores(linear, prices, days), time.process_time() - start)
    if every:
        show("mean of all", scores(averaged([*every, linear]), prices, days), np.nan)


if __name__ == "__main__":
    main()
