"""A panel on which a network has something to learn."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

from tests.forecasting.models import FORECASTERS, cut_of
from tidecast.forecasting.forecasters.base import PanelForecaster


def make_breathing(n_series: int = 4, n_rows: int = 320, seed: int = 0) -> pl.DataFrame:
    """Random walks that move by 2 % a session for a week and by 0.4 % for the next, by turns.

    The exponentially weighted volatility comes too late, every week; the returns of the last five sessions tell it all.
    """
    generator = np.random.default_rng(seed)
    sigma = np.where(np.arange(n_rows) // 5 % 2 == 0, 0.02, 0.004)
    returns = generator.standard_normal((n_series, n_rows)) * sigma
    days = pl.date_range(pl.date(2019, 1, 1), pl.date(2026, 12, 31), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_rows)
    levels = 10.0 ** generator.uniform(-1, 4, (n_series, 1))
    return pl.DataFrame(
        {
            "series_id": np.repeat([chr(65 + series) for series in range(n_series)], n_rows),
            "time": pl.concat([days] * n_series),
            "close": (levels * np.exp(returns.cumsum(axis=1))).ravel(),
        }
    )


@pytest.fixture(scope="session")
def breathing() -> pl.DataFrame:
    """Four walks of 320 weekdays whose volatility alternates from week to week."""
    return make_breathing()


@pytest.fixture(scope="session")
def make_breathing_panel() -> Callable[..., pl.DataFrame]:
    """The function `make_breathing(n_series=4, n_rows=320, seed=0)`."""
    return make_breathing


@pytest.fixture(scope="session")
def fitted(breathing: pl.DataFrame) -> dict[str, PanelForecaster]:
    """Every small forecaster, fitted to all but the newest 60 sessions of the breathing panel; left as they are."""
    past = breathing.filter(pl.col("time") <= cut_of(breathing))
    return {name: clone(model).fit(past) for name, model in FORECASTERS.items()}
