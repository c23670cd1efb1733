"""What pictures share: one palette, a card with a title and how to read it, axes in the colour of the text around them.

A `Picture` is saved as PNG on a white card (MLflow) or as SVG in the colour of the text around it (the report, light or
dark). Only Figure objects are used, never pyplot: nothing is shared between calls.
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
    """A figure, what it is called and how to read it.

    Attributes
    ----------
    title : str
    reading : str
        One sentence: what is drawn and what would be good.
    figure : matplotlib.figure.Figure
    """

    title: str
    reading: str
    figure: Figure

    def png(self) -> bytes:
        """The picture on a white card, with its title and how to read it."""
        title = self.figure.suptitle(self.title, x=0.01, ha="left", size=12, weight="bold", color="#24292f")
        reading = self.figure.supxlabel(self.reading, x=0.01, ha="left", size=8.5, color=INK, wrap=True)
        for text in (title, reading):
            text.set(visible=True, in_layout=True, parse_math=False)
        content = self._saved("png", dpi=160, facecolor="white")
        for text in (title, reading):
            text.set(visible=False, in_layout=False)
        return content

    def svg(self) -> str:
        """The drawing alone, as an ``<svg>`` element without a background, in the colour of the text around it."""
        text = self._saved(
            "svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        ).decode()
        return text[text.index("<svg") :].replace(INK, "currentColor")

    def _saved(self, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.title}):
            warnings.filterwarnings("ignore", message="Glyph")  # a name in a script the font does not have
            self.figure.savefig(buffer, format=kind, **options)
        return buffer.getvalue()


def new_figure(
    rows: int, columns: int, height: float, sharey: bool = False, widths: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """A figure 8 inches wide with small charts of the given height; `widths` is how the columns share it."""
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
        for words in (chart.xaxis.label, chart.yaxis.label):
            words.set(color=INK, size=8.5)
    return figure, charts


def zero(chart: Axes, meaning: str, flat: bool = False) -> None:
    """The line of no difference, named."""
    if flat:
        chart.axvline(0, color=INK, linewidth=1)
        chart.annotate(meaning, (0, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", size=8, color=INK)
    else:
        chart.axhline(0, color=INK, linewidth=1)
        place = ("axes fraction", "data")
        chart.annotate(
            meaning, (1, 0), (4, 0), xycoords=place, textcoords="offset points", va="center", size=8, color=INK
        )


def legend(chart: Axes) -> None:
    """Names of the lines, above the chart; nothing where there is only one."""
    if len(chart.get_legend_handles_labels()[1]) > 1:
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "ncols": 4}
        chart.legend(frameon=False, fontsize=8, labelcolor=INK, handlelength=1.2, **above)


def label(model: str) -> str:
    """A model's name as people read it."""
    return model.replace("_", " ")


def short(name: object, most: int = 26) -> str:
    """A series' name on one line, cut where it is too long."""
    text = " ".join(str(name).split())
    return text if len(text) <= most else text[: most - 1] + "…"
