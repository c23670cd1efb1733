"""What was read of a source before the run that needs it: handed over once, so that the source is not asked twice."""

from collections.abc import Sequence
from datetime import date

from tidecast.flows.config.settings import Settings
from tidecast.flows.parsing.clear_errors import one_clear_error
from tidecast.flows.parsing.fetched import Fetched
from tidecast.flows.sources.base import Source
from tidecast.flows.sources.opening import open_source

_read: dict[str, tuple[date | None, Fetched]] = {}
"""By the settings' digest: from which day on it was asked (None: for all it has), and what came."""


def look_ahead(settings: Settings, since: date | None) -> Fetched:
    """Read the source that the settings name, and keep what came for the run that follows in this process."""
    fetched = asked(open_source(settings), since)
    _read[settings.digest] = since, fetched
    return fetched


def fetch(source: Source, settings: Settings, since: date | None) -> tuple[date | None, Fetched]:
    """From which day on the source was asked, and what it has: what was read ahead, if that is enough."""
    before, fetched = _read.pop(settings.digest, (None, None))
    if fetched is not None and (fetched.whole or reaches_back(before, since)):
        return before, fetched
    return since, asked(source, since)


def asked(source: Source, since: date | None, series: Sequence[str] | None = None) -> Fetched:
    """What a source has from a day on; with `series`, all it has of these, and what else it cannot leave out.

    Raises
    ------
    SourceError
        It cannot be read, whatever its own code or a library raises.
    """
    with one_clear_error(source.name, "See whether it is still there and whether its columns hold what they should."):
        history = None if series is None else getattr(source, "history", None)
        fetched: Fetched = source.fetch(since) if history is None else history(series)
        return fetched


def reaches_back(asked: date | None, needed: date | None) -> bool:
    """Whether what a source gives from the day `asked` on holds all that is `needed`."""
    return asked is None or (needed is not None and asked <= needed)
