"""The base of transformers that look at a window of rows."""

from __future__ import annotations

from typing import ClassVar

from tidecast.features.error_text import check_whole
from tidecast.features.transformers.base import PanelTransformer


class WindowTransformer(PanelTransformer):
    """A statistic of the last `window` rows of a series.

    A subclass gives its `expressions`, and says with `least_window` and `rows_before` what they need.

    Parameters
    ----------
    window : int, default=21
        Rows looked at, the row's own among them. Null until the window is full.
    target : str, default="close"
        Column of prices, above zero.
    """

    least_window: ClassVar[int] = 2
    """The shortest window that gives values."""

    rows_before: ClassVar[int] = 0
    """Rows before the window that its values depend on: 1 for a window of returns."""

    def __init__(self, window: int = 21, target: str = "close") -> None:
        self.window = window
        self.target = target

    @property
    def min_history(self) -> int:
        """Rows up to the first value, which are those that it depends on."""
        return self.window + self.rows_before

    def _check_parameters(self) -> None:
        check_whole("window", self.window, self.least_window)
