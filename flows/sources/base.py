"""The protocol of a price source."""

from datetime import date
from typing import Protocol

from tidecast.flows.parsing.fetched import Fetched


class Source(Protocol):
    """Something that has prices. A class of your own needs no more than this: see docs/sources.md.

    It may have a method ``history(series: Sequence[str]) -> Fetched``, which gives all rows of these series; without
    it, `fetch(None)` is asked for those of a series that is new.
    """

    @property
    def name(self) -> str:
        """What to call it in a message; without a password."""
        ...

    def fetch(self, since: date | None = None) -> Fetched:
        """Its rows.

        Parameters
        ----------
        since : date or None
            None: all it has. A day: at least every row of a session from that day on. More does no harm, less does:
            corrections of those sessions are found by reading them again.

        Raises
        ------
        SourceError
            It cannot be opened or understood.
        """
        ...
