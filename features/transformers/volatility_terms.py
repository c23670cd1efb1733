"""Past volatility over many spans, next to the volatility of the random walk: the inputs of `VolatilityRegression`."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import polars as pl

from tidecast.features.error_text import check_whole
from tidecast.features.transformers.base import PanelTransformer
from tidecast.features.transformers.price_expressions import range_square
from tidecast.features.volatility import DECAY, EWMA_ROWS

WINDOWS = (1, 5, 22, 63, 126, 252)
"""A day, a week and a month of trading (Corsi 2009), then one, two and four quarters."""

SEASONS = (63, 126, 189, 252)
"""Rows to the same sessions one to four quarters ago."""

FAST = 0.8
"""Decay of an average that follows the last week."""

RETURN_STEPS = (1, 5, 22)
RANGE_WINDOWS = (1, 5, 22)
LARGEST_WINDOW = 63
VOLUME_WINDOWS = ((1, 22), (5, 63))
RANGE, VOLUME = ("high", "low"), "volume"

WIDEST_RATIO = 3.0
"""Bound of log ratios: equal prices have no volatility, whose log is -inf."""

CHANGE, SIGMA, RANGE_SQUARE, LOG_VOLUME = "_term_change", "_term_sigma", "_term_range", "_term_volume"


class VolatilityTerms(PanelTransformer):
    """Logs of past volatility over many spans, relative to the volatility σ of the random walk.

    r is a change (log return, or difference when not `positive`) and σ the volatility of `with_volatility`:

    - `relative_volatility_1`, `_5`, `_22`, `_63`, `_126`, `_252`: log(root mean square of the last k changes / σ), the
      terms of the heterogeneous autoregression, and longer ones;
    - `fast_volatility`: the same of an exponential average with decay 0.8;
    - `same_volatility_63`, `_126`, `_189`, `_252`: the same of the `horizon` rows that begin k rows before the next
      row: the sessions to come, one to four quarters ago, because earnings and other news return every quarter;
    - `leverage_1`, `_5`, `_22`: sum of the last k changes / (σ √k), because volatility rises after falls;
    - `relative_largest_63`: log(largest |r| of the last 63 / σ);
    - `relative_range_1`, `_5`, `_22`, where the panel has columns ``high`` and ``low``: log(Parkinson's volatility of
      the last k sessions / σ);
    - `volume_change_1_22`, `_5_63`, where it has a column ``volume``: mean of log volume over the last k rows less that
      over more rows; rows that traded nothing are left out.

    Log ratios lie within ±3. Multiplying a series' prices or volumes by a number changes nothing. Windows start short:
    values appear with the second row and stand for the rows there are; those of earlier quarters are null until there
    is one. All are null on a series' first row, after a break, when the price has not changed in the last 252 changes,
    and where the target is missing.

    Parameters
    ----------
    horizon : int, default=5
        Rows to come whose counterparts in earlier quarters are averaged; at most 63.
    target : str, default="close"
        Column of prices.
    positive : bool, default=True
        Whether prices move by log returns rather than differences.
    ranges, volume : bool, optional
        Whether to add the terms of ranges and of volume. None: when the panel in `fit` has the columns.

    References
    ----------
    F. Corsi (2009), Journal of Financial Econometrics 7(2), 174–196, equation (10), doi:10.1093/jjfinec/nbp001; the
    signed returns of F. Corsi and R. Renò (2012), Journal of Business & Economic Statistics 30(3), 368–380,
    doi:10.1080/07350015.2012.663261. `ParkinsonVolatility` names the source of the ranges.

    Examples
    --------
    >>> from datetime import date
    >>> rows = {"series_id": ["a"] * 3, "time": [date(2024, 1, day) for day in (2, 3, 4)], "close": [1.0, 2.0, 4.0]}
    >>> VolatilityTerms().fit_transform(pl.DataFrame(rows))["leverage_1"].round(6).to_list()
    [None, 1.0, 1.0]
    """

    longest_horizon: ClassVar[int] = min(SEASONS)
    """The sessions to come must have passed one quarter ago."""

    def __init__(
        self,
        horizon: int = 5,
        target: str = "close",
        positive: bool = True,
        ranges: bool | None = None,
        volume: bool | None = None,
    ) -> None:
        self.horizon = horizon
        self.target = target
        self.positive = positive
        self.ranges = ranges
        self.volume = volume

    def _check_parameters(self) -> None:
        check_whole("horizon", self.horizon, at_least=1)
        if self.horizon > self.longest_horizon:
            raise ValueError(f"horizon must be at most {self.longest_horizon}, a quarter, got {self.horizon}.")

    @property
    def has_ranges(self) -> bool:
        """Whether the terms of ranges are added; before `fit`, whether they were requested."""
        return self._has(self.ranges, RANGE)

    @property
    def has_volume(self) -> bool:
        """Whether the terms of volume are added; before `fit`, whether they were requested."""
        return self._has(self.volume, (VOLUME,))

    def _has(self, requested: bool | None, columns: tuple[str, ...]) -> bool:
        return set(columns) <= set(getattr(self, "feature_names_in_", ())) if requested is None else requested

    @property
    def min_history(self) -> int:
        """Rows of the longest window and of the changes that the volatility remembers, and the row before them.

        Values appear with the second row.
        """
        return max(WINDOWS) + EWMA_ROWS + 1

    @property
    def inputs_(self) -> list[str]:
        """Columns that are read besides ``series_id``, ``time`` and the target."""
        return sorted([*(RANGE if self.has_ranges else ()), *((VOLUME,) if self.has_volume else ())])

    def shared(self) -> dict[str, pl.Expr]:
        """Return the change of a row, its volatility, the square of its range and its log volume."""
        return dict(_quantities(self.target, self.positive, self.has_ranges, self.has_volume))

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added columns by name."""
        return dict(_terms(self.horizon, self.has_ranges, self.has_volume))


