"""Curves of time to equal accuracy: our held-out loss by CPU seconds, beside where other libraries end.

    python -m benchmarks.curves benchmarks/time_to_accuracy.jsonl benchmarks/time_to_accuracy.png

Reads what `python -m benchmarks.equal_accuracy … --json FILE` has appended, of each task and library the newest line,
and draws a row of charts for every task, a column for every library.
"""

import argparse
import json
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from PIL import Image

from flows.picture import Picture, new_figure
from forecasting.palette import COLOURS, INK, ORANGE

LIBRARIES = {
    "neuralforecast": "neuralforecast, 2 × 128",
    "gluonts": "gluonts DeepAR, 2 × 40",
    "darts": "darts, 1 × 25",
}
UNTRAINED = {"ECB": "random walk", "ETTh1": "the day before, repeated", "M4 Hourly": "the day before, repeated"}

Measured = dict[str, Any]


def newest(path: Path) -> dict[tuple[str, str], Measured]:
    """The last line of each task and library, in the order in which the tasks first came."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {(each["task"], each["library"]): each for each in lines}


def draw(found: dict[tuple[str, str], Measured]) -> Picture:
    """Loss by CPU seconds: a row of charts for every task, a column for every library."""
    tasks = list(dict.fromkeys(task for task, _ in found))
    figure, charts = new_figure(len(tasks), len(LIBRARIES), height=2.2)
    for place, chart in enumerate(charts):
        task, library = tasks[place // len(LIBRARIES)], list(LIBRARIES)[place % len(LIBRARIES)]
        if place < len(LIBRARIES):
            chart.set_title(LIBRARIES[library], size=9, color=INK, weight="bold", pad=14)
        if (task, library) in found:
            compare(chart, found[task, library])
        else:
            chart.set_axis_off()
            chart.text(0.5, 0.5, f"{task}: not measured", ha="center", color=INK, size=8, transform=chart.transAxes)
        if place >= len(charts) - len(LIBRARIES):
            chart.set_xlabel("CPU seconds, one thread")
    return Picture(
        "Time to equal accuracy",
        "Held-out loss by CPU seconds of training; lower is better. Losses are in mean absolute changes of the "
        "training rows. Green: our LSTM of the same size, a fit of its own for each budget of 1, 2, 4 and 8 epochs. "
        "Orange: the other library, a diamond where it ends, dots on its way where it tells. Ours is as good from the "
        "first green dot on or below the orange line, and faster by how far that lies left of the diamond.",
        figure,
    )


def compare(chart: Axes, measured: Measured) -> None:
    """One task beside one library."""
    metric, ours, theirs, green = measured["metric"], measured["ours"], measured["theirs"], COLOURS["lstm"]
    untrained, first, end = measured["untrained"][metric], ours[0], theirs[-1]
    chart.axhline(untrained, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    chart.axhline(end[metric], color=ORANGE, linewidth=0.8, alpha=0.7)
    for points, colour in ((theirs, ORANGE), (ours, green)):
        seconds, losses = [point["seconds"] for point in points], [point[metric] for point in points]
        chart.plot(seconds, losses, color=colour, linewidth=1.4, marker="o", markersize=3.5)
    chart.plot(end["seconds"], end[metric], "D", color=ORANGE, markersize=6)
    chart.set(xscale="log", xlim=(0.7, 6000), xticks=[1, 10, 100, 1000], xticklabels=["1", "10", "100", "1,000"])
    chart.tick_params(which="minor", colors=INK, length=2)
    chart.margins(y=0.25)
    chart.locator_params(axis="y", nbins=6)
    chart.set_ylabel(f"{measured['task']}, {metric.upper()}")
    n_epochs = measured["options"].get("n_epochs")
    given, side = (f", {n_epochs} of 100 epochs", "right") if n_epochs else ("", "center")
    note(chart, (end["seconds"], end[metric]), f"{end['seconds']:,.0f} s{given}", ORANGE, side)
    note(chart, (first["seconds"], first[metric]), f"{first['seconds']:,.1f} s", green, "center")
    chart.text(
        1, untrained, UNTRAINED[measured["task"]], ha="right", va="bottom", size=7, color=INK,
        transform=chart.get_yaxis_transform(),
    )  # fmt: skip


def note(chart: Axes, point: tuple[float, float], text: str, colour: str, side: str) -> None:
    """A few words above a point."""
    chart.annotate(text, point, (0, 6), textcoords="offset points", ha=side, size=8, color=colour)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help="what benchmarks.equal_accuracy appended with --json")
    parser.add_argument("png", type=Path)
    arguments = parser.parse_args()
    picture = Image.open(BytesIO(draw(newest(arguments.measured)).png()))
    picture.quantize(64).save(arguments.png, optimize=True)


if __name__ == "__main__":
    main()
