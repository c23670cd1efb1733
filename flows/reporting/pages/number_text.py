"""Numbers, days and names of a page as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date

MOST_NAMED = 40
"""Series in one list."""


def digits_of(width: float, last: float) -> int:
    """Return the decimals that show two digits of an interval's width; without a width, six digits of the price.

    Parameters
    ----------
    width : float
        Of the narrow interval.
    last : float
        The last price.

    Examples
    --------
    >>> digits_of(0.0123, 1.08), digits_of(0.0, 1234.5), digits_of(250.0, 1234.5)
    (3, 2, 0)
    """
    scale, shown = (width, 2) if width > 1e-9 * abs(last) else (abs(last) or 1.0, 6)
    return min(max(0, shown - 1 - math.floor(math.log10(scale))), 290)


def number(value: float, digits: int) -> str:
    """Return a number with thousands separated and a real minus sign.

    Parameters
    ----------
    value : float
    digits : int
        Decimals.

    Examples
    --------
    >>> number(-1234.567, 1)
    '−1,234.6'
    """
    return f"{value:,.{digits}f}".replace("-", "−")


def signed_percent(share: float, digits: int = 0) -> str:
    """Return a change with its sign: "+12 %", "−0.3 %".

    Parameters
    ----------
    share : float
        As a decimal.
    digits : int, default=0
        Decimals.

    Examples
    --------
    >>> signed_percent(0.123), signed_percent(-0.0031, 1), signed_percent(0.001)
    ('+12 %', '−0.3 %', '0 %')
    """
    rounded = round(100 * share, digits)
    text = f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"
    return f"{text.replace('-', '−')} %"


def long_day(day: date) -> str:
    """Return "27 November 2026".

    Parameters
    ----------
    day : date
    """
    return f"{day.day} {day:%B %Y}"


def weekday(time: date) -> str:
    """Return "Mon 23 Nov", followed by the time of day for intraday times.

    Parameters
    ----------
    time : date
    """
    return f"{time:%a} {time.day} {time:%b}" + (f" {time:%H:%M}" if hasattr(time, "hour") else "")


def capital(text: str) -> str:
    """Return a text with a capital first letter.

    Parameters
    ----------
    text : str
    """
    return text[:1].upper() + text[1:]


def named(series: Sequence[str], most: int = MOST_NAMED) -> str:
    """Return the first names of a list, and the number of the others.

    Parameters
    ----------
    series : sequence of str
    most : int, default=40
        Names to show.
    """
    more = f" and {len(series) - most:,} more" if len(series) > most else ""
    return ", ".join(str(name) for name in series[:most]) + more