@cache
def _quantities(target: str, positive: bool, ranges: bool, volume: bool) -> dict[str, pl.Expr]:
    """The columns that the terms start from; cached, because a fit asks for them many times."""
    level = pl.col(target).cast(pl.Float64)
    change = (level.log() if positive else level).diff()
    variance = (change**2).ewm_mean(alpha=1 - DECAY, adjust=True, ignore_nulls=True)
    moves = (change != 0).cast(pl.Int8).rolling_max(max(WINDOWS), min_samples=1) == 1
    columns = {CHANGE: change, SIGMA: pl.when(moves).then(variance.sqrt())}
    if ranges:
        columns[RANGE_SQUARE] = range_square(positive)
    if volume:
        traded = pl.col(VOLUME).cast(pl.Float64).fill_nan(None)
        columns[LOG_VOLUME] = pl.when(traded > 0).then(traded.log())
    return columns


@cache
def _terms(horizon: int, ranges: bool, volume: bool) -> dict[str, pl.Expr]:
    """The terms; cached, see `_quantities`."""
    change, square, sigma = pl.col(CHANGE), pl.col(CHANGE) ** 2, pl.col(SIGMA)
    largest = change.abs().rolling_max(LARGEST_WINDOW, min_samples=1)
    columns = {f"relative_volatility_{k}": _log_ratio(_mean(square, k)) for k in WINDOWS}
    columns["fast_volatility"] = _log_ratio(square.ewm_mean(alpha=1 - FAST, adjust=True, ignore_nulls=True))
    for k in SEASONS:
        columns[f"same_volatility_{k}"] = _log_ratio(square.rolling_mean(horizon).shift(k - horizon))
    for k in RETURN_STEPS:
        known = change.is_not_null().cast(pl.Float64).rolling_sum(k, min_samples=1)
        columns[f"leverage_{k}"] = change.rolling_sum(k, min_samples=1) / (sigma * known.sqrt())
    columns[f"relative_largest_{LARGEST_WINDOW}"] = _log_ratio(largest**2)
    if ranges:
        for k in RANGE_WINDOWS:
            columns[f"relative_range_{k}"] = _log_ratio(_mean(pl.col(RANGE_SQUARE), k))
    if volume:
        for short, long in VOLUME_WINDOWS:
            difference = _mean(pl.col(LOG_VOLUME), short) - _mean(pl.col(LOG_VOLUME), long)
            columns[f"volume_change_{short}_{long}"] = pl.when(sigma.is_not_null()).then(difference)
    return columns


def _mean(values: pl.Expr, k: int) -> pl.Expr:
    """Mean of the last k values, or of those that there are."""
    return values.rolling_mean(k, min_samples=1)


def _log_ratio(variance: pl.Expr) -> pl.Expr:
    """Log of the root of a variance over σ, within bounds; rounding can leave a variance below 0."""
    ratio = variance.clip(0.0) / pl.col(SIGMA) ** 2
    return (0.5 * ratio.log()).clip(-WIDEST_RATIO, WIDEST_RATIO)
