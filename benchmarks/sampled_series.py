"""How exactly a sample of series tells a model's skill: the regression, on the years before the test years.

python -m benchmarks.sampled_series DATA [--panel "US shares, 30 years"]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from benchmarks.every_model import HORIZON, MOST_ORIGINS
from benchmarks.panels import SOURCES, panels_in
from tidecast.flows.training.compared_series import drawn_series
from tidecast.forecasting import RollingOrigin, VolatilityRegression, backtest, evaluate


def main() -> None:
    """Print a line per size of the sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--panel", choices=list(SOURCES), default="US shares, 30 years")
    options = parser.parse_args()
    panel, schema = next(found[1:] for found in panels_in(options.data) if found[0] == options.panel)
    sessions = panel["time"].unique().sort()
    n_origins = min(MOST_ORIGINS, (len(sessions) - HORIZON) // 4)
    rows = panel.filter(pl.col("time") <= sessions[-1 - n_origins])
    cv = RollingOrigin(n_splits=2, horizon=HORIZON, stride=n_origins // 2)
    forecasts = backtest({"regression": VolatilityRegression(horizon=HORIZON, schema=schema)}, rows, cv)
    print("| series | skill, % | standard error, % |\n|---|---|---|")
    for most in (5, 10, 20, 40, 80, 160):
        drawn = drawn_series(forecasts["series_id"].unique().sort(), most)
        some = forecasts.filter(pl.col("series_id").is_in(drawn.implode()))
        pooled = evaluate(some, rows, positive=True).summary.filter(group="pooled", model="regression")
        skill, error = (100 * pooled[name][0] for name in ("skill", "skill_se"))
        print(f"| {len(drawn)} | {skill:+.2f} | {error:.2f} |", flush=True)
        if len(drawn) < most:
            break


if __name__ == "__main__":
    main()
