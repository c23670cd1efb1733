"""Prices that come with Tidecast: the ECB's euro reference rates and the EIA's energy spot prices."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from tidecast.flows.parsing.fetched import Fetched

_DATA = Path(__file__).resolve().parents[1] / "data"
_FILES = {"ecb": "ecb_fx_daily.parquet", "eia": "eia_energy_spot_daily.parquet"}


@dataclass(frozen=True)
class BundledSource:
    """Prices in flows/data, as published by their source (NOTICE has the terms).

    Parameters
    ----------
    name : {"ecb", "eia"}
        "ecb": units of a currency for one euro, since 1999. "eia": WTI, Brent (USD per barrel), Henry Hub (USD per
        million Btu), since 1986.
    """

    name: str

    def fetch(self, since: date | None = None) -> Fetched:
        """Return its rows, from the day `since` on; None: all.

        Parameters
        ----------
        since : date, optional
        """
        raw = pl.read_parquet(_DATA / _FILES[self.name]).filter(pl.col("date") >= (since or date.min))
        return Fetched(raw.rename({"date": "time", "value": "close"}), raw)
