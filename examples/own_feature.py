"""Write a feature of your own, show that it does not look ahead, and give it to a network.

Prints the network's inputs and the forecast. The feature is part of the model, which computes it from raw prices in
`predict` and `update`; a Pipeline is the other way (pipeline.py).
"""

from __future__ import annotations

import polars as pl

from examples.prices import prices_of_command
from tidecast import GRUForecaster, PanelTransformer, assert_causal


class UpDays(PanelTransformer):
    """Share of the last ten rows on which the price rose."""

    min_history = 11

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added column by name."""
        rose = (pl.col("close") > pl.col("close").shift()).cast(pl.Float64)
        return {"up_days_10": rose.rolling_mean(10)}


def main(prices: pl.DataFrame) -> tuple[list[str], pl.DataFrame]:
    """Return the names of the network's inputs, and the forecast.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with `series_id`, `time` and `close`.

    Returns
    -------
    tuple of list of str and polars.DataFrame

    Raises
    ------
    AssertionError
        If a row of the feature depended on later rows.
    """
    assert_causal(UpDays(), prices)
    model = GRUForecaster(horizon=5, lookback=32, features=UpDays(), max_epochs=2, random_state=0).fit(prices)
    return list(model.inputs_), model.predict()


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(*result, sep="\n")
