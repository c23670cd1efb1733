"""The hourly series of the M4 competition: 48 hours after the end of each of 414 series, scored as the competition did.

    python -m benchmarks.m4_hourly DATA_FOLDER                    # one GRU with default settings, 64 units
    python -m benchmarks.m4_hourly DATA_FOLDER --models GRU LSTM --seeds 3
    python -m benchmarks.m4_hourly DATA_FOLDER --development      # the last 48 hours of the training part instead

OWA is the mean of two ratios, of sMAPE and of MASE to those of the competition's "Naive2": Makridakis, Spiliotis and
Assimakopoulos (2020), International Journal of Forecasting 36(1), doi:10.1016/j.ijforecast.2019.04.014, section 3.
DATA_FOLDER holds `m4_hourly.parquet` and `m4_published_scores.parquet`. The series have no dates, so that all are given
the same; nothing but "24 and 168 rows make a day and a week" follows from them.
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.electricity import averaged
from tidecast.forecasting import SeasonalNaive
from tidecast.forecasting.forecasters.recurrent import FORECASTERS

HORIZON, DAY = 48, 24
END = datetime(2018, 1, 1)
SETTINGS: dict[str, Any] = {"horizon": HORIZON, "lookback": 168}


def dated(values: pl.DataFrame) -> pl.DataFrame:
    """The series as a panel: all end their training part in the same hour."""
    before = pl.col("t") - pl.col("t").filter(pl.col("split") == "train").max().over("series_id")
    return values.select(
        "series_id", "split", time=pl.lit(END) + pl.duration(hours=before.cast(pl.Int64)), close="value"
    ).sort("series_id", "time")


def owa(table: pl.DataFrame, train: pl.DataFrame, truth: pl.DataFrame, naive2: dict[str, float]) -> dict[str, float]:
    """sMAPE in per cent, MASE, and the overall weighted average of both."""
    change = (pl.col("close") - pl.col("close").shift(DAY).over("series_id")).abs()
    scale = train.group_by("series_id").agg(scale=change.mean())
    found = truth.join(table, on=["series_id", "time"], how="left").join(scale, on="series_id")
    assert not found["forecast"].null_count()
    error = (pl.col("close") - pl.col("forecast")).abs()
    smape = found.select((200 * error / (pl.col("close").abs() + pl.col("forecast").abs())).mean()).item()
    mase = found.select((error / pl.col("scale")).mean()).item()
    return {"sMAPE": smape, "MASE": mase, "OWA": (smape / naive2["sMAPE"] + mase / naive2["MASE"]) / 2}


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="*", default=["GRU"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--development", action="store_true", help="forecast the end of the training part")
    arguments = parser.parse_args()
    panel = dated(pl.read_parquet(arguments.data / "m4_hourly.parquet"))
    published = pl.read_parquet(arguments.data / "m4_published_scores.parquet").filter(pl.col("frequency") == "Hourly")
    naive2 = dict(published.filter(pl.col("method_id") == "Naive2").select("metric", "score").iter_rows())
    train = panel.filter(pl.col("split") == "train").drop("split")
    truth = panel.filter(pl.col("split") == "test").drop("split")
    if arguments.development:
        is_late = pl.col("time") > train["time"].max() - pl.duration(hours=HORIZON)
        train, truth = train.filter(~is_late), train.filter(is_late)
    print("| model | sMAPE | MASE | OWA | CPU s |\n|---|---|---|---|---|")

    def show(name: str, found: dict[str, float], seconds: float) -> None:
        print(
            f"| {name} | {found['sMAPE']:.3f} | {found['MASE']:.3f} | {found['OWA']:.3f} | {seconds:.0f} |", flush=True
        )

    naive = SeasonalNaive(**SETTINGS, season=DAY).fit(train).predict()
    show("a day before", owa(naive, train, truth, naive2), 0)
    if not arguments.development:
        for rank, row in enumerate(
            published.pivot("metric", index="method_id", values="score").sort("OWA").head(3).to_dicts(), 1
        ):
            show(f"published: number {rank}, {row['method_id']}", row, 0)
    tables = []
    for label in arguments.models:
        for seed in range(arguments.seeds):
            start = time.process_time()
            kind = FORECASTERS[label.lower()]
            tables.append(kind(**SETTINGS, hidden_size=arguments.hidden, random_state=seed).fit(train).predict())
            show(f"{label}, seed {seed}", owa(tables[-1], train, truth, naive2), time.process_time() - start)
    if len(tables) > 1:
        show(f"mean of these {len(tables)}", owa(averaged(tables), train, truth, naive2), 0)


if __name__ == "__main__":
    main()
