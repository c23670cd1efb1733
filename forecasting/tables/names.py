"""Names shared by tables of forecasts and of scores."""

from __future__ import annotations

from collections.abc import Collection

RANDOM_WALK = "random_walk"
"""The model that all others are compared with."""

VOLATILITY_REGRESSION, AVERAGE = "volatility_regression", "average"
"""The benchmark that a network has to beat, and the average of all candidates."""

SEASONAL_REGRESSION = "seasonal_regression"
"""A candidate on panels with seasons."""

CRPS, PINBALL = "crps", "pinball"
"""Losses of a distribution: CRPS with the default quantiles, else mean pinball loss. They are never compared."""


def loss_in(columns: Collection[str]) -> str:
    """Return the name of the loss in a table of scores with these columns.

    Parameters
    ----------
    columns : collection of str
        Names of the table's columns.

    Returns
    -------
    {"crps", "pinball"}

    Examples
    --------
    >>> loss_in(["model", "crps", "mae"])
    'crps'
    """
    return PINBALL if PINBALL in columns else CRPS
