"""A source of prices: files of JSON lines, as exports of many systems are.

A line is ``{"instrument": "USD", "day": "2026-10-30", "bid": 1.1171, "ask": 1.1173}``. The price is the mid.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from tidecast.flows.sources import Fetched


@dataclass
class JsonLines:
    """Prices of ``jsonl://FOLDER``, of all its files.

    Parameters
    ----------
    address : str
        As written after ``--source``.
    settings : Settings or None
        Of the panel; not needed here.
    """

    address: str
    settings: object = None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"the JSON lines of {self.address}"

    def fetch(self, since: date | None = None) -> Fetched:
        """Return all rows, or those of the sessions from a day on.

        Parameters
        ----------
        since : date or None
        """
        folder = Path(self.address.removeprefix("jsonl://"))
        lines = pl.concat([pl.read_ndjson(path) for path in sorted(folder.glob("*.jsonl"))])
        if since is not None:
            lines = lines.filter(pl.col("day") >= since.isoformat())
        mid = (pl.col("bid") + pl.col("ask")) / 2
        return Fetched(lines.select(series_id="instrument", time="day", close=mid), raw=lines)
