"""The default inputs of the networks: scale-free columns of one price."""

from __future__ import annotations

import polars as pl

from features.transformer import PanelTransformer
from features.volatility import add_volatility

RETURN_STEPS = (1, 5, 21)
VOLATILITY_WINDOWS = (5, 21, 63, 252)
SHAPE_WINDOW = 63
WIDEST_RATIO = 3.0
"""Log ratios of volatilities are cut off here: five equal prices in a row have no volatility, whose log is -inf."""


class PriceFeatures(PanelTransformer):
    """Scale-free columns of a price, on the yardstick of its own volatility: what a network sees by default.

    With r a change (log return, or difference when not `positive`) and σ the volatility of `with_volatility`, both at
    the row itself:

    - `scaled_return_1`, `_5`, `_21`: sum of the last k changes / (σ √k);
    - `absolute_return_1`: |r| / σ;
    - `volatility_ratio_5`, `_21`, `_63`, `_252`: log(root mean square of the last k changes / σ), within ±3;
    - `largest_return_63`: largest |r| of the last 63 / σ, as a log, within ±3;
    - `downside_share_63`: share of the negative changes in the sum of squares of the last 63, in [0, 1], null when
      those are all 0.

    Multiplying a series' prices by a number changes nothing. Windows start short: values appear with the second row
    and stand for the rows there are. All are null on a series' first row, after a break, while there is no volatility
    (a peg), and where the target is missing.

    Parameters
    ----------
    target : str, default="close"
        Column of prices.
    positive : bool, default=True
        Whether prices move by log returns rather than differences.

    Examples
    --------
    >>> from datetime import date
    >>> rows = {"series_id": ["a"] * 3, "time": [date(2024, 1, day) for day in (2, 3, 4)], "close": [1.0, 2.0, 4.0]}
    >>> PriceFeatures().fit_transform(pl.DataFrame(rows))["scaled_return_1"].round(6).to_list()
    [None, 1.0, 1.0]
    """

    def __init__(self, target: str = "close", positive: bool = True) -> None:
        self.target = target
        self.positive = positive

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [
            *(f"scaled_return_{k}" for k in RETURN_STEPS),
            "absolute_return_1",
            *(f"volatility_ratio_{k}" for k in VOLATILITY_WINDOWS),
            f"largest_return_{SHAPE_WINDOW}",
            f"downside_share_{SHAPE_WINDOW}",
        ]

    @property
    def min_history(self) -> int:
        """Rows until the longest window is full; values appear with the second row."""
        return max(VOLATILITY_WINDOWS) + 1

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        change, sigma, square = pl.col("change"), pl.col("volatility"), pl.col("change") ** 2

        def mean(values: pl.Expr, k: int) -> pl.Expr:
            return values.rolling_mean(k, min_samples=1).over("_stretch")

        def log_ratio(value: pl.Expr) -> pl.Expr:
            return (value / sigma).log().clip(-WIDEST_RATIO, WIDEST_RATIO)

        count = change.cum_count().over("_stretch").cast(pl.Float64)
        columns = {f"scaled_return_{k}": mean(change, k) * count.clip(1, k).sqrt() / sigma for k in RETURN_STEPS}
        columns["absolute_return_1"] = change.abs() / sigma
        for k in VOLATILITY_WINDOWS:  # sums that slide may end a hair below zero
            columns[f"volatility_ratio_{k}"] = log_ratio(mean(square, k).clip(0, None).sqrt())
        k = SHAPE_WINDOW
        largest = change.abs().rolling_max(k, min_samples=1).over("_stretch")
        columns[f"largest_return_{k}"] = log_ratio(largest)
        down = pl.when(change < 0).then(square).when(change >= 0).then(0.0)
        columns[f"downside_share_{k}"] = pl.when(largest > 0).then((mean(down, k) / mean(square, k)).clip(0, 1))
        defined = change.is_not_null() & (sigma > 0)
        return add_volatility(rows, self.target, self.positive).with_columns(
            **{name: pl.when(defined).then(value).fill_nan(None) for name, value in columns.items()}
        )
