"""The picture of the README: a forecast of the demo, and what networks gain over the random walk.

    python -m docs.pictures.forecast .tidecast-demo docs/pictures/forecast.png

Run it after ``make demo``. The gains are those of the table in benchmarks/README.md.
"""

import argparse
from pathlib import Path

import polars as pl

from docs.pictures.tables import interval, table_below
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import new_figure, zero
from tidecast.forecasting.plotting.palette import BLUE, INK, colour_of

SERIES, SESSIONS = "USD", 40
BANDS = (("q0.05", "q0.95", 0.18), ("q0.25", "q0.75", 0.32))


def draw(home: Path) -> Picture:
    """Draw the newest prices of one series with its forecast, and the gain of each model.

    Parameters
    ----------
    home : Path
        The state folder of the demo.
    """
    rows = pl.read_delta(str(home / "warehouse" / "forecasts")).filter(pl.col("series_id") == SERIES).sort("step")
    prices = pl.read_delta(str(home / "warehouse" / "prices")).filter(pl.col("series_id") == SERIES).sort("time")
    past = prices["close"].to_list()[-SESSIONS:]
    ahead = list(range(rows.height + 1))
    figure, (fan, gains) = new_figure(1, 2, height=2.9, widths=(1.5, 1))
    fan.plot(range(1 - len(past), 1), past, color=INK)
    for low, high, alpha in BANDS:
        fan.fill_between(ahead, [past[-1], *rows[low]], [past[-1], *rows[high]], color=BLUE, alpha=alpha, linewidth=0)
    fan.plot(ahead, [past[-1], *rows["forecast"]], color=BLUE)
    fan.set(xlabel=f"sessions from {rows['origin'][0]}", ylabel=f"{SERIES} for one euro")
    models = table_below("benchmarks/README.md", "ECB rates, 41 series")[::-1]
    name, value = next(iter(models[0])), "mean (95 %)"
    for place, row in enumerate(models):
        middle, low, high = interval(row[value])
        colour = colour_of(row[name].replace(" ", "_"))
        gains.errorbar(middle, place, xerr=[[middle - low], [high - middle]], fmt="o", color=colour, markersize=5)
    gains.set_yticks(range(len(models)), [row[name] for row in models])
    gains.set_xlabel("gain in CRPS, %")
    zero(gains, "random walk", flat=True)
    return Picture(
        "Dollars for a euro: the next five sessions",
        f"Left: the forecast of {rows['origin'][0]}, with its 50 % and 90 % intervals. The median is the last price. "
        "Right: the gain of each model's distribution on 41 exchange rates over four years, with its 95 % interval.",
        figure,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("png", type=Path)
    arguments = parser.parse_args()
    arguments.png.write_bytes(draw(arguments.home).png())
