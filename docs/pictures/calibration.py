"""How often truths lie below each forecast quantile: a GRU and the random walk on four years of exchange rates.

    python -m docs.pictures.calibration docs/pictures/calibration.png

The bundled ECB rates that are still quoted, four refits on the test years that the table of benchmarks/README.md uses,
default settings, one seed.
"""

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import torch

from tidecast import GRUForecaster, PanelSchema, RollingOrigin, backtest
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import legend, new_figure
from tidecast.forecasting.plotting.palette import BLUE, INK

PRICES = Path(__file__).parents[2] / "flows" / "data" / "ecb_fx_daily.parquet"
MODELS = {"GRU": ("GRU", BLUE), "random_walk": ("random walk", INK)}


def forecasts() -> pl.DataFrame:
    """Return the forecasts of both models with the truth of each row."""
    prices = pl.read_parquet(PRICES).rename({"date": "time", "value": "close"}).drop_nulls()
    quoted = prices.group_by("series_id").agg(pl.col("time").max()).filter(pl.col("time") >= date(2026, 10, 1))
    prices = prices.join(quoted.select("series_id"), on="series_id", how="semi")
    model = GRUForecaster(horizon=5, schema=PanelSchema(calendar="TARGET"), random_state=0)
    table = backtest({"GRU": model}, prices, RollingOrigin(n_splits=4, horizon=5, stride=252))
    truth = prices.select("series_id", "time", truth="close")
    return table.join(truth, on=["series_id", "time"], how="inner")


def draw(table: pl.DataFrame) -> Picture:
    """Draw the share of truths below each quantile, and the coverage of 90 % by quarter."""
    levels = np.arange(1, 20) / 20
    names = ["forecast" if level == 0.5 else f"q{level:g}" for level in levels]
    figure, (left, right) = new_figure(1, 2, height=3.0)
    for model, (label, colour) in MODELS.items():
        rows = table.filter(pl.col("model") == model)
        # a price equal to the forecast counts half: some rates do not move every day
        truth = rows["truth"]
        below = [100 * float(((truth < rows[name]).mean() + (truth <= rows[name]).mean()) / 2) for name in names]
        left.plot(100 * levels, np.array(below) - 100 * levels, color=colour, marker="o", markersize=3, label=label)
        covered = (pl.col("q0.05") <= pl.col("truth")) & (pl.col("truth") <= pl.col("q0.95"))
        quarters = rows.sort("origin").group_by_dynamic("origin", every="1q").agg(covered=100 * covered.mean())
        right.plot(quarters["origin"], quarters["covered"], color=colour, label=label)
        by_step = rows.group_by("step").agg(100 * covered.mean()).sort("step").to_series(1)
        print(f"{label}: below {', '.join(f'{share:.1f}' for share in below)}")
        print(f"{label}: coverage of 90 % by step {', '.join(f'{share:.1f}' for share in by_step)}")
        print(f"{label}: by quarter {quarters['covered'].min():.1f} to {quarters['covered'].max():.1f}")
    left.axhline(0, color=INK, linewidth=1, linestyle=":")
    left.set(xlabel="quantile, %", ylabel="observed − stated, points", ylim=(-5, 5))
    right.axhline(90, color=INK, linewidth=1, linestyle=":")
    right.set(ylabel="coverage of the 90 % interval, %", ylim=(75, 100))
    right.tick_params(axis="x", rotation=30)
    legend(left)
    return Picture(
        "Calibration, four years out of sample",
        "Left: the share of prices below each forecast quantile, less its level; 0 is right. Right: the share inside "
        "the 90 % interval by quarter; 90 is right.",
        figure,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("png", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.png.write_bytes(draw(forecasts()).png())
