"""The prices that an example runs on: a file named on the command line, else three bundled exchange rates."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from tidecast import panel_from
from tidecast.features.frames import to_polars

BUNDLED = Path(__file__).parents[1] / "flows" / "data" / "ecb_fx_daily.parquet"


def bundled_prices() -> pl.DataFrame:
    """Return three of the bundled euro reference rates since 2023, as a panel (source: ECB statistics).

    Returns
    -------
    polars.DataFrame
        Columns `series_id`, `time` and `close`.

    Examples
    --------
    >>> bundled_prices().columns
    ['series_id', 'time', 'close']
    """
    rates = to_polars(panel_from(pl.read_parquet(BUNDLED)))
    return rates.filter(pl.col("series_id").is_in(["GBP", "JPY", "USD"]), pl.col("time") >= pl.date(2023, 1, 1))


def prices_of_command(description: str | None) -> pl.DataFrame:
    """Return the panel in the file that the command line names, or the bundled one.

    Parameters
    ----------
    description : str or None
        Text of ``--help``.

    Returns
    -------
    polars.DataFrame
        Columns `series_id`, `time`, `close` and those that the file has besides.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="CSV or Parquet, long or wide; default: exchange rates")
    parser.add_argument("--series-id", help="column of names; default: recognised")
    parser.add_argument("--time", help="column of times; default: recognised")
    parser.add_argument("--target", help="column of prices; default: recognised")
    given = parser.parse_args()
    if given.file is None:
        return bundled_prices()
    is_csv = given.file.suffix == ".csv"
    table = pl.read_csv(given.file, try_parse_dates=True) if is_csv else pl.read_parquet(given.file)
    return to_polars(panel_from(table, given.series_id, given.time, given.target))
