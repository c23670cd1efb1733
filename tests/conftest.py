"""Small synthetic panels for all tests."""

import os
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)  # what fails, fails again; --hypothesis-profile default: anew
settings.load_profile("repeatable")

os.environ.pop("COLUMNS", None)  # processes of pytest-xdist have one, and lines of a command would wrap there

BUNDLED = Path(__file__).parents[1] / "flows" / "data"


def make_random_walks(n_series: int = 6, n_rows: int = 400, seed: int = 0, start: date = date(2015, 1, 1)):
    """Random walks with GARCH(1, 1) volatility: nothing about their direction can be forecast, their spread can.

    Weekdays from `start`; daily volatility around 1 %; series "A", "B", … (then "S26", "S27", …) of very different
    price levels.
    """
    generator = np.random.default_rng(seed)
    shocks = generator.standard_normal((n_rows, n_series))
    returns = np.empty((n_rows, n_series))
    variance = np.full(n_series, 1e-4)
    for row in range(n_rows):
        returns[row] = np.sqrt(variance) * shocks[row]
        variance = 0.02e-4 + 0.08 * returns[row] ** 2 + 0.90 * variance
    levels = 10.0 ** generator.uniform(-1, 4, n_series)
    days = pl.date_range(start, start + timedelta(days=n_rows * 7 // 5 + 7), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_rows)
    names = [chr(65 + series) if series < 26 else f"S{series}" for series in range(n_series)]
    return pl.DataFrame(
        {
            "series_id": np.repeat(names, n_rows),
            "time": pl.concat([days] * n_series),
            "close": (levels * np.exp(returns.cumsum(axis=0))).T.ravel(),
        }
    )


@pytest.fixture(scope="session")
def random_walks() -> Callable[..., pl.DataFrame]:
    """The function `make_random_walks(n_series=6, n_rows=400, seed=0, start=…)`."""
    return make_random_walks


@pytest.fixture(scope="session")
def panel() -> pl.DataFrame:
    """Six random walks of 400 weekdays, sorted, nothing missing."""
    return make_random_walks()


@pytest.fixture(scope="session")
def untidy_panel(panel) -> pl.DataFrame:
    """Unsorted; A pegged, B begins late, C ends early, D pauses for a year, E misses a target now and then."""
    name, day = pl.col("series_id"), pl.int_range(pl.len()).over("series_id")
    long_ago = pl.when((name == "D") & (day < 150)).then(pl.col("time").dt.offset_by("-52w")).otherwise("time")
    peg, missing = name == "A", (name == "E") & (day % 17 == 5)
    return (
        panel.filter(~((name == "B") & (day < 250)) & ~((name == "C") & (day > 300)))
        .with_columns(time=long_ago, close=pl.when(peg).then(15.6466).when(~missing).then("close"))
        .sample(fraction=1, shuffle=True, seed=0)
    )


@pytest.fixture(scope="session")
def ecb() -> pl.DataFrame:
    """The bundled euro reference rates, as a panel."""
    return pl.read_parquet(BUNDLED / "ecb_fx_daily.parquet").rename({"date": "time", "value": "close"})
