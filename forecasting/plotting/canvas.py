"""Empty figures and what all charts have: axes in the theme's ink, legends, zero lines, ticks of prices.

Only Figure objects are used, never pyplot, so that calls share no state.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import Formatter, MaxNLocator

from tidecast.forecasting.plotting.palette import PLAIN, Theme

DOTS_PER_INCH = 110  # in a notebook
LARGEST_PLAIN = 1e7  # prices from here on are written with an exponent


class Figure(MatplotlibFigure):
    """A matplotlib figure that a notebook shows when a cell returns it, without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # the font lacks the script of a name
            self.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
        return buffer.getvalue()


class PriceTicks(Formatter):
    """Prices on an axis with as many decimals as their distance needs; never as a difference from an offset.

    Examples
    --------
    >>> PriceTicks().format_ticks([1.125, 1.13, 1.135])
    ['1.125', '1.130', '1.135']
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the text of one price, such as under the mouse.

        Parameters
        ----------
        x : float
        pos : int, optional
            Unused.
        """
        return f"{x:.8g}".replace("-", "−")

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return the texts of all ticks.

        Parameters
        ----------
        values : sequence of float
        """
        found = np.asarray(values, dtype=float)
        apart = float(np.diff(found).min()) if len(found) > 1 else abs(float(found[0])) if len(found) else 1.0
        largest = float(np.abs(found).max()) if len(found) else 1.0
        decimals = 0 if apart <= 0 else max(0, -math.floor(math.log10(apart) + 1e-9))
        while 0 < decimals < 12 and not np.allclose(found, np.round(found, decimals), rtol=0, atol=apart / 100):
            decimals += 1  # 0.025 apart needs three
        if largest >= LARGEST_PLAIN or decimals > 6:
            digits = max(1, math.ceil(math.log10(max(largest, apart) / apart)) + 1) if apart > 0 else 3
            return [f"{value:.{digits}g}".replace("-", "−") for value in found]
        return [f"{value:.{decimals}f}".replace("-", "−") for value in found]


def new_figure(
    rows: int,
    columns: int,
    height: float,
    sharey: bool = False,
    widths: Sequence[float] | None = None,
    heights: Sequence[float] | None = None,
    width: float = 8,
    theme: Theme = PLAIN,
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its charts row by row.

    Parameters
    ----------
    rows, columns : int
        Number of charts downwards and across.
    height : float
        Mean height of a chart in inches.
    sharey : bool
        Whether the charts share their vertical axis.
    widths : sequence of float, optional
        Relative widths of the columns; equal by default.
    heights : sequence of float, optional
        Relative heights of the rows; equal by default.
    width : float, default=8
        Of the figure, in inches.
    theme : Theme, default=PLAIN

    Returns
    -------
    (Figure, list of matplotlib.axes.Axes)
    """
    figure = Figure(figsize=(width, height * rows + 0.3), layout="constrained")
    if theme.paper is not None:
        figure.set_facecolor(theme.paper)
    charts = list(
        figure.subplots(rows, columns, squeeze=False, sharey=sharey, width_ratios=widths, height_ratios=heights).flat
    )
    for chart in charts:
        dress(chart, theme)
    return figure, charts


def dress(chart: Axes, theme: Theme) -> None:
    """Give a chart the theme's ink, a faint grid and no box.

    Parameters
    ----------
    chart : Axes
    theme : Theme
    """
    chart.patch.set_visible(False)
    chart.tick_params(colors=theme.ink, which="both", labelsize=8)
    chart.tick_params(length=3)
    chart.grid(color=theme.ink, alpha=0.18, linewidth=0.6)
    chart.set_axisbelow(True)
    for side, spine in chart.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.ink)
    for label in (chart.xaxis.label, chart.yaxis.label):
        label.set(color=theme.ink, size=8.5)
    chart.xaxis.get_offset_text().set(color=theme.ink, size=7.5)


def price_axis(chart: Axes, label: str | None = None) -> None:
    """Write the vertical axis as prices.

    Parameters
    ----------
    chart : Axes
    label : str, optional
        The target and its unit, as plain text: "$" stays a dollar.
    """
    chart.yaxis.set_major_locator(MaxNLocator(4))
    chart.yaxis.set_major_formatter(PriceTicks())
    if label is not None:
        chart.set_ylabel(label, parse_math=False)


def title(chart: Axes, text: object, theme: Theme = PLAIN, max_length: int = 26) -> None:
    """Write a name above the chart, on one line.

    Parameters
    ----------
    chart : Axes
    text : object
    theme : Theme, default=PLAIN
    max_length : int, default=26
        Longer names are cut.
    """
    chart.set_title(short(text, max_length), loc="left", size=9, color=theme.ink, parse_math=False)


def zero(chart: Axes, meaning: str, flat: bool = False, theme: Theme = PLAIN) -> None:
    """Draw the line of no difference and name it; `flat` for a chart whose values run along the horizontal axis.

    Parameters
    ----------
    chart : Axes
    meaning : str
        What the line says, such as "no better than the random walk".
    flat : bool, default=False
    theme : Theme, default=PLAIN
    """
    named: dict[str, Any] = {"size": 8, "color": theme.ink}
    if flat:
        chart.axvline(0, color=theme.ink, linewidth=1)
        chart.annotate(meaning, (0, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", **named)
    else:
        chart.axhline(0, color=theme.ink, linewidth=1)
        where = ("axes fraction", "data")
        chart.annotate(meaning, (1, 0), (4, 0), xycoords=where, textcoords="offset points", va="center", **named)


def legend(chart: Axes, theme: Theme = PLAIN) -> None:
    """Name the lines above the chart; draw nothing when there is only one.

    Parameters
    ----------
    chart : Axes
    theme : Theme, default=PLAIN
    """
    handles, names = chart.get_legend_handles_labels()
    if len(names) > 1:
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "ncols": 4}
        names = [short(name) for name in names]
        found = chart.legend(handles, names, frameon=False, fontsize=8, labelcolor=theme.ink, handlelength=1.2, **above)
        for text in found.get_texts():
            text.set_parse_math(False)


def legend_above(figure: Figure, handles: Sequence[Any], theme: Theme) -> None:
    """Name what a figure's charts have in common, in one line above them.

    Parameters
    ----------
    figure : Figure
    handles : sequence of artists
        With labels.
    theme : Theme
    """
    figure.legend(
        handles=list(handles), loc="outside upper left", ncols=len(handles), frameon=False, fontsize=8,
        labelcolor=theme.ink, handlelength=1.4, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


def short(name: object, max_length: int = 26) -> str:
    """A series' name on one line, cut if it is longer than `max_length` characters.

    Parameters
    ----------
    name : object
    max_length : int, default=26
    """
    text = " ".join(str(name).split())
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
