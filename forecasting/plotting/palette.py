"""Colours of figures: readable on white and black, distinct for colour-blind readers, the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass

from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.tables.names import AVERAGE, RANDOM_WALK, SEASONAL_REGRESSION, VOLATILITY_REGRESSION

INK = "#6e7781"  # of axes and text
BLUE, ORANGE, PINK = "#2f86c9", "#d9822b", "#c2607a"
COLOURS = {
    **{key: cell.colour for key, cell in CELLS.items()},
    VOLATILITY_REGRESSION: "#8c6d46",
    SEASONAL_REGRESSION: "#3f8f86",
    AVERAGE: "#5b6ee1",
    "drift": "#9a8c2c",
    RANDOM_WALK: INK,
}


@dataclass(frozen=True)
class Theme:
    """Colours that depend on the page.

    Attributes
    ----------
    paper : str, optional
        The background; None draws none.
    ink : str
        Axes, text and the random walk.
    prices : str
        Prices that were observed.
    """

    paper: str | None
    ink: str
    prices: str


PLAIN = Theme(None, INK, INK)
"""For a page of either kind: the report turns `INK` into the colour of the text around the figure."""

LIGHT = Theme("#ffffff", "#57606a", "#24292f")
DARK = Theme("#0d1117", "#9da7b1", "#e6edf3")


def theme_of(dark: bool) -> Theme:
    """Return the colours for a dark page or for a white one.

    Parameters
    ----------
    dark : bool
    """
    return DARK if dark else LIGHT


def colour_of(model: str) -> str:
    """Return the colour of a model or cell by its name, in any case; pink for an unknown name.

    Parameters
    ----------
    model : str
        Such as "GRU", "GRUForecaster" or "random_walk".

    Examples
    --------
    >>> colour_of("GRU")
    '#2f86c9'
    """
    return _BY_NAME.get(_plain(model), PINK)


def _plain(model: str) -> str:
    return model.lower().replace("_", "").replace(" ", "").removesuffix("forecaster")


_BY_NAME = {_plain(name): colour for name, colour in COLOURS.items()}


def colours_of(models: list[str], theme: Theme) -> dict[str, str]:
    """Return a colour for each model, all of them distinct while there are fewer than a dozen.

    Parameters
    ----------
    models : list of str
    theme : Theme
        Its ink is the colour of the random walk.

    Examples
    --------
    >>> colours_of(["mine", "yours"], LIGHT)
    {'mine': '#c2607a', 'yours': '#a56cc1'}
    """
    known = {name: theme.ink if name == RANDOM_WALK else _BY_NAME.get(_plain(name)) for name in models}
    free = [colour for colour in (PINK, *COLOURS.values()) if colour not in known.values() and colour != INK]
    for place, name in enumerate(name for name in models if known[name] is None):
        known[name] = free[place % len(free)] if free else PINK
    return {name: colour or PINK for name, colour in known.items()}
