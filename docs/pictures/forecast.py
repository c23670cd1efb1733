"""The picture of the README: a forecast of the demo, and what networks gain over the random walk.

    python -m docs.pictures.forecast                       # draw forecast.png and forecast_dark.png again
    python -m docs.pictures.forecast --home .tidecast-demo # take the forecast of `make demo` first

The gains are those of the table in benchmarks/README.md.
"""

import argparse
from pathlib import Path
from typing import Any

import polars as pl

from docs.pictures.light_and_dark import keep, kept, write
from docs.pictures.tables import interval, table_below
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import new_figure, zero
from tidecast.forecasting.plotting.palette import BLUE, Theme, colours_of

SERIES, SESSIONS = "USD", 40
BANDS = (("q0.05", "q0.95", 0.18), ("q0.25", "q0.75", 0.32))


def taken(home: Path) -> dict[str, Any]:
    """Return the newest prices of one series, and its forecast.

    Parameters
    ----------
    home : Path
        The state folder of the demo.
    """
    rows = pl.read_delta(str(home / "warehouse" / "forecasts")).filter(pl.col("series_id") == SERIES).sort("step")
    prices = pl.read_delta(str(home / "warehouse" / "prices")).filter(pl.col("series_id") == SERIES).sort("time")
    quantiles = {name: rows[name].round(6).to_list() for low, high, _ in BANDS for name in (low, high)}
    past = prices["close"].to_list()[-SESSIONS:]
    return {"origin": str(rows["origin"][0]), "past": past, "forecast": rows["forecast"].to_list(), **quantiles}


def draw(numbers: dict[str, Any], theme: Theme) -> Picture:
    """Draw the newest prices of one series with its forecast, and the gain of each model.

    Parameters
    ----------
    numbers : dict
        As `taken` returns them.
    theme : Theme
    """
    past, middle = numbers["past"], numbers["forecast"]
    ahead = list(range(len(middle) + 1))
    figure, (fan, gains) = new_figure(1, 2, height=2.9, widths=(1.5, 1), theme=theme)
    fan.plot(range(1 - len(past), 1), past, color=theme.prices)
    for lowest, highest, alpha in BANDS:
        edges = [[past[-1], *numbers[name]] for name in (lowest, highest)]
        fan.fill_between(ahead, *edges, color=BLUE, alpha=alpha, linewidth=0)
    fan.plot(ahead, [past[-1], *middle], color=BLUE)
    fan.set(xlabel=f"sessions from {numbers['origin']}", ylabel=f"{SERIES} for one euro")
    models = table_below("benchmarks/README.md", "ECB rates, 41 series")[::-1]
    name, value = next(iter(models[0])), "mean (95 %)"
    colours = colours_of([row[name].replace(" ", "_") for row in models], theme)
    for place, row in enumerate(models):
        gain, low, high = interval(row[value])
        colour = colours[row[name].replace(" ", "_")]
        gains.errorbar(gain, place, xerr=[[gain - low], [high - gain]], fmt="o", color=colour, markersize=5)
    gains.set_yticks(range(len(models)), [row[name] for row in models])
    gains.set_xlabel("gain in CRPS, %")
    zero(gains, "random walk", flat=True, theme=theme)
    return Picture(
        "Dollars for a euro: the next five sessions",
        f"Left: the forecast of {numbers['origin']}, with its 50 % and 90 % intervals. The median is the last price. "
        "Right: the gain of each model's distribution on 41 exchange rates over four years, with its 95 % interval.",
        figure,
    )


def main() -> None:
    """Draw both pictures from the numbers that are kept, or from those of a state folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="the state folder of the demo")
    if home := parser.parse_args().home:
        keep("forecast", taken(home))
    numbers = kept("forecast")
    write("forecast", lambda theme: draw(numbers, theme))


if __name__ == "__main__":
    main()
