"""Figures: a title, a sentence on how to read it, and axes in the colour of the surrounding text.

A `Picture` is saved as PNG on white (MLflow) or black (the docs), or as SVG in the colour of the surrounding text
(the report, light or dark).
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tidecast.forecasting.plotting.palette import INK, LIGHT, Theme


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

    def png(self, theme: Theme = LIGHT) -> bytes:
        """Return a PNG on the theme's paper, with the title above and the reading below.

        Parameters
        ----------
        theme : Theme, default=LIGHT
            Draw the figure in its colours, too.
        """
        title = self.figure.suptitle(self.title, x=0.01, ha="left", size=12, weight="bold", color=theme.prices)
        reading = self.figure.supxlabel(self.reading, x=0.01, ha="left", size=8.5, color=theme.ink, wrap=True)
        for text in (title, reading):
            text.set(visible=True, in_layout=True, parse_math=False)
        content = self._saved("png", dpi=160, facecolor=theme.paper)
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
