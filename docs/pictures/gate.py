"""Draw gate.png and gate_dark.png: false alarms and power of the gate, from the tables of benchmarks/README.md.

python -m docs.pictures.gate
"""

from docs.pictures.light_and_dark import write
from docs.pictures.tables import number, table_below
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import legend, new_figure
from tidecast.forecasting.plotting.palette import BLUE, ORANGE, Theme


def draw(theme: Theme) -> Picture:
    """Draw how often the gate passes a model, by how much better the model is."""
    rows = table_below("benchmarks/README.md", "Power of the gate")
    gains = [name for name in rows[0] if name.endswith("better")]
    figure, (left, right) = new_figure(1, 2, height=2.8, widths=(2, 1), theme=theme)
    colours = {"252": ORANGE, "504": theme.ink, "1,260": BLUE}
    for row in rows:
        points = [(0.0, number(row["equal, one gate"])), *((number(gain), number(row[gain])) for gain in gains)]
        label = f"{row['origins']} origins"
        left.plot(*zip(*points, strict=True), color=colours[row["origins"]], marker="o", markersize=4, label=label)
    left.set(xlabel="true gain over the random walk, %", ylabel="gates passed, %", ylim=(0, 102))
    legend(left, theme)
    names = [row["origins"] for row in rows]
    alarms = [number(row["equal, 5 gates in a year"]) for row in rows]
    right.bar(names, alarms, color=[colours[name] for name in names], width=0.6)
    right.axhline(7, color=theme.ink, linewidth=1, linestyle=":")
    right.annotate("target: at most 7 %", (0, 7), (0, 3), textcoords="offset points", size=8, color=theme.ink)
    right.set(xlabel="origins", ylabel="promoted in a year, %", ylim=(0, 10))
    return Picture(
        "What the gate passes, and what it stops",
        "Left: how often a gate passes a model that is truly better. Right: how often one of five gates a year passes "
        "a model that is only as good as the champion. Simulated losses, 1,000 tables.",
        figure,
    )


if __name__ == "__main__":
    write("gate", draw)
