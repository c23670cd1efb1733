"""Colours of pictures: readable on white and on black, told apart by colour-blind readers, the same everywhere."""

from __future__ import annotations

from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.tables.names import RANDOM_WALK

INK = "#6e7781"  # of axes and words
BLUE, ORANGE, PINK = "#2f86c9", "#d9822b", "#c2607a"
COLOURS = {**{key: cell.colour for key, cell in CELLS.items()}, "drift": "#9a8c2c", RANDOM_WALK: INK}


def colour_of(model: str) -> str:
    """The colour of a model or cell by its name, whatever its case; pink for a name that is nobody's."""
    return COLOURS.get(model.lower(), PINK)
