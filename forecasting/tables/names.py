"""Names that tables of forecasts and of scores share."""

from __future__ import annotations

from collections.abc import Collection

RANDOM_WALK = "random_walk"
"""The model that all others are compared with."""

CRPS, PINBALL = "crps", "pinball"
"""A distribution's loss: CRPS with the default quantiles, else their mean pinball loss. The two are never compared."""


def loss_in(columns: Collection[str]) -> str:
    """Return which of the two losses a table of scores with these columns has.

    Examples
    --------
    >>> loss_in(["model", "crps", "mae"])
    'crps'
    """
    return PINBALL if PINBALL in columns else CRPS
