"""Parts of error messages: short lists, near matches, counts, whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return a count with its noun: "1 row", "1,234 rows".

    Parameters
    ----------
    number : int
    one : str
        The noun for one, with its verb if there is one: "row is".
    several : str, optional
        For any other number; by default `one` with an s.

    Examples
    --------
    >>> counted(1, "row"), counted(1234, "row"), counted(2, "row is", "rows are")
    ('1 row', '1,234 rows', '2 rows are')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def ended(text: object) -> str:
    """Return a text, such as another library's message, with a full stop unless it already ends a sentence.

    Parameters
    ----------
    text
    """
    words = str(text).rstrip()
    return words if words.endswith((".", "?", "!", "…")) else f"{words}."


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


def meant(name: object, known: Iterable[str], spelt: Callable[[str], str] = repr) -> str:
    """Return " Did you mean 'x'?", with the space before it, or nothing without a similar name.

    Parameters
    ----------
    name : object
        What was found in place of a known name.
    known : iterable of str
    spelt : callable, optional
        Writes the name as it is written where it belongs; in quotes by default.

    Examples
    --------
    >>> f"head must be 'scale' or 'quantile', got 'scales'.{meant('scales', ['scale', 'quantile'])}"
    "head must be 'scale' or 'quantile', got 'scales'. Did you mean 'scale'?"
    """
    near = near_match(name, known) if isinstance(name, str) else None
    return f" Did you mean {spelt(near)}?" if near else ""


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
