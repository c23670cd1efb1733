"""What a price source is, and what it hands over."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl


@dataclass(frozen=True)
class Fetched:
    """All rows of a source, as they are: nothing is parsed, dropped or sorted yet.

    Parameters
    ----------
    rows : polars.DataFrame
        One row per price, in the source's own types: series_id, time, close; open, high, low, volume where it has them.
    raw : polars.DataFrame
        The same rows under the source's own names, with all its columns.
    layout : str
        "long" or "wide": how the source was read.
    messages : tuple of str
        What a person should be told about how it was read.
    """

    rows: pl.DataFrame
    raw: pl.DataFrame
    layout: str
    messages: tuple[str, ...] = ()

    def originals(self, rows: Sequence[int] | pl.Series) -> list[str]:
        """These rows as JSON text, each value as the text it was, or null."""
        return [
            json.dumps({name: None if value is None else str(value) for name, value in row.items()}, ensure_ascii=False)
            for row in self.raw[rows].to_dicts()
        ]


class Source(Protocol):
    """Something that has prices."""

    @property
    def name(self) -> str:
        """What to call it in a message."""
        ...

    def fetch(self) -> Fetched:
        """All it has.

        Raises
        ------
        SourceError
            It cannot be opened or understood.
        """
        ...
