"""The pictures of the results: what is remembered by lag, and how far back a network looks on prices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.memory.learning import BUILT, GATED, OPEN
from benchmarks.memory.store import Line, lines_of
from benchmarks.memory.tasks import TASKS
from docs.pictures.light_and_dark import write_both
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.plotting.canvas import legend, new_figure
from tidecast.forecasting.plotting.palette import COLOURS, Theme

LOWEST = 1e-6  # of the influence that is drawn
ASIDE = 1.05  # factor between the cells on the axis of lags, so that equal scores do not hide each other


def draw_all(path: Path, folder: Path) -> None:
    """Draw each picture that the results allow, on white and on dark.

    Parameters
    ----------
    path : Path
    folder : Path
        Made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {"memory": partial(by_lag, lines_of(path, "tasks"))}
    if profiles := lines_of(path, "profile"):
        pictures["memory_of_prices"] = partial(on_prices, profiles)
    for name, draw in pictures.items():
        write_both(folder / f"{name}.png", partial(_png, draw))


def by_lag(lines: list[Line], theme: Theme) -> Figure:
    """Score by lag: a column for each task, a row for each start of the gates, means over seeds.

    Parameters
    ----------
    lines : list of dict
        Of the part "tasks".
    theme : Theme
    """
    figure, charts = new_figure(2, len(TASKS), height=2.4, sharey=True, theme=theme)
    lines = [line for line in lines if line["budget"] == min(other["budget"] for other in lines)]
    for place, chart in enumerate(charts):
        task, start = list(TASKS.values())[place % len(TASKS)], (BUILT, OPEN)[place // len(TASKS)]
        _draw_task(chart, [line for line in lines if line["task"] == task.key], start, task.chance, theme)
        chart.set_title(f"{task.title}, {'cells as built' if start == BUILT else 'gates opened for the lag'}", size=9,
                        color=theme.ink, weight="bold", pad=6)  # fmt: skip
        if place % len(TASKS) == 0:
            chart.set_ylabel("recalled, or variance explained, %")
        if place >= len(TASKS):
            chart.set_xlabel("lag, rows")
    named = charts[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside upper left", ncols=5, frameon=False, fontsize=9, labelcolor=theme.ink)
    return figure


def _draw_task(chart: Axes, lines: list[Line], start: str, chance: float, theme: Theme) -> None:
    """Draw a line a cell; the plain RNN, which has no gates, is in both rows."""
    chart.axhline(100 * chance, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)))
    chart.annotate("no memory", (1, 100 * chance), (0, 3), xycoords=("axes fraction", "data"),
                   textcoords="offset points", ha="right", size=7.5, color=theme.ink)  # fmt: skip
    for place, cell in enumerate(CELLS):
        begun = start if cell in GATED else BUILT
        of_cell = [line for line in lines if (line["cell"], line["start"]) == (cell, begun)]
        lags = sorted({line["lag"] for line in of_cell})
        scores = [100 * max(0.0, mean(line["score"] for line in of_cell if line["lag"] == lag)) for lag in lags]
        apart = [lag * ASIDE ** (place - 2) for lag in lags]
        chart.plot(apart, scores, color=COLOURS[cell], marker="o", markersize=4, linewidth=1.6, label=CELLS[cell].label)
    ticks = [10, 30, 100, 300, 1000]
    chart.set(xscale="log", ylim=(-5, 105), xlim=(8, 1250), xticks=ticks, xticklabels=[f"{tick:,}" for tick in ticks])
    chart.minorticks_off()


def on_prices(lines: list[Line], theme: Theme) -> Figure:
    """Influence of a row on the forecast by its age, relative to the origin's own row.

    Parameters
    ----------
    lines : list of dict
        Of the part "profile"; the first seed of each cell is drawn.
    theme : Theme
    """
    figure, (chart,) = new_figure(1, 1, height=2.8, theme=theme)
    stretch, note = lines[0]["lookback"], {"textcoords": "offset points", "size": 8, "color": theme.ink}
    chart.axvline(stretch, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)))
    chart.annotate("length of a training stretch", (stretch, 1), (4, -10), xycoords=("data", "axes fraction"), **note)
    for cell in CELLS:
        for line in [line for line in lines if line["cell"] == cell][:1]:
            influence = line["influence"]
            known = [
                (row, value / influence[0]) for row, value in enumerate(influence) if value > LOWEST * influence[0]
            ]
            chart.plot(*zip(*known, strict=True), color=COLOURS[cell], linewidth=1.6, label=CELLS[cell].label)
    powers = [10.0**-power for power in range(7)]
    chart.set(yscale="log", xlabel="rows before the origin", xlim=(0, 160), ylim=(LOWEST, 3))
    chart.set(yticks=powers, yticklabels=[f"{power:g}" for power in powers])
    chart.minorticks_off()
    chart.set_ylabel("influence on the quantiles,\nown row = 1")
    legend(chart, theme)
    return figure


def _png(draw: Callable[[Theme], Figure], theme: Theme) -> bytes:
    content = BytesIO()
    draw(theme).savefig(content, format="png", dpi=130)
    return content.getvalue()
