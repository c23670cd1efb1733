"""What the libraries that read tables raise, as one clear error."""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from tidecast.flows.errors import SourceError, TidecastError

LONGEST = 300
"""Characters of a library's message that are shown."""


def in_one_line(error: BaseException) -> str:
    """What an error says, in its first line, shortened; else its kind."""
    said = " ".join((str(error).strip().splitlines() or [""])[0].split())
    return f"{said[:LONGEST]} …" if len(said) > LONGEST else said or type(error).__name__


@contextmanager
def one_clear_error(source: str, advice: str) -> Iterator[None]:
    """Let what the body raises leave it as a SourceError, unless it is an error of ours.

    Polars panics with an exception that is not an `Exception`: it would pass each handler on its way out.

    Parameters
    ----------
    source : str
        What is read, for the message.
    advice : str
        What to do about it.

    Raises
    ------
    SourceError
        Anything else than an error of ours was raised.
    """
    try:
        yield
    except TidecastError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        raise SourceError(
            f"{source} must be readable as names, times and numbers, but reading it gave {type(error).__name__}: "
            f"{in_one_line(error)}. {advice}"
        ) from error
