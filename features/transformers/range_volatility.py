"""Volatility from the highest and the lowest price of a session, several times as precise as from its close alone."""

from __future__ import annotations

import math

import polars as pl

from tidecast.features.transformers.window import WindowTransformer


class RangeVolatility(WindowTransformer):
    """An estimator of volatility from the prices within sessions, over a window of sessions.

    Null until the window is full, and where a price of it is missing or not above 0.

    Parameters
    ----------
    window : int, default=21
        Sessions looked at, the row's own among them.
    target : str, default="close"
        The session's last price; ``open``, ``high`` and ``low`` are found by these names.
    """

    def _log(self, price: str, over: pl.Expr) -> pl.Expr:
        """Return the log of one price over another; null where either is not above 0."""
        above = pl.col(price)
        return pl.when((above > 0) & (over > 0)).then((above / over).log())


class ParkinsonVolatility(RangeVolatility):
    """σ² = mean of (ln H/L)² ÷ (4 ln 2), σ as a decimal per session: the column `parkinson_{window}`.

    For prices without drift that are observed continuously. Parameters are those of `RangeVolatility`.

    References
    ----------
    M. Parkinson (1980), Journal of Business 53(1), 61–65, doi:10.1086/296071.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        square = self._log("high", pl.col("low")) ** 2 / (4 * math.log(2))
        return {f"parkinson_{self.window}": square.rolling_mean(self.window).clip(0).sqrt()}


class GarmanKlassVolatility(RangeVolatility):
    """σ² = mean of ½ (ln H/L)² − (2 ln 2 − 1)(ln C/O)², σ as a decimal: the column `garman_klass_{window}`.

    For the session's own hours, without drift. 0 where a faulty range makes the mean negative. Parameters are those of
    `RangeVolatility`.

    References
    ----------
    M. Garman and M. Klass (1980), Journal of Business 53(1), 67–78, doi:10.1086/296072, the practical estimator.
    """

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        height, drift = self._log("high", pl.col("low")), self._log(self.target, pl.col("open"))
        square = 0.5 * height**2 - (2 * math.log(2) - 1) * drift**2
        return {f"garman_klass_{self.window}": square.rolling_mean(self.window).clip(0, None).sqrt()}


class YangZhangVolatility(RangeVolatility):
    """σ² = V(o) + k V(c) + (1 − k) V(rs), σ as a decimal per session with its night: the column `yang_zhang_{window}`.

    V(o) and V(c) are the variances (divisor n − 1) of the logs of open over the close before and of close over open,
    V(rs) the mean of u(u − c) + d(d − c) of Rogers and Satchell with u, d, c the logs of high, low and close over
    open, and k = 0.34 ÷ (1.34 + (n + 1)/(n − 1)). Independent of drift. Parameters are those of `RangeVolatility`.

    References
    ----------
    D. Yang and Q. Zhang (2000), Journal of Business 73(3), 477–491, doi:10.1086/209650; L. Rogers and S. Satchell
    (1991), Annals of Applied Probability 1(4), 504–512, doi:10.1214/aoap/1177005835.
    """

    rows_before = 1  # the close before the window

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        n = self.window
        night = self._log("open", pl.col(self.target).shift())
        up, down, day = (self._log(name, pl.col("open")) for name in ("high", "low", self.target))
        within = up * (up - day) + down * (down - day)
        k = 0.34 / (1.34 + (n + 1) / (n - 1))
        square = night.rolling_var(n) + k * day.rolling_var(n) + (1 - k) * within.rolling_mean(n)
        return {f"yang_zhang_{n}": square.clip(0, None).sqrt()}
