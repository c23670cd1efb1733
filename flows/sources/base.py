"""The protocol of a price source."""

from datetime import date
from typing import Protocol

from tidecast.flows.parsing.fetched import Fetched


class Source(Protocol):
    """A source of prices. Your own class needs only these members: see docs/sources.md.

    It may also have a method ``history(series: Sequence[str]) -> Fetched`` that returns all rows of these series.
    Without it, `fetch(None)` is called for a new series.
    """

    @property
    def name(self) -> str:
        """Its name in messages, without a password."""
        ...

    def fetch(self, since: date | None = None) -> Fetched:
        """Return its rows.

        Parameters
        ----------
        since : date or None
            None: all rows. A day: at least every row of a session from that day on; more do no harm. All are needed
            because corrections are found by reading these sessions again.

        Returns
        -------
        Fetched

        Raises
        ------
        SourceError
            It cannot be opened or understood.
        """
        ...
