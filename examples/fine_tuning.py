"""Forecast a series that the model was not fitted on, then fine-tune the model on a panel that has it.

The last series in order of name plays the new one. A network forecasts it at once, because all series share its
weights; `partial_fit` goes on training with it. Prints the mean CRPS of the new series' later origins, in the unit of
its price, before and after.
"""

from __future__ import annotations

import polars as pl

from examples.prices import prices_of_command
from tidecast import GRUForecaster, evaluate


def main(prices: pl.DataFrame) -> pl.DataFrame:
    """Return the CRPS of the new series before and after fine-tuning.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with `series_id`, `time` and `close`, of two series or more.

    Returns
    -------
    polars.DataFrame
        Columns `model`, `n_origins` and `crps`.
    """
    is_new = pl.col("series_id") == prices["series_id"].max()
    new = prices.filter(is_new)
    times = new["time"].sort()
    fitted_until, tuned_until = times[len(times) // 2], times[len(times) * 3 // 4]
    later = times.filter(times > tuned_until).to_list()[:-5]
    model = GRUForecaster(horizon=5, lookback=32, max_epochs=2, random_state=0)
    model.fit(prices.filter(~is_new, pl.col("time") <= fitted_until))
    before = model.predict(new, origins=later).with_columns(model=pl.lit("before"))
    model.partial_fit(prices.filter(pl.col("time") <= tuned_until), epochs=3)
    after = model.predict(new, origins=later).with_columns(model=pl.lit("after"))
    losses = evaluate(pl.concat([before, after]), prices).losses
    by_model = losses.group_by("model", maintain_order=True)
    means = by_model.agg(n_origins=pl.col("origin").n_unique(), crps=pl.col("crps").mean())
    return means.sort("model", descending=True)


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(result)
