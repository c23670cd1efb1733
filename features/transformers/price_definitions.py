"""The columns of `PriceFeatures`, each defined once: polars computes whole series, NumPy one more row of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

RETURN_STEPS = (1, 5, 21)
VOLATILITY_WINDOWS = (5, 21, 63, 252)
SHAPE_WINDOW = 63
RANGE_WINDOWS = (2, 5)
RANGE = ("high", "low")

WIDEST_RATIO = 3.0
"""Bound of log ratios of volatilities: five equal prices in a row have no volatility, whose log is -inf."""


class Quantities(Protocol):
    """Quantities of each row that the columns are computed from: polars expressions or NumPy arrays.

    A window that is longer than its segment stands for the changes there are.
    """

    @property
    def sigma(self) -> Any:
        """The volatility of one change, σ."""
        ...

    @property
    def size(self) -> Any:
        """The absolute value of the last change, |r|."""
        ...

    @property
    def largest(self) -> Any:
        """The largest |r| of the last `SHAPE_WINDOW` changes."""
        ...

    @property
    def downside_share(self) -> Any:
        """The share of negative changes in the sum of squares of the last `SHAPE_WINDOW` changes."""
        ...

    def change(self, k: int) -> Any:
        """Return the sum of the last k changes.

        Parameters
        ----------
        k : int
            Sessions.
        """
        ...

    def root_count(self, k: int) -> Any:
        """Return the square root of the number of changes in `change`.

        Parameters
        ----------
        k : int
            Sessions at most.
        """
        ...

    def root_mean_square(self, k: int) -> Any:
        """Return the root mean square of the last k changes.

        Parameters
        ----------
        k : int
            Sessions at most.
        """
        ...

    def root_mean_range(self, k: int) -> Any:
        """Return Parkinson's volatility of the last k sessions.

        Parameters
        ----------
        k : int
            Sessions at most.
        """
        ...

    def log(self, values: Any) -> Any:
        """Return natural logarithms.

        Parameters
        ----------
        values : object
            Positive numbers.
        """
        ...


@dataclass(frozen=True)
class Definition:
    """One column.

    Attributes
    ----------
    name : str
    formula : callable
        Returns the column's values from `Quantities`.
    bounds : tuple of float, optional
        The least and the greatest value; what lies beyond is set to them.
    """

    name: str
    formula: Callable[[Quantities], Any]
    bounds: tuple[float, float] | None = None


def _scaled_return(k: int) -> Definition:
    return Definition(f"scaled_return_{k}", lambda of: of.change(k) / (of.sigma * of.root_count(k)))


def _log_ratio(name: str, size: Callable[[Quantities], Any]) -> Definition:
    return Definition(name, lambda of: of.log(size(of) / of.sigma), (-WIDEST_RATIO, WIDEST_RATIO))


def _volatility_ratio(k: int) -> Definition:
    return _log_ratio(f"volatility_ratio_{k}", lambda of: of.root_mean_square(k))


def _range_ratio(k: int) -> Definition:
    return _log_ratio(f"range_ratio_{k}", lambda of: of.root_mean_range(k))


PRICE_DEFINITIONS = (
    *(_scaled_return(k) for k in RETURN_STEPS),
    Definition("absolute_return_1", lambda of: of.size / of.sigma),
    *(_volatility_ratio(k) for k in VOLATILITY_WINDOWS),
    _log_ratio(f"largest_return_{SHAPE_WINDOW}", lambda of: of.largest),
    Definition(f"downside_share_{SHAPE_WINDOW}", lambda of: of.downside_share, (0.0, 1.0)),
)
RANGE_DEFINITIONS = tuple(_range_ratio(k) for k in RANGE_WINDOWS)
"""Columns of panels with ``high`` and ``low``."""


@dataclass(frozen=True)
class PriceSettings:
    """Settings of `PriceFeatures` once its columns are known.

    Attributes
    ----------
    target : str
        Column of prices.
    positive : bool
        Whether prices move by log returns rather than differences.
    ranges : bool
        Whether the range ratios are added.
    """

    target: str
    positive: bool
    ranges: bool

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """The columns that are added, in order."""
        return PRICE_DEFINITIONS + (RANGE_DEFINITIONS if self.ranges else ())

    @property
    def names(self) -> list[str]:
        """Names of the columns that are added."""
        return [definition.name for definition in self.definitions]

    @property
    def inputs(self) -> list[str]:
        """Columns that are read besides ``series_id``, ``time`` and the target."""
        return [*RANGE] if self.ranges else []
