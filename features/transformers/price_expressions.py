"""The columns of `PriceFeatures` as polars expressions, in steps that each start from the columns before."""

from __future__ import annotations

import math
from functools import cache

import polars as pl

from tidecast.features.volatility import DECAY

RETURN_STEPS = (1, 5, 21)
VOLATILITY_WINDOWS = (5, 21, 63, 252)
SHAPE_WINDOW = 63
RANGE_WINDOWS = (2, 5)
RANGE = ("high", "low")

WIDEST_RATIO = 3.0
"""Log ratios of volatilities are cut off here: five equal prices in a row have no volatility, whose log is -inf."""

Columns = dict[str, pl.Expr]

ROW = pl.int_range(pl.len(), dtype=pl.UInt32)
"""Numbers of the rows of a block, in the type that polars gathers by."""

STRETCH, LEVEL, POSITION, SIGMA = pl.col("_stretch"), pl.col("_level"), pl.col("_position"), pl.col("_sigma")
CHANGE, SQUARE = pl.col("_change"), pl.col("_square")


@cache
def price_columns(target: str, positive: bool, ranges: bool) -> tuple[Columns, ...]:
    """For sorted rows with a `_stretch`, each step after the one before; what begins with ``_`` is not kept.

    What needs no window is computed on the whole column and masked where stretches begin: half the time of `.over`.
    All windows are one step: polars then looks for the stretches once.
    """
    means, ratios, shares = _means(ranges, positive), _ratios(ranges), _shares()
    return (
        _levels(pl.col(target).log() if positive else pl.col(target)),
        {"_change": pl.when(POSITION > 0).then(LEVEL.diff())},
        _squares(),
        _windows() | means,
        {name: _cut_off(name, 0.0) for name in means},  # rounding can leave less
        _returns() | ratios | shares,
        {name: _cut_off(name, -WIDEST_RATIO, WIDEST_RATIO) for name in ratios}
        | {name: _cut_off(name, 0.0, 1.0) for name in shares},
    )


def range_square(positive: bool) -> pl.Expr:
    """Parkinson's estimate of one session's squared volatility; null where its range is not known."""
    high, low = (pl.col(name).cast(pl.Float64).fill_nan(None) for name in RANGE)
    known = high >= low
    if positive:
        known, high, low = known & (low > 0), high.log(), low.log()
    return pl.when(known).then((high - low) ** 2 / (4 * math.log(2)))


def _levels(level: pl.Expr) -> Columns:
    """The level, and how many rows come before in the stretch."""
    begins = (STRETCH.shift() != STRETCH).fill_null(True)
    return {"_level": level, "_position": ROW - pl.when(begins).then(ROW).forward_fill()}


def _squares() -> Columns:
    """The squared change, and whether the price has moved in the longest window."""
    still = ROW - pl.when((CHANGE != 0) | (POSITION == 0)).then(ROW).forward_fill()
    moves = (POSITION > 0) & (still < POSITION) & (still < max(VOLATILITY_WINDOWS))
    return {"_square": CHANGE**2, "_moves": moves}


def _windows() -> Columns:
    """The volatility, where the price moves, and the largest change."""
    variance = SQUARE.ewm_mean(alpha=1 - DECAY, adjust=True, ignore_nulls=True).over("_stretch")
    largest = CHANGE.abs().rolling_max(SHAPE_WINDOW, min_samples=1).over("_stretch")
    return {"_sigma": pl.when(pl.col("_moves")).then(variance.sqrt()), "_largest": largest}


def _means(ranges: bool, positive: bool) -> Columns:
    """Mean squares over windows: of changes, of those that are negative, of ranges."""
    down = pl.when(CHANGE < 0).then(SQUARE).when(CHANGE >= 0).then(0.0)
    averaged = {f"_square_{k}": (SQUARE, k) for k in VOLATILITY_WINDOWS} | {"_down": (down, SHAPE_WINDOW)}
    averaged |= {f"_range_{k}": (range_square(positive), k) for k in RANGE_WINDOWS if ranges}
    return {name: values.rolling_mean(k, min_samples=1).over("_stretch") for name, (values, k) in averaged.items()}


def _returns() -> Columns:
    """What the last k changes sum up to, and the size of the last, both in volatilities."""
    columns = {}
    for k in RETURN_STEPS:
        most = pl.lit(k, dtype=pl.UInt32)
        back = pl.when(most < POSITION).then(most).otherwise(POSITION)
        columns[f"scaled_return_{k}"] = (LEVEL - LEVEL.gather(ROW - back)) / (SIGMA * back.sqrt())
    return columns | {"absolute_return_1": CHANGE.abs() / SIGMA}


def _ratios(ranges: bool) -> Columns:
    """Logs of volatilities of windows and of the largest change, in volatilities; not cut off yet."""
    sizes = {f"volatility_ratio_{k}": pl.col(f"_square_{k}").sqrt() for k in VOLATILITY_WINDOWS}
    sizes[f"largest_return_{SHAPE_WINDOW}"] = pl.col("_largest")
    sizes |= {f"range_ratio_{k}": pl.col(f"_range_{k}").sqrt() for k in RANGE_WINDOWS if ranges}
    return {name: (size / SIGMA).log() for name, size in sizes.items()}


def _shares() -> Columns:
    """The part that negative changes have in the squares."""
    share = pl.col("_down") / pl.col(f"_square_{SHAPE_WINDOW}")
    return {f"downside_share_{SHAPE_WINDOW}": pl.when(SIGMA.is_not_null()).then(share)}


def _cut_off(name: str, low: float, high: float | None = None) -> pl.Expr:
    """A column within bounds, NaN as it is: what `.clip` does, in a fraction of its time."""
    values = pl.col(name)
    cut = pl.when(values < low).then(low)
    if high is None:
        return cut.otherwise(values)
    return cut.when((values > high) & values.is_not_nan()).then(high).otherwise(values)
