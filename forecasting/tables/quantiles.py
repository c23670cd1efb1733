"""Quantile levels, and the names of their columns in a forecast table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

MEDIAN = 0.5
"""Always among the levels; its column is called ``forecast``."""

DEFAULT_QUANTILES: tuple[float, ...] = tuple(k / 20 for k in range(1, 20))
"""0.05, 0.10, …, 0.95: CRPS here is twice their mean pinball loss."""


def check_quantiles(levels: Iterable[float]) -> tuple[float, ...]:
    """Return the levels in rising order, including 0.5.

    Parameters
    ----------
    levels : iterable of float

    Returns
    -------
    tuple of float

    Raises
    ------
    ValueError
        A level lies outside (0, 1) or comes twice.
    TypeError
        A level is not a number.

    Examples
    --------
    >>> check_quantiles([0.9, 0.1])
    (0.1, 0.5, 0.9)
    """
    listed = list(levels) if isinstance(levels, Iterable) and not isinstance(levels, str) else [levels]
    try:
        rising = sorted(round(float(level), 10) for level in listed)
    except (TypeError, ValueError):
        raise TypeError(f"quantiles must be numbers between 0 and 1, got {levels!r}.") from None
    outside = [level for level in rising if not (math.isfinite(level) and 0 < level < 1)]
    if outside:
        raise ValueError(f"quantiles must lie between 0 and 1, both excluded; found {outside}.")
    if len(set(rising)) < len(rising):
        raise ValueError(f"quantiles must differ from one another, got {listed}.")
    return tuple(rising) if MEDIAN in rising else tuple(sorted([*rising, MEDIAN]))


def quantile_columns(levels: Iterable[float]) -> list[str]:
    """Return the columns of a forecast table that hold these levels, in rising order, without 0.5.

    Parameters
    ----------
    levels : iterable of float
        Between 0 and 1.

    Raises
    ------
    ValueError
        As `check_quantiles`.

    Examples
    --------
    >>> quantile_columns((0.05, 0.5, 0.9))
    ['q0.05', 'q0.9']
    """
    return [f"q{level!r}" for level in check_quantiles(levels) if level != MEDIAN]


def level_of(column: str) -> float:
    """Return the level that a column holds: 0.05 for ``"q0.05"``, 0.5 for ``"forecast"``.

    Parameters
    ----------
    column : str
        Its name.

    Raises
    ------
    ValueError
        It is not a column of quantiles.
    """
    if column == "forecast":
        return MEDIAN
    try:
        level = float(column.removeprefix("q")) if column.startswith("q") else math.nan
    except ValueError:
        level = math.nan
    if not 0 < level < 1:
        raise ValueError(f"A column of quantiles must be called like 'q0.05' or 'forecast', got {column!r}.")
    return level


def levels_in(columns: Sequence[str]) -> tuple[float, ...]:
    """Return the levels in a forecast table with these columns, in rising order, including 0.5.

    Parameters
    ----------
    columns : sequence of str
        Names of the table's columns; other columns are ignored.
    """
    levels = {MEDIAN}
    for column in columns:
        try:
            levels.add(level_of(column))
        except ValueError:
            continue
    return tuple(sorted(levels))
