"""The columns of `PriceFeatures` as polars expressions, in steps that each start from the columns before."""

from __future__ import annotations

import math
from functools import cache

import polars as pl

from tidecast.features.transformers.price_definitions import (
    RANGE,
    RANGE_WINDOWS,
    SHAPE_WINDOW,
    VOLATILITY_WINDOWS,
    PriceSettings,
    Quantities,
)
from tidecast.features.volatility import DECAY

Columns = dict[str, pl.Expr]

ROW = pl.int_range(pl.len(), dtype=pl.UInt32)
"""Numbers of the rows of a block, in the type that polars gathers by."""

SEGMENT, LEVEL, POSITION, SIGMA = pl.col("__tidecast_segment"), pl.col("_level"), pl.col("_position"), pl.col("_sigma")
CHANGE, SQUARE = pl.col("_change"), pl.col("_square")


class ColumnQuantities:
    """`Quantities` as expressions of the columns that the earlier steps add."""

    sigma = SIGMA
    size = CHANGE.abs()
    largest = pl.col("_largest")
    downside_share = pl.when(SIGMA.is_not_null()).then(pl.col("_down") / pl.col(f"_square_{SHAPE_WINDOW}"))

    def change(self, k: int) -> pl.Expr:
        return LEVEL - LEVEL.gather(ROW - _rows_back(k))

    def root_count(self, k: int) -> pl.Expr:
        return _rows_back(k).sqrt()

    def root_mean_square(self, k: int) -> pl.Expr:
        return pl.col(f"_square_{k}").sqrt()

    def root_mean_range(self, k: int) -> pl.Expr:
        return pl.col(f"_range_{k}").sqrt()

    def log(self, values: pl.Expr) -> pl.Expr:
        return values.log()


QUANTITIES: Quantities = ColumnQuantities()


@cache
def price_columns(settings: PriceSettings) -> tuple[Columns, ...]:
    """Return the expressions of each step, for sorted rows with a `__tidecast_segment`.

    Columns with a name that begins with ``_`` are intermediate.

    Expressions without a window are computed on the whole column and masked where segments begin, in half the time of
    `.over`. All windows are one step, so that polars finds the segments once.

    Parameters
    ----------
    settings : PriceSettings
    """
    means = _means(settings)
    level = pl.col(settings.target)
    return (
        _levels(level.log() if settings.positive else level),
        {"_change": pl.when(POSITION > 0).then(LEVEL.diff())},
        _squares(),
        _windows() | means,
        {name: _bounded(name, 0.0) for name in means},  # rounding can leave less
        {column.name: column.formula(QUANTITIES) for column in settings.definitions},
        {column.name: _bounded(column.name, *column.bounds) for column in settings.definitions if column.bounds},
    )


def range_square(positive: bool) -> pl.Expr:
    """Return Parkinson's estimate of one session's squared volatility; null where its range is not known.

    Parameters
    ----------
    positive : bool
        Whether prices are positive: then the range is one of logarithms.
    """
    high, low = (pl.col(name).cast(pl.Float64).fill_nan(None) for name in RANGE)
    known = high >= low
    if positive:
        known, high, low = known & (low > 0), high.log(), low.log()
    return pl.when(known).then((high - low) ** 2 / (4 * math.log(2)))


def _levels(level: pl.Expr) -> Columns:
    """The level, and the number of rows before in the segment."""
    begins = (SEGMENT.shift() != SEGMENT).fill_null(True)
    return {"_level": level, "_position": ROW - pl.when(begins).then(ROW).forward_fill()}


def _rows_back(k: int) -> pl.Expr:
    """At most k rows, and no more than there are in the segment."""
    most = pl.lit(k, dtype=pl.UInt32)
    return pl.when(most < POSITION).then(most).otherwise(POSITION)


def _squares() -> Columns:
    """The squared change, and whether the price has moved in the longest window."""
    still = ROW - pl.when((CHANGE != 0) | (POSITION == 0)).then(ROW).forward_fill()
    moves = (POSITION > 0) & (still < POSITION) & (still < max(VOLATILITY_WINDOWS))
    return {"_square": CHANGE**2, "_moves": moves}


def _windows() -> Columns:
    """The volatility, where the price moves, and the largest change."""
    variance = SQUARE.ewm_mean(alpha=1 - DECAY, adjust=True, ignore_nulls=True).over("__tidecast_segment")
    largest = CHANGE.abs().rolling_max(SHAPE_WINDOW, min_samples=1).over("__tidecast_segment")
    return {"_sigma": pl.when(pl.col("_moves")).then(variance.sqrt()), "_largest": largest}


def _means(settings: PriceSettings) -> Columns:
    """Mean squares over windows: of changes, of negative changes, of ranges."""
    down = pl.when(CHANGE < 0).then(SQUARE).when(CHANGE >= 0).then(0.0)
    averaged = {f"_square_{k}": (SQUARE, k) for k in VOLATILITY_WINDOWS} | {"_down": (down, SHAPE_WINDOW)}
    if settings.ranges:
        averaged |= {f"_range_{k}": (range_square(settings.positive), k) for k in RANGE_WINDOWS}
    return {
        name: values.rolling_mean(k, min_samples=1).over("__tidecast_segment") for name, (values, k) in averaged.items()
    }


def _bounded(name: str, low: float, high: float | None = None) -> pl.Expr:
    """A column within bounds, NaN as it is: the same as `.clip`, in a fraction of its time."""
    values = pl.col(name)
    cut = pl.when(values < low).then(low)
    if high is None:
        return cut.otherwise(values)
    return cut.when((values > high) & values.is_not_nan()).then(high).otherwise(values)
