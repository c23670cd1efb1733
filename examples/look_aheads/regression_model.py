"""A model for `backtest`: any regressor of scikit-learn, from columns of a panel to the changes ahead."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, clone


class RegressionModel(BaseEstimator):
    """Forecast the log change to each step from columns of the origin's row. It follows `PanelModel`.

    Parameters
    ----------
    regressor : estimator
        Takes X of shape (n, n_columns) and y of shape (n, horizon).
    columns : list of str
        Inputs. Rows where one is null are not used.
    horizon : int, default=5
        Sessions to forecast.
    """

    def __init__(self, regressor: Any, columns: list[str], horizon: int = 5) -> None:
        self.regressor, self.columns, self.horizon = regressor, columns, horizon

    def fit(self, X: pl.DataFrame, y: Any = None) -> Self:
        """Fit on the rows whose columns and whole horizon are in the panel.

        Parameters
        ----------
        X : polars.DataFrame
            The training rows.
        y : ignored
        """
        rows = supervised_rows(X, self.columns, self.horizon)
        self.regressor_ = clone(self.regressor).fit(*arrays_of(rows, self.columns, self.horizon))
        return self

    def predict(self, X: pl.DataFrame) -> pl.DataFrame:
        """Forecast from the last row of each series.

        Parameters
        ----------
        X : polars.DataFrame
            The rows known at the origin.

        Returns
        -------
        polars.DataFrame
            A table of point forecasts.
        """
        last = X.sort("time").group_by("series_id", maintain_order=True).last().drop_nulls(self.columns)
        changes = self.regressor_.predict(last.select(self.columns).to_numpy())
        return forecast_table(last, changes)


def supervised_rows(panel: pl.DataFrame, columns: list[str], horizon: int) -> pl.DataFrame:
    """Return the rows with known inputs, and the log change to each step as `change_1`, `change_2`, …

    Parameters
    ----------
    panel : polars.DataFrame
        With `series_id`, `time`, `close` and the columns.
    columns : list of str
        Inputs.
    horizon : int
        Steps ahead.

    Returns
    -------
    polars.DataFrame
    """
    level = pl.col("close").log()
    ahead = {f"change_{k}": level.shift(-k).over("series_id") - level for k in range(1, horizon + 1)}
    return panel.sort("series_id", "time").with_columns(**ahead).drop_nulls([*columns, *ahead])


def arrays_of(rows: pl.DataFrame, columns: list[str], horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Return X of shape (n, n_columns) and y of shape (n, horizon).

    Parameters
    ----------
    rows : polars.DataFrame
        From `supervised_rows`.
    columns : list of str
        Inputs.
    horizon : int
        Steps ahead.

    Returns
    -------
    tuple of ndarray
    """
    return rows.select(columns).to_numpy(), rows.select(f"change_{k}" for k in range(1, horizon + 1)).to_numpy()


def forecast_table(origins: pl.DataFrame, changes: np.ndarray) -> pl.DataFrame:
    """Return a table of point forecasts for panels with a row on each day.

    Parameters
    ----------
    origins : polars.DataFrame
        `series_id`, `time` and `close` of n origins.
    changes : ndarray of shape (n, horizon)
        Forecast log changes from the origin.

    Returns
    -------
    polars.DataFrame
        `series_id`, `origin`, `step`, `time`, `forecast`.
    """
    tables = [
        origins.select(
            "series_id",
            origin="time",
            step=pl.lit(k, pl.Int32),
            time=pl.col("time").dt.offset_by(f"{k}d"),
            forecast=pl.col("close") * pl.Series(np.exp(change)),
        )
        for k, change in enumerate(changes.T, start=1)
    ]
    return pl.concat(tables)
