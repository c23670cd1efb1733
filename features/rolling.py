"""Statistics of the last rows of each series: mean, volatility, range, z-score."""

from __future__ import annotations

import polars as pl

from features.messages import check_whole
from features.transformer import PanelTransformer


class RollingMean(PanelTransformer):
    """Mean of the last `window` values, in their own unit: the column `{target}_mean_{window}`.

    Parameters
    ----------
    window : int, default=21
        Rows looked at, the row's own among them. Null until the window is full.
    target : str, default="close"
        Any column of numbers.
    """

    positive = False

    def __init__(self, window: int = 21, target: str = "close") -> None:
        self.window = window
        self.target = target

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [f"{self.target}_mean_{self.window}"]

    @property
    def min_history(self) -> int:
        """Rows up to the first value."""
        return self.window

    def _check_parameters(self) -> None:
        check_whole("window", self.window, 1)

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        mean = pl.col(self.target).rolling_mean(self.window).over("_stretch")
        return rows.with_columns(mean.alias(self.added_[0]))


class RollingVolatility(PanelTransformer):
    """Root mean square of the last `window` log returns, as a decimal per row: the column `volatility_{window}`.

    Parameters
    ----------
    window : int, default=21
        Returns looked at, the row's own among them. Null until the window is full.
    target : str, default="close"
        Column of prices, above zero.
    """

    def __init__(self, window: int = 21, target: str = "close") -> None:
        self.window = window
        self.target = target

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [f"volatility_{self.window}"]

    @property
    def min_history(self) -> int:
        """Rows up to the first value."""
        return self.window + 1

    def _check_parameters(self) -> None:
        check_whole("window", self.window, 1)

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        square = (pl.col(self.target).log().diff() ** 2).rolling_mean(self.window).over("_stretch")
        return rows.with_columns(square.clip(0, None).sqrt().alias(self.added_[0]))


class RollingRange(PanelTransformer):
    """Log of the highest over the lowest of the last `window` prices, as a decimal: the column `range_{window}`.

    Parameters
    ----------
    window : int, default=21
        Rows looked at, the row's own among them. Null until the window is full.
    target : str, default="close"
        Column of prices, above zero.
    """

    def __init__(self, window: int = 21, target: str = "close") -> None:
        self.window = window
        self.target = target

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [f"range_{self.window}"]

    @property
    def min_history(self) -> int:
        """Rows up to the first value."""
        return self.window

    def _check_parameters(self) -> None:
        check_whole("window", self.window, 2)

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        level = pl.col(self.target).log()
        width = level.rolling_max(self.window).over("_stretch") - level.rolling_min(self.window).over("_stretch")
        return rows.with_columns(width.alias(self.added_[0]))


class RollingZScore(PanelTransformer):
    """How many standard deviations a value lies above its recent mean: the column `{target}_zscore_{window}`.

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
        self.window = window
        self.target = target

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [f"{self.target}_zscore_{self.window}"]

    @property
    def min_history(self) -> int:
        """Rows up to the first value."""
        return self.window

    def _check_parameters(self) -> None:
        check_whole("window", self.window, 2)

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        value, k = pl.col(self.target), self.window
        mean, spread = value.rolling_mean(k).over("_stretch"), value.rolling_std(k).over("_stretch")
        varies = (value.rolling_max(k) > value.rolling_min(k)).over("_stretch")
        return rows.with_columns(pl.when(varies & (spread > 0)).then((value - mean) / spread).alias(self.added_[0]))
