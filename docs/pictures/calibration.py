"""How often truths lie below each forecast quantile: a GRU and the random walk on four years of exchange rates.

    python -m docs.pictures.calibration            # draw calibration.png and calibration_dark.png again
    python -m docs.pictures.calibration --measure  # measure again first

The bundled ECB rates that are still quoted, four refits on the test years that the table of benchmarks/README.md uses,
default settings, one seed.
"""

import argparse
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from docs.pictures.light_and_dark import keep, kept, write
from tidecast import GRUForecaster, PanelSchema, RollingOrigin, backtest
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import legend, new_figure
from tidecast.forecasting.plotting.palette import Theme, colours_of

PRICES = Path(__file__).parents[2] / "flows" / "data" / "ecb_fx_daily.parquet"
MODELS = {"GRU": "GRU", "random_walk": "random walk"}
LEVELS = np.arange(1, 20) / 20


def forecasts() -> pl.DataFrame:
    """Return the forecasts of both models with the truth of each row."""
    prices = pl.read_parquet(PRICES).rename({"date": "time", "value": "close"}).drop_nulls()
    quoted = prices.group_by("series_id").agg(pl.col("time").max()).filter(pl.col("time") >= date(2026, 10, 1))
    prices = prices.join(quoted.select("series_id"), on="series_id", how="semi")
    model = GRUForecaster(horizon=5, schema=PanelSchema(calendar="TARGET"), random_state=0)
    table = backtest({"GRU": model}, prices, RollingOrigin(n_splits=4, horizon=5, stride=252))
    truth = prices.select("series_id", "time", truth="close")
    return table.join(truth, on=["series_id", "time"], how="inner")


def measured(table: pl.DataFrame) -> dict[str, Any]:
    """Return of each model, in per cent: truths below each quantile, coverage of 90 % by step and by quarter."""
    names = ["forecast" if level == 0.5 else f"q{level:g}" for level in LEVELS]
    found: dict[str, Any] = {}
    for model in MODELS:
        rows = table.filter(pl.col("model") == model)
        # a price equal to the forecast counts half: some rates do not move every day
        truth = rows["truth"]
        below = [100 * float(((truth < rows[name]).mean() + (truth <= rows[name]).mean()) / 2) for name in names]
        covered = (pl.col("q0.05") <= pl.col("truth")) & (pl.col("truth") <= pl.col("q0.95"))
        quarters = rows.sort("origin").group_by_dynamic("origin", every="1q").agg(covered=100 * covered.mean())
        by_step = rows.group_by("step").agg(100 * covered.mean()).sort("step").to_series(1)
        found[f"{model}: below each quantile"] = [round(share, 3) for share in below]
        found[f"{model}: coverage of 90 % by step"] = by_step.round(3).to_list()
        found["quarters"] = [str(day) for day in quarters["origin"]]
        found[f"{model}: coverage of 90 % by quarter"] = quarters["covered"].round(3).to_list()
    return found


def draw(numbers: dict[str, Any], theme: Theme) -> Picture:
    """Draw the share of truths below each quantile, and the coverage of 90 % by quarter."""
    figure, (left, right) = new_figure(1, 2, height=3.0, theme=theme)
    quarters = [date.fromisoformat(day) for day in numbers["quarters"]]
    colours = colours_of(list(MODELS), theme)
    for model, label in MODELS.items():
        named = {"color": colours[model], "label": label}
        off = np.array(numbers[f"{model}: below each quantile"]) - 100 * LEVELS
        left.plot(100 * LEVELS, off, marker="o", markersize=3, **named)
        right.plot(quarters, numbers[f"{model}: coverage of 90 % by quarter"], **named)
    left.axhline(0, color=theme.ink, linewidth=1, linestyle=":")
    left.set(xlabel="quantile, %", ylabel="observed − stated, points", ylim=(-5, 5))
    right.axhline(90, color=theme.ink, linewidth=1, linestyle=":")
    right.set(ylabel="share inside the interval, %", ylim=(75, 100))
    right.tick_params(axis="x", rotation=30)
    legend(left, theme)
    return Picture(
        "Calibration, four years out of sample",
        "Left: the share of prices below each forecast quantile, less its level; 0 is right. Right: the share inside "
        "the 90 % interval by quarter; 90 is right.",
        figure,
    )


def main() -> None:
    """Draw both pictures from the numbers that are kept, or from new ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="fit and forecast again; minutes of CPU time")
    if parser.parse_args().measure:
        torch.set_num_threads(1)
        keep("calibration", measured(forecasts()))
    numbers = kept("calibration")
    for name, values in numbers.items():
        print(f"{name}: {', '.join(f'{value:.1f}' if isinstance(value, float) else value for value in values)}")
    write("calibration", lambda theme: draw(numbers, theme))


if __name__ == "__main__":
    main()
