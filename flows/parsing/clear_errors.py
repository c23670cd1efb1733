"""Errors of libraries that read tables, as one clear error."""

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl

from tidecast.features.error_text import ended
from tidecast.flows.errors import SourceError, TidecastError

LONGEST = 300
"""Characters of a library's message that are shown."""


def in_one_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened; its type if it has no message.

    Parameters
    ----------
    error : BaseException
    """
    text = " ".join((str(error).strip().splitlines() or [""])[0].split())
    return f"{text[:LONGEST]} …" if len(text) > LONGEST else text or type(error).__name__


@contextmanager
def one_clear_error(source: str, advice: str) -> Iterator[None]:
    """Turn any error but a `TidecastError` into a `SourceError`.

    A panic of polars is not an `Exception`; handlers of those would let it pass.

    Parameters
    ----------
    source : str
        Name of the source, shown in messages.
    advice : str
        What to do about it.

    Raises
    ------
    SourceError
        The body raised an error that is not a `TidecastError`.
    """
    try:
        yield
    except TidecastError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        raise SourceError(
            f"{source} must be readable as names, times and numbers, but reading it gave {type(error).__name__}: "
            f"{ended(in_one_line(error))} {advice}"
        ) from error
