"""Colours of figures: readable on white and black, distinct for colour-blind readers, the same everywhere."""

from __future__ import annotations

from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.tables.names import AVERAGE, RANDOM_WALK, VOLATILITY_REGRESSION

INK = "#6e7781"  # of axes and text
BLUE, ORANGE, PINK = "#2f86c9", "#d9822b", "#c2607a"
COLOURS = {
    **{key: cell.colour for key, cell in CELLS.items()},
    VOLATILITY_REGRESSION: "#8c6d46",
    AVERAGE: "#5b6ee1",
    "drift": "#9a8c2c",
    RANDOM_WALK: INK,
}


def colour_of(model: str) -> str:
    """Return the colour of a model or cell by its name, in any case; pink for an unknown name.

    Parameters
    ----------
    model : str
        Such as "GRU" or "random_walk".

    Examples
    --------
    >>> colour_of("GRU")
    '#2f86c9'
    """
    return COLOURS.get(model.lower(), PINK)
