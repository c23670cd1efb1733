"""Draw joint paths: answers that depend on several steps at once, which quantiles of single steps cannot give.

Prints for each series the probability that the price falls by more than 1 % on any of the next five sessions, next to
the probability that it lies there on the last one.
"""

from __future__ import annotations

import polars as pl

from examples.prices import prices_of_command
from tidecast import GRUForecaster

FALL = 0.01


def main(prices: pl.DataFrame) -> pl.DataFrame:
    """Return the probabilities of a fall, on any session and on the last one.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with `series_id`, `time` and `close`.

    Returns
    -------
    polars.DataFrame
        Columns `series_id`, `origin`, `any_session` and `last_session`.
    """
    model = GRUForecaster(horizon=5, lookback=32, max_epochs=2, random_state=0).fit(prices)
    paths = model.sample(1000, random_state=0)  # series_id, origin, sample, step, time, value
    last = prices.select("series_id", "close", origin="time")
    fallen = paths.join(last, on=["series_id", "origin"]).with_columns(
        fallen=pl.col("value") < (1 - FALL) * pl.col("close")
    )
    each_path = fallen.group_by("series_id", "origin", "sample").agg(
        any_session=pl.col("fallen").any(), last_session=pl.col("fallen").sort_by("step").last()
    )
    return each_path.group_by("series_id", "origin").agg(pl.col("any_session", "last_session").mean()).sort("series_id")


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(result)
