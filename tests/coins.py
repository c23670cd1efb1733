"""A file of prices unlike the bundled ones: other names, other days, other lengths."""

from datetime import timedelta
from pathlib import Path

import polars as pl

ARGUMENTS = ["--series-id", "Coin", "--time", "Day", "--target", "Price"]
"""Of a command that reads the file."""


def write_coins(path: Path, walks: pl.DataFrame) -> Path:
    """Write three random walks on every day of the week, unsorted; each series ends on another day."""
    day = pl.int_range(pl.len()).over("series_id")
    names = {"A": "btc/eur", "B": "Ωmega & söhne", "C": "x, y"}
    rows = walks.filter(
        ~((pl.col("series_id") == "B") & (day < 90)), ~((pl.col("series_id") == "C") & (day % 41 == 7))
    ).select(
        Coin=pl.col("series_id").replace(names),
        Day=pl.date(2024, 2, 1) + day * timedelta(days=1),
        Price="close",
    )
    rows.sample(fraction=1, shuffle=True, seed=1).write_csv(path)
    return path
