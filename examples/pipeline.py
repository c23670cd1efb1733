"""Put a transformer and a forecaster into a Pipeline, and choose settings with GridSearchCV.

`RollingOrigin` splits the panel by time, so that no fold is forecast by a model that saw later rows. Prints the grid
with the score of each setting (minus CRPS, in units of volatility) and the forecast of the best one.
"""

from __future__ import annotations

import polars as pl
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from examples.prices import prices_of_command
from tidecast import GRUForecaster, PanelSchema, RollingOrigin, RollingZScore

SCHEMA = PanelSchema(covariates=("close_zscore_21",))  # the column that the transformer adds is an input


def main(prices: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the grid with its scores, and the forecast of the best setting.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel with `series_id`, `time` and `close`.

    Returns
    -------
    tuple of polars.DataFrame
    """
    model = GRUForecaster(horizon=5, lookback=32, schema=SCHEMA, max_epochs=2, random_state=0)
    search = GridSearchCV(
        make_pipeline(RollingZScore(21), model),
        {"gruforecaster__hidden_size": [8, 16]},
        cv=RollingOrigin(n_splits=2, horizon=5, stride=10),
    )
    search.fit(prices)
    grid = pl.DataFrame({"hidden_size": [8, 16], "score": search.cv_results_["mean_test_score"]})
    return grid, search.predict(prices)


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(*result, sep="\n")
