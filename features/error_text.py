"""Parts of error messages: short lists, near matches, whole numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral


def shorten(names: Sequence[object], most: int = 5) -> str:
    """Return the first few names, quoted, and how many more there are.

    Parameters
    ----------
    names : sequence
    most : int, default=5
        Names that are shown.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def ended(text: str) -> str:
    """Return a text with a full stop, unless it already ends as a sentence does.

    Parameters
    ----------
    text : str
    """
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


def near_match(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, ignoring case; None without a similar one.

    Parameters
    ----------
    name : str
    known : iterable of str
    """
    by_lower = {other.lower(): other for other in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[found[0]] if found else None


def check_whole(name: str, value: object, at_least: int) -> None:
    """Check that a parameter is a whole number of at least `at_least`.

    Parameters
    ----------
    name : str
        The parameter.
    value
    at_least : int

    Raises
    ------
    TypeError
        When it is not a whole number.
    ValueError
        When it is smaller.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}.")
    if int(value) < at_least:
        raise ValueError(f"{name} must be at least {at_least}, got {value}.")
