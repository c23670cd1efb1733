"""Try a source of your own before it is installed.

The prices are written as the source reads them, a file for each series. Prints the newest rows that it returns, and a
forecast from them.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from examples.own_source.json_lines_prices import JsonLines
from examples.prices import prices_of_command
from tidecast import RandomWalk, panel_from


def write_lines(prices: pl.DataFrame, folder: Path) -> None:
    """Write a file of JSON lines for each series.

    Parameters
    ----------
    prices : polars.DataFrame
    folder : Path
    """
    day, price = pl.col("time").cast(pl.Date).cast(pl.String), pl.col("close")
    lines = prices.select(instrument="series_id", day=day, bid=0.999 * price, ask=1.001 * price)
    for number, one_series in enumerate(lines.partition_by("instrument")):
        one_series.write_ndjson(folder / f"{number}.jsonl")


def main(prices: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the newest rows of the source, and the forecast from all its rows.

    Parameters
    ----------
    prices : polars.DataFrame
        Panel of days with `series_id`, `time` and `close`.

    Returns
    -------
    tuple of polars.DataFrame
    """
    with TemporaryDirectory() as folder:
        write_lines(prices, Path(folder))
        source = JsonLines(f"jsonl://{folder}")
        everything = source.fetch().rows
        newest_day = date.fromisoformat(str(everything["time"].max()))
        newest = source.fetch(since=newest_day).rows
    panel = panel_from(everything.with_columns(pl.col("time").str.to_date()))
    return newest, RandomWalk(horizon=5).fit(panel).predict()


if __name__ == "__main__":
    result = main(prices_of_command(__doc__))
    print(*result, sep="\n")
