"""Statistics of the last rows of each series: mean, volatility, range, z-score, drawdown."""

from __future__ import annotations

import math

import polars as pl

from tidecast.features.transformers.base import PanelTransformer
from tidecast.features.transformers.returns import CHANGE, log_change
from tidecast.features.transformers.window import WindowTransformer
from tidecast.features.volatility import DECAY


class RollingMean(WindowTransformer):
    """Mean of the last `window` values, in their own unit: the column `{target}_mean_{window}`.

    Parameters
    ----------
    window : int, default=21
        Rows looked at, the row's own among them. Null until the window is full.
    target : str, default="close"
        Any column of numbers.
    """

    positive = False
    least_window = 1

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        return {f"{self.target}_mean_{self.window}": pl.col(self.target).rolling_mean(self.window)}


class RollingVolatility(WindowTransformer):
    """Root mean square of the last `window` log returns, as a decimal per row: the column `volatility_{window}`.

    Parameters
    ----------
    window : int, default=21
        Returns looked at, the row's own among them. Null until the window is full.
    target : str, default="close"
        Column of prices, above zero.
    """

    least_window = 1
    rows_before = 1

    def shared(self) -> dict[str, pl.Expr]:
        """Return the log return of a row."""
        return log_change(self.target)

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        square = pl.col(CHANGE) ** 2
        return {f"volatility_{self.window}": square.rolling_mean(self.window).clip(0).sqrt()}


class RollingRange(WindowTransformer):
    """Log of the highest over the lowest of the last `window` prices, as a decimal: the column `range_{window}`.

    Parameters
    ----------
    window : int, default=21
        Rows looked at, the row's own among them. Null until the window is full.
    target : str, default="close"
        Column of prices, above zero.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        level = pl.col(self.target).log()
        return {f"range_{self.window}": level.rolling_max(self.window) - level.rolling_min(self.window)}


class RollingZScore(WindowTransformer):
    """Standard deviations by which a value exceeds its recent mean: the column `{target}_zscore_{window}`.

    Mean and standard deviation (divisor n − 1) are those of the last `window` values, the row's own among them.
    Null until the window is full and where all its values are equal.

    Parameters
    ----------
    window : int, default=63
        Rows looked at.
    target : str, default="close"
        Any column of numbers, for example the volume.
    """

    positive = False

    def __init__(self, window: int = 63, target: str = "close") -> None:
        super().__init__(window, target)

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        value, k = pl.col(self.target), self.window
        varies = value.rolling_max(k) > value.rolling_min(k)
        score = (value - value.rolling_mean(k)) / value.rolling_std(k)
        return {f"{self.target}_zscore_{k}": pl.when(varies).then(score)}


class EwmaVolatility(PanelTransformer):
    """Exponentially weighted volatility of log returns, as a decimal per row: the column `ewma_volatility_{decay}`.

    σ² = Σ λⁱ r²ₜ₋ᵢ / Σ λⁱ over all rows up to the row's own. Null on a series' first row and after a break.

    Parameters
    ----------
    decay : float, default=0.94
        λ, above 0 and below 1.
    target : str, default="close"
        Column of prices, above zero.

    References
    ----------
    J.P. Morgan/Reuters (1996), RiskMetrics – Technical Document, 4th ed., section 5.2.1; divided by the sum of
    the weights of the rows there are.
    """

    def __init__(self, decay: float = DECAY, target: str = "close") -> None:
        self.decay = decay
        self.target = target

    @property
    def min_history(self) -> int:
        """Rows after which the weight of older rows, λⁿ, is below rounding (1e-16): 597 where λ is 0.94."""
        return math.ceil(math.log(1e-16) / math.log(self.decay)) + 1

    def _check_parameters(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must lie between 0 and 1, got {self.decay}.")

    def shared(self) -> dict[str, pl.Expr]:
        """Return the log return of a row."""
        return log_change(self.target)

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        square = pl.col(CHANGE) ** 2
        return {f"ewma_volatility_{self.decay}": square.ewm_mean(alpha=1 - self.decay, ignore_nulls=True).sqrt()}


class Drawdown(WindowTransformer):
    """Log of a price over the highest of the last `window`, a decimal at or below 0: the column `drawdown_{window}`.

    The drawdown of Magdon-Ismail and Atiya (2004, Risk 17(10), 99–102), from the peak of a window rather than of all
    time, so that old peaks are forgotten.

    Parameters
    ----------
    window : int, default=252
        Rows looked at, the row's own among them. Null until the window is full.
    target : str, default="close"
        Column of prices, above zero.
    """

    def __init__(self, window: int = 252, target: str = "close") -> None:
        super().__init__(window, target)

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        price = pl.col(self.target)
        return {f"drawdown_{self.window}": (price / price.rolling_max(self.window)).log()}
