"""Returns of prices."""

from __future__ import annotations

import polars as pl

from tidecast.features.error_text import check_whole
from tidecast.features.transformers.base import PanelTransformer

CHANGE = "_log_change"


def log_change(target: str) -> dict[str, pl.Expr]:
    """Return the log return since the row before, as a decimal, by the name under which transformers share it.

    Parameters
    ----------
    target : str
        Column of positive prices.
    """
    return {CHANGE: pl.col(target).log().diff()}


class LogReturn(PanelTransformer):
    """Log returns over `steps` rows, as decimals: a column `log_return_{steps}` for each number of rows.

    Null on the first `steps` rows of a series and after a break.

    Parameters
    ----------
    steps : int or tuple of int, default=1
        Rows to look back, for example ``(1, 5, 21)``.
    target : str, default="close"
        Column of prices, above zero.

    Examples
    --------
    >>> from datetime import date
    >>> rows = {"series_id": ["a", "a"], "time": [date(2024, 1, 2), date(2024, 1, 3)], "close": [100.0, 101.0]}
    >>> LogReturn().fit_transform(pl.DataFrame(rows))["log_return_1"].round(4).to_list()
    [None, 0.01]
    """

    def __init__(self, steps: int | tuple[int, ...] = 1, target: str = "close") -> None:
        self.steps = steps
        self.target = target

    @property
    def _lags(self) -> tuple[int, ...]:
        return tuple(self.steps) if isinstance(self.steps, tuple | list) else (self.steps,)

    @property
    def min_history(self) -> int:
        """Rows up to the first value of the longest return, which are those that it depends on."""
        return max(self._lags) + 1

    def _check_parameters(self) -> None:
        if not self._lags:
            raise ValueError("steps must name at least one number of rows, got none.")
        for steps in self._lags:
            check_whole("steps", steps, 1)

    def shared(self) -> dict[str, pl.Expr]:
        """Return the log return of one row, if it is among the lags."""
        return log_change(self.target) if 1 in self._lags else {}

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added columns by name."""
        level = pl.col(self.target).log()
        return {f"log_return_{k}": pl.col(CHANGE) if k == 1 else level.diff(k) for k in self._lags}


class Momentum(PanelTransformer):
    """Log return from `window` to `skip` rows ago, as a decimal: the column `momentum_{window}_{skip}`.

    Null on the first `window` rows of a series and after a break.

    Parameters
    ----------
    window : int, default=252
        Rows to look back.
    skip : int, default=21
        Newest rows left out, because the last month tends to reverse; 0 for none.
    target : str, default="close"
        Column of prices, above zero.

    References
    ----------
    N. Jegadeesh (1990), Journal of Finance 45(3), 881–898, doi:10.1111/j.1540-6261.1990.tb05110.x (the month's
    reversal); N. Jegadeesh and S. Titman (1993), Journal of Finance 48(1), 65–91,
    doi:10.1111/j.1540-6261.1993.tb04702.x.
    """

    def __init__(self, window: int = 252, skip: int = 21, target: str = "close") -> None:
        self.window = window
        self.skip = skip
        self.target = target

    @property
    def min_history(self) -> int:
        """Rows up to the first value, which are those that it depends on."""
        return self.window + 1

    def _check_parameters(self) -> None:
        check_whole("skip", self.skip, 0)
        check_whole("window", self.window, self.skip + 1)

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        level = pl.col(self.target).log()
        return {f"momentum_{self.window}_{self.skip}": level.shift(self.skip) - level.shift(self.window)}
