"""Draw look_aheads.png and look_aheads_dark.png: false skill, from the table of examples/look_aheads/README.md.

python -m docs.pictures.look_aheads
"""

from docs.pictures.light_and_dark import write
from docs.pictures.tables import interval, table_below
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import legend, new_figure, zero
from tidecast.forecasting.plotting.palette import BLUE, ORANGE, Theme

COLUMNS = {"skill with it": ("with the look-ahead", ORANGE, 0.12), "skill without it": ("without it", BLUE, -0.12)}


def draw(theme: Theme) -> Picture:
    """Draw the skill with and without each look-ahead."""
    rows = table_below("examples/look_aheads/README.md", "look-ahead")[::-1]
    figure, (chart,) = new_figure(1, 1, height=2.8, theme=theme)
    for column, (label, colour, shift) in COLUMNS.items():
        found = [interval(row[column]) for row in rows]
        middles = [middle for middle, _, _ in found]
        errors = [[middle - low for middle, low, _ in found], [high - middle for middle, _, high in found]]
        places = [place + shift for place in range(len(rows))]
        chart.errorbar(middles, places, xerr=errors, fmt="o", color=colour, markersize=5, label=label)
    chart.set_yticks(range(len(rows)), [row["look-ahead"] for row in rows])
    chart.set_xlabel("skill of the median against the random walk, %")
    zero(chart, "the random walk", flat=True, theme=theme)
    legend(chart, theme)
    return Picture(
        "Skill that is not there",
        "Five published look-aheads on pure random walks, with 95 % intervals over six seeds. Nothing can forecast "
        "the direction of a random walk, so any skill is false.",
        figure,
    )


if __name__ == "__main__":
    write("look_aheads", draw)
