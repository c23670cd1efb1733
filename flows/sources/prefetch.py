"""Rows read from a source before the run that needs them, handed over once so that the source is not read twice."""

from collections.abc import Sequence
from datetime import date

from tidecast.flows.config.settings import Settings
from tidecast.flows.parsing.clear_errors import one_clear_error
from tidecast.flows.parsing.fetched import Fetched
from tidecast.flows.sources.base import Source
from tidecast.flows.sources.opening import open_source

_read: dict[str, tuple[date | None, Fetched]] = {}
"""By the settings' digest: the first day asked for (None: all) and the rows."""


def prefetch(settings: Settings, since: date | None) -> Fetched:
    """Read the source that the settings name, and keep the rows for the next run in this process.

    Parameters
    ----------
    settings : Settings
    since : date or None
        First day; None: all it has.

    Raises
    ------
    SourceError
        As of `read_source`.
    """
    fetched = read_source(open_source(settings), since)
    _read[settings.digest] = since, fetched
    return fetched


def fetch(source: Source, settings: Settings, since: date | None) -> tuple[date | None, Fetched]:
    """Return prefetched rows if they reach back to `since`; else read the source.

    Parameters
    ----------
    source : Source
    settings : Settings
    since : date or None
        First day needed; None: all it has.

    Returns
    -------
    since : date or None
        First day that was asked for.
    fetched : Fetched
    """
    prefetched_since, fetched = _read.pop(settings.digest, (None, None))
    if fetched is not None and (fetched.whole or reaches_back(prefetched_since, since)):
        return prefetched_since, fetched
    return since, read_source(source, since)


def read_source(source: Source, since: date | None, series: Sequence[str] | None = None) -> Fetched:
    """Return a source's rows from a day on; with `series`, at least all rows of these.

    Parameters
    ----------
    source : Source
    since : date or None
        First day; None: all it has.
    series : sequence of str, optional

    Raises
    ------
    SourceError
        It cannot be read, whatever its own code or a library raises.
    """
    with one_clear_error(source.name, "Check that it is still there and that its columns hold what they should."):
        history = None if series is None else getattr(source, "history", None)
        fetched: Fetched = source.fetch(since) if history is None else history(series)
        return fetched


def reaches_back(since: date | None, needed: date | None) -> bool:
    """Whether rows from the day `since` on (None: all) include those from `needed` on.

    Parameters
    ----------
    since : date or None
        The first day of the rows.
    needed : date or None
        None: all days.
    """
    return since is None or (needed is not None and since <= needed)
