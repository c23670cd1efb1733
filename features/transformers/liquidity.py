"""Traded volume, and how far a trade moves the price."""

from __future__ import annotations

import polars as pl

from tidecast.features.transformers.returns import CHANGE, log_change
from tidecast.features.transformers.window import WindowTransformer


class Liquidity(WindowTransformer):
    """A measure of the column ``volume``, in the source's unit, over a window of rows.

    Parameters
    ----------
    window : int, default=21
        Rows looked at, the row's own among them.
    target : str, default="close"
        Column of prices, above zero.
    """


class RelativeVolume(Liquidity):
    """Log of the volume over the mean of the last `window` volumes: the column `relative_volume_{window}`.

    Null until the window is full and where nothing was traded. Parameters are those of `Liquidity`.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        volume = pl.col("volume")
        return {f"relative_volume_{self.window}": (volume / volume.rolling_mean(self.window)).log()}


class VolumeZScore(Liquidity):
    """Standard deviations (divisor n − 1) by which log volume exceeds its mean: the column `volume_zscore_{window}`.

    Both of the last `window` rows. Null until the window is full, where a row of it traded nothing, and where all its
    volumes are equal. Parameters are those of `Liquidity`.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        k = self.window
        level = pl.when(pl.col("volume") > 0).then(pl.col("volume").log())
        varies = level.rolling_max(k) > level.rolling_min(k)
        score = (level - level.rolling_mean(k)) / level.rolling_std(k)
        return {f"volume_zscore_{k}": pl.when(varies).then(score)}


class AmihudIlliquidity(Liquidity):
    """Mean of |log return| ÷ (price · volume) over the last `window` rows: the column `amihud_{window}`.

    In decimals per unit of money traded. Rows that traded nothing, or whose volume is missing, are left out of the
    mean, as in the paper. Null where all are left out, and until there are `window` returns. Parameters are those of
    `Liquidity`.

    References
    ----------
    Y. Amihud (2002), Journal of Financial Markets 5(1), 31–56, equation (1), doi:10.1016/S1386-4181(01)00024-6; with
    log returns.
    """

    rows_before = 1

    def shared(self) -> dict[str, pl.Expr]:
        """Return the log return of a row."""
        return log_change(self.target)

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        price, k = pl.col(self.target), self.window
        traded = pl.when(pl.col("volume") > 0).then(price * pl.col("volume"))
        impact = (pl.col(CHANGE).abs() / traded).rolling_mean(k, min_samples=1)
        return {f"amihud_{k}": pl.when(price.shift(k).is_not_null()).then(impact)}
