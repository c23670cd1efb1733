"""False alarms and power of the gate, from the tables of benchmarks/README.md.

python -m docs.pictures.gate docs/pictures/gate.png
"""

import argparse
from pathlib import Path

from docs.pictures.tables import number, table_below
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import legend, new_figure
from tidecast.forecasting.plotting.palette import BLUE, INK, ORANGE

COLOURS = {"252": ORANGE, "504": INK, "1,260": BLUE}


def draw() -> Picture:
    """Draw how often the gate passes a model, by how much better the model is."""
    rows = table_below("benchmarks/README.md", "Power of the gate")
    gains = [name for name in rows[0] if name.endswith("better")]
    figure, (left, right) = new_figure(1, 2, height=2.8, widths=(2, 1))
    for row in rows:
        points = [(0.0, number(row["equal, one gate"])), *((number(gain), number(row[gain])) for gain in gains)]
        label = f"{row['origins']} origins"
        left.plot(*zip(*points, strict=True), color=COLOURS[row["origins"]], marker="o", markersize=4, label=label)
    left.set(xlabel="true gain over the random walk, %", ylabel="gates passed, %", ylim=(0, 102))
    legend(left)
    names = [row["origins"] for row in rows]
    alarms = [number(row["equal, 5 gates in a year"]) for row in rows]
    right.bar(names, alarms, color=[COLOURS[name] for name in names], width=0.6)
    right.axhline(7, color=INK, linewidth=1, linestyle=":")
    right.annotate("target: at most 7 %", (0, 7), (0, 3), textcoords="offset points", size=8, color=INK)
    right.set(xlabel="origins", ylabel="promoted in a year, %", ylim=(0, 10))
    return Picture(
        "What the gate passes, and what it stops",
        "Left: how often a gate passes a model that is truly better. Right: how often one of five gates a year passes "
        "a model that is only as good as the champion. Simulated losses, 1,000 tables.",
        figure,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("png", type=Path)
    parser.parse_args().png.write_bytes(draw().png())
