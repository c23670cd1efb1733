"""Price panels of a folder with public data, each as a panel with its schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from tidecast.features import PanelSchema, get_calendar

MOST_SERIES = 90
"""Of a file with hundreds of shares: those with the longest histories."""


def panels_in(folder: Path) -> Iterator[tuple[str, pl.DataFrame, PanelSchema]]:
    """Yield name, panel and schema of each file that the folder has.

    Parameters
    ----------
    folder : Path
        With the files named in `READERS`; those that are missing are left out.
    """
    for name, (file, read, schema) in READERS.items():
        if (folder / file).exists():
            panel = pl.read_parquet(folder / file).rename({"date": "time", "value": "close"}, strict=False)
            panel = read(panel.drop_nulls("close").filter(pl.col("close") > 0))
            yield name, panel.select("series_id", "time", "close").sort("series_id", "time"), schema


def _whole(panel: pl.DataFrame) -> pl.DataFrame:
    """All series, as they are."""
    return panel


def _longest(panel: pl.DataFrame) -> pl.DataFrame:
    """The shares quoted to the end that have the longest histories, on the exchange's sessions."""
    newest = panel["time"].max()
    lengths = panel.group_by("series_id").agg(pl.len(), last=pl.col("time").max())
    kept = lengths.filter(pl.col("last") == newest).sort(["len", "series_id"], descending=[True, False])
    kept = kept.head(MOST_SERIES)["series_id"]
    panel = panel.filter(pl.col("series_id").is_in(kept.implode())).unique(["series_id", "time"], keep="last")
    return panel.filter(pl.Series(get_calendar("XNYS").is_session(panel["time"])))


READERS: dict[str, tuple[str, Callable[[pl.DataFrame], pl.DataFrame], PanelSchema]] = {
    "ECB rates": ("ecb_fx_daily.parquet", _whole, PanelSchema(calendar="TARGET")),
    "EIA energy": ("eia_energy_spot_daily.parquet", _whole, PanelSchema()),
    "US closes, 26": ("stocks_skfolio20_close_daily.parquet", _whole, PanelSchema(calendar="XNYS")),
    "US shares, 88": ("stocks_stocknet88_daily.parquet", _whole, PanelSchema(calendar="XNYS")),
    "US shares, 30 years": ("stocks_google30y_5pct_daily.parquet", _longest, PanelSchema(calendar="XNYS")),
    "Bitcoin": ("crypto_bitcoin_daily.parquet", _whole, PanelSchema(calendar="24/7")),
    "commodities, monthly": ("commodities_monthly.parquet", _whole, PanelSchema()),
}
