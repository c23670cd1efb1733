"""Compare the random walk's intervals with and without online calibration, on development years.

python -m benchmarks.online_calibration DATA_FOLDER
"""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks.panels import panels_in
from tidecast.flows.watch.online_calibration import misses, rescaled, width_factors
from tidecast.forecasting import RandomWalk
from tidecast.forecasting.evaluation.comparison import comparison

PERIODS = {  # warm-up of the factors, first and last origin that count; never later than the development years
    "ECB rates": (date(2011, 1, 1), date(2012, 1, 1), date(2019, 12, 31)),
    "EIA energy": (date(2019, 9, 1), date(2020, 9, 1), date(2024, 8, 30)),
    "US shares, 88": (date(2014, 3, 1), date(2015, 3, 1), date(2016, 6, 1)),
}
RATES = (0.02, 0.05, 0.1, 0.2)


def tables(panel: pl.DataFrame, schema: object, first: date, last: date) -> pl.DataFrame:
    """The random walk's forecasts from every session between two days, fit on the rows before, with their truth.

    Parameters
    ----------
    panel : polars.DataFrame
    schema : PanelSchema
    first, last : date
    """
    walk = RandomWalk(schema=schema).fit(panel.filter(pl.col("time") < first))
    days = panel["time"].unique().sort()
    days = days.filter((days >= first) & (days <= last)).to_list()
    begun = panel.filter(pl.col("time") < first)["series_id"].unique()
    table = walk.predict(panel.filter(pl.col("series_id").is_in(begun.implode())), origins=days)
    truths = panel.select("series_id", "time", truth="close")
    return table.join(truths, on=["series_id", "time"]).with_columns(pl.col("step").cast(pl.Int64), as_of="origin")


def measure(name: str, panel: pl.DataFrame, schema: object) -> None:
    """Print a line without calibration and one per rate.

    Parameters
    ----------
    name : str
    panel : polars.DataFrame
    schema : PanelSchema
    """
    warm, first, last = PERIODS[name]
    panel = panel.filter(pl.col("time") <= last)
    base = tables(panel, schema, warm, last)
    days = base["as_of"].unique().sort().to_list()
    found = {"random_walk": base}
    missed = misses(base)
    for rate in RATES:
        found[f"γ = {rate}"] = rescaled(base, width_factors(missed, days, 0.9, rate))
    counted = [
        table.drop("truth", "as_of").with_columns(model=pl.lit(model)).filter(pl.col("origin") >= first)
        for model, table in found.items()
    ]
    compared = comparison(pl.concat(counted), panel)
    for model, table in found.items():
        row = compared.row(by_predicate=pl.col("model") == model, named=True)
        here = table.filter(pl.col("origin") >= first)
        width = (here["q0.95"] / here["q0.05"]).log()
        walk = base.filter(pl.col("origin") >= first)
        ratio = float((width / (walk["q0.95"] / walk["q0.05"]).log()).fill_nan(None).mean())
        low, high = row["skill_low"], row["skill_high"]
        skill = f"{100 * row['skill']:+.2f} ({100 * low:.2f} … {100 * high:.2f})"
        print(
            f"| {name}, {first} to {last} | {model} | {100 * row['coverage']:.1f} | "
            f"{100 * row['coverage_after_break']:.1f} | {100 * row['coverage_turbulent']:.1f} | {ratio:.3f} | "
            f"{skill} | {row['interval_score']:.3f} |",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    print(
        "| panel, origins | | coverage of 90 % | after a break | turbulent | width ratio | CRPS, % (95 %) | interval |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, panel, schema in panels_in(data):
        if name in PERIODS:
            measure(name, panel, schema)


if __name__ == "__main__":
    main()
