"""Prices to returns."""

from __future__ import annotations

import polars as pl

from features.messages import check_whole
from features.transformer import PanelTransformer


class LogReturn(PanelTransformer):
    """Log returns over `steps` rows, as decimals: the column `log_return_{steps}`.

    Null on the first `steps` rows of a series and after a break.

    Parameters
    ----------
    steps : int, default=1
        Rows to look back.
    target : str, default="close"
        Column of prices, above zero.

    Examples
    --------
    >>> from datetime import date
    >>> rows = {"series_id": ["a", "a"], "time": [date(2024, 1, 2), date(2024, 1, 3)], "close": [100.0, 101.0]}
    >>> LogReturn().fit_transform(pl.DataFrame(rows))["log_return_1"].round(4).to_list()
    [None, 0.01]
    """

    def __init__(self, steps: int = 1, target: str = "close") -> None:
        self.steps = steps
        self.target = target

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [f"log_return_{self.steps}"]

    @property
    def min_history(self) -> int:
        """Rows up to the first value."""
        return self.steps + 1

    def _check_parameters(self) -> None:
        check_whole("steps", self.steps, 1)

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        change = pl.col(self.target).log().diff(self.steps).over("_stretch")
        return rows.with_columns(change.alias(self.added_[0]))
