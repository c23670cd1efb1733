"""Price panels of a folder with public data, each as a panel with its schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tidecast.features import PanelSchema, get_calendar

MOST_SERIES = 90
"""Of a file with hundreds of shares, those with the longest histories."""


@dataclass(frozen=True)
class Source:
    """A file with prices.

    Attributes
    ----------
    file : str
    schema : PanelSchema
    live : bool
        Whether to leave out series that end before the newest session.
    longest : bool
        Whether to keep only the series with the longest histories, on the sessions of the New York exchange.
    """

    file: str
    schema: PanelSchema
    live: bool = False
    longest: bool = False


def panels_in(folder: Path, most_series: int = MOST_SERIES) -> Iterator[tuple[str, pl.DataFrame, PanelSchema]]:
    """Yield name, panel and schema of each file that the folder has.

    Parameters
    ----------
    folder : Path
        With the files named in `SOURCES`; those that are missing are left out.
    most_series : int, default=90
        Of a file with hundreds of shares.
    """
    for name, source in SOURCES.items():
        if not (folder / source.file).exists():
            continue
        panel = pl.read_parquet(folder / source.file).rename({"date": "time", "value": "close"}, strict=False)
        panel = panel.drop_nulls("close").filter(pl.col("close") > 0).select("series_id", "time", "close")
        if source.live or source.longest:
            panel = panel.filter(pl.col("time").max().over("series_id") == pl.col("time").max())
        if source.longest:
            panel = _longest(panel, most_series)
        yield name, panel.sort("series_id", "time"), source.schema


def _longest(panel: pl.DataFrame, most_series: int) -> pl.DataFrame:
    """The series with the longest histories, on the exchange's sessions."""
    lengths = panel.group_by("series_id").len().sort(["len", "series_id"], descending=[True, False])
    panel = panel.filter(pl.col("series_id").is_in(lengths.head(most_series)["series_id"].implode()))
    panel = panel.unique(["series_id", "time"], keep="last")
    return panel.filter(pl.Series(get_calendar("XNYS").is_session(panel["time"])))


SOURCES = {
    "ECB rates": Source("ecb_fx_daily.parquet", PanelSchema(calendar="TARGET")),
    "ECB rates, live": Source("ecb_fx_daily.parquet", PanelSchema(calendar="TARGET"), live=True),
    "EIA energy": Source("eia_energy_spot_daily.parquet", PanelSchema()),
    "US closes, 26": Source("stocks_skfolio20_close_daily.parquet", PanelSchema(calendar="XNYS")),
    "US shares, 88": Source("stocks_stocknet88_daily.parquet", PanelSchema(calendar="XNYS")),
    "US shares, 30 years": Source("stocks_google30y_5pct_daily.parquet", PanelSchema(calendar="XNYS"), longest=True),
    "Bitcoin": Source("crypto_bitcoin_daily.parquet", PanelSchema(calendar="24/7")),
    "commodities, monthly": Source("commodities_monthly.parquet", PanelSchema(calendar="monthly 1")),
}
