"""Figures: a title, a sentence on how to read it, and axes in the colour of the surrounding text.

A `Picture` is saved as PNG on white (MLflow), or as SVG in the colour of the surrounding text (the report, light or
dark). Only Figure objects are used, never pyplot, so that calls share no state.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tidecast.forecasting.forecasters.palette import INK


@dataclass(frozen=True)
class Picture:
    """A figure with its title and a sentence on how to read it.

    Attributes
    ----------
    title : str
    reading : str
        One sentence: what the figure shows, and what a good result looks like.
    figure : matplotlib.figure.Figure
    """

    title: str
    reading: str
    figure: Figure

    def png(self) -> bytes:
        """Return a PNG on white, with the title above and the reading below."""
        title = self.figure.suptitle(self.title, x=0.01, ha="left", size=12, weight="bold", color="#24292f")
        reading = self.figure.supxlabel(self.reading, x=0.01, ha="left", size=8.5, color=INK, wrap=True)
        for text in (title, reading):
            text.set(visible=True, in_layout=True, parse_math=False)
        content = self._saved("png", dpi=160, facecolor="white")
        for text in (title, reading):
            text.set(visible=False, in_layout=False)
        return content

    def svg(self) -> str:
        """Return an ``<svg>`` element: no title, no background, in the colour of the surrounding text."""
        text = self._saved(
            "svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        ).decode()
        return text[text.index("<svg") :].replace(INK, "currentColor")

    def _saved(self, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.title}):
            warnings.filterwarnings("ignore", message="Glyph")  # the font lacks the script of a name
            self.figure.savefig(buffer, format=kind, **options)
        return buffer.getvalue()


def new_figure(
    rows: int, columns: int, height: float, sharey: bool = False, widths: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure, 8 inches wide, and its charts row by row.

    Parameters
    ----------
    rows, columns : int
        Number of charts downwards and across.
    height : float
        Height of a chart in inches.
    sharey : bool
        Whether the charts share their vertical axis.
    widths : sequence of float, optional
        Relative widths of the columns; equal by default.

    Returns
    -------
    (matplotlib.figure.Figure, list of matplotlib.axes.Axes)
    """
    figure = Figure(figsize=(8, height * rows + 0.3), layout="constrained")
    charts = list(figure.subplots(rows, columns, squeeze=False, sharey=sharey, width_ratios=widths).flat)
    for chart in charts:
        chart.patch.set_visible(False)
        chart.tick_params(colors=INK, labelsize=8, length=3)
        chart.grid(color=INK, alpha=0.18, linewidth=0.6)
        chart.set_axisbelow(True)
        for side, spine in chart.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(INK)
        for label in (chart.xaxis.label, chart.yaxis.label):
            label.set(color=INK, size=8.5)
    return figure, charts


def zero(chart: Axes, meaning: str, flat: bool = False) -> None:
    """Draw the line of no difference and name it; `flat` for a chart whose values run along the horizontal axis.

    Parameters
    ----------
    chart : Axes
    meaning : str
        What the line says, such as "no better than the random walk".
    flat : bool, default=False
    """
    if flat:
        chart.axvline(0, color=INK, linewidth=1)
        chart.annotate(meaning, (0, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", size=8, color=INK)
    else:
        chart.axhline(0, color=INK, linewidth=1)
        where = ("axes fraction", "data")
        chart.annotate(
            meaning, (1, 0), (4, 0), xycoords=where, textcoords="offset points", va="center", size=8, color=INK
        )


def legend(chart: Axes) -> None:
    """Name the lines above the chart; draw nothing when there is only one.

    Parameters
    ----------
    chart : Axes
    """
    if len(chart.get_legend_handles_labels()[1]) > 1:
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "ncols": 4}
        chart.legend(frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2, **above)


def short(name: object, max_length: int = 26) -> str:
    """A series' name on one line, cut if it is longer than `max_length` characters.

    Parameters
    ----------
    name : object
    max_length : int, default=26
    """
    text = " ".join(str(name).split())
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
