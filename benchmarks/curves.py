"""Curves of time to equal accuracy: our held-out loss by CPU seconds, and the final loss of other libraries.

    python -m benchmarks.curves benchmarks/time_to_accuracy.jsonl benchmarks/time_to_accuracy.png

It also draws time_to_accuracy_dark.png, for dark pages.

Reads what `python -m benchmarks.equal_accuracy … --json FILE` has appended, of each task and library the newest line,
and draws a row of charts for every task, a column for every library.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from docs.pictures.light_and_dark import write_both
from tidecast.flows.reporting.figure import Picture
from tidecast.forecasting.plotting.canvas import new_figure
from tidecast.forecasting.plotting.palette import COLOURS, ORANGE, Theme

LIBRARIES = {
    "neuralforecast": "neuralforecast, 2 × 128",
    "gluonts": "gluonts DeepAR, 2 × 40",
    "darts": "darts, 1 × 25",
}
UNTRAINED = {"ECB": "random walk", "ETTh1": "day before, repeated", "M4 Hourly": "day before, repeated"}

Measured = dict[str, Any]


def newest(path: Path) -> dict[tuple[str, str], Measured]:
    """The last line of each task and library, in the order of the tasks' first lines."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(each["task"], each["library"]): each for each in lines}


def draw(found: dict[tuple[str, str], Measured], theme: Theme) -> Picture:
    """Loss by CPU seconds: a row of charts for every task, a column for every library."""
    tasks = list(dict.fromkeys(task for task, _ in found))
    newest_day = max(each["date"] for each in found.values())
    figure, charts = new_figure(len(tasks), len(LIBRARIES), height=2.2, theme=theme)
    for place, chart in enumerate(charts):
        task, library = tasks[place // len(LIBRARIES)], list(LIBRARIES)[place % len(LIBRARIES)]
        if place < len(LIBRARIES):
            chart.set_title(LIBRARIES[library], size=9, color=theme.ink, weight="bold", pad=14)
        if (task, library) in found:
            compare(chart, found[task, library], fresh=found[task, library]["date"] == newest_day, theme=theme)
        else:
            chart.set_axis_off()
            chart.text(
                0.5, 0.5, f"{task}: not measured", ha="center", color=theme.ink, size=8, transform=chart.transAxes
            )
        if place >= len(charts) - len(LIBRARIES):
            chart.set_xlabel("CPU seconds, one thread")
    return Picture(
        "Time to equal accuracy",
        "Held-out loss by CPU seconds of training; lower is better. Losses are in mean absolute changes of the "
        "training rows. Green: our LSTM of the same size, a fit of its own for each budget of 1, 2, 4 and, but on M4, "
        "8 epochs. Orange: the other library, a diamond where it ends, dots on its way where it tells. Ours is as good "
        "from the first green dot on or below the orange line, and faster by how far that lies left of the diamond. "
        "Star: the other library ran on an earlier day.",
        figure,
    )


def compare(chart: Axes, measured: Measured, fresh: bool, theme: Theme) -> None:
    """Draw one task and one library, with a star unless the result is `fresh`."""
    metric, ours, theirs, green = measured["metric"], measured["ours"], measured["theirs"], COLOURS["lstm"]
    untrained, first, end = measured["untrained"][metric], ours[0], theirs[-1]
    chart.axhline(untrained, color=theme.ink, linewidth=1, linestyle=(0, (4, 3)))
    chart.axhline(end[metric], color=ORANGE, linewidth=0.8, alpha=0.7)
    for points, colour in ((theirs, ORANGE), (ours, green)):
        seconds, losses = [point["seconds"] for point in points], [point[metric] for point in points]
        chart.plot(seconds, losses, color=colour, linewidth=1.4, marker="o", markersize=3.5)
    chart.plot(end["seconds"], end[metric], "D", color=ORANGE, markersize=6)
    chart.set(xscale="log", xlim=(0.1, 20000), xticks=[1, 10, 100, 1000], xticklabels=["1", "10", "100", "1,000"])
    chart.tick_params(which="minor", colors=theme.ink, length=2)
    chart.margins(y=0.25)
    chart.locator_params(axis="y", nbins=6)
    chart.set_ylabel(f"{measured['task']}, {metric.upper()}")
    n_epochs = measured["options"].get("n_epochs", measured["options"].get("trainer_kwargs", {}).get("max_epochs"))
    given = f", {n_epochs}/100 epochs" if n_epochs else ""
    words = f"{end['seconds']:,.0f} s{given}{'' if fresh else ' *'}"
    below, note = untrained > end[metric], {"textcoords": "offset points", "size": 8}
    chart.annotate(words, (end["seconds"], end[metric]), (6, -9 if below else 3), color=ORANGE, **note)
    words = f"{first['seconds']:,.1f} s"
    chart.annotate(words, (first["seconds"], first[metric]), (-3, 4), color=green, ha="right", **note)
    chart.text(
        1, untrained, UNTRAINED[measured["task"]], ha="right", va="bottom" if below else "top", size=7, color=theme.ink,
        transform=chart.get_yaxis_transform(),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help="file written by benchmarks.equal_accuracy --json")
    parser.add_argument("png", type=Path)
    arguments = parser.parse_args()
    found = newest(arguments.measured)
    write_both(arguments.png, lambda theme: draw(found, theme).png(theme))


if __name__ == "__main__":
    main()
