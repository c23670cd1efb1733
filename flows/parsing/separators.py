"""Thousands separators of numbers in text, read where the whole column shows which they are."""

from typing import cast

import polars as pl

_BLANKS = r"^[+-]?\d{1,3}(?:[\s'’]\d{3})+(?:\.\d+)?$"
_COMMAS = r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?$"
_SURE = r"^[+-]?[1-9]\d{0,2}(?:(?:,\d{3})+\.\d+|(?:,\d{3}){2,})$"
"""Commas that cannot be a decimal comma: a decimal point follows, or a second comma."""

_HUNDREDS = r"^[+-]?\d{1,3}$"
_FEWEST = 3
"""Values with a comma, and without one, that must agree before a comma is taken for a separator."""

_DECIMAL_COMMA = r"^[+-]?[\d.]*\d,\d+$"
_POINT = r"^[+-]?\d*\.\d+(?:[eE][+-]?\d+)?$"
_POINT_OR_GROUP = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+$"
"""A point before three digits: in a column with decimal commas it separates thousands."""

_POINTS = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3}){2,}$"
"""Points that cannot be decimal, because there are two."""

_FIRST = 1000
"""Values looked at before all are: where a point must be decimal, one of these almost always shows it."""


def without_separators(text: pl.Series) -> pl.Series:
    """Remove thousands separators from numbers in text; a text that could be two numbers becomes null.

    - Blanks and apostrophes between groups of three digits separate thousands.
    - Commas do where a decimal point or a second comma follows. "1,234" alone could be 1.234. It is 1234 only if
      another value of the column shows that commas separate thousands or that points are decimal, or if the whole
      numbers below 1,000 go on above it ("999", "1,002"), and no value has a decimal comma.
    - "1.234" becomes null in a column in which no point must be decimal, if the column has decimal commas, or a second
      point ("1.234.567"), or if its whole numbers below 1,000 go on above it ("999", "1.002").

    Decimal commas are never read, and neither are points between thousands.

    Parameters
    ----------
    text : Series of str
    """
    if not text.str.contains(r"[,\s'’]").any():
        return _without_points_between_thousands(text)
    blanks = text.str.contains(_BLANKS)
    text = text.to_frame("text").select(pl.when(blanks).then(_stripped(r"[\s'’]")).otherwise("text")).to_series()
    groups, sure = text.str.contains(_COMMAS), text.str.contains(_SURE)
    has_decimal_commas = (text.str.contains(_DECIMAL_COMMA) & ~groups).any()
    either = text.str.contains(_POINT_OR_GROUP)
    has_points = sure.any() or (text.str.contains(_POINT) & ~either).any() or _go_on_above_1000(text, groups, ",")
    readable = groups if has_points and not has_decimal_commas else sure
    unsure = either if has_decimal_commas and not has_points else pl.Series([False])
    if not unsure.any() and not has_points:
        text = _without_points_between_thousands(text)
    number = pl.when(readable).then(_stripped(",")).otherwise("text")
    return text.to_frame("text").select(pl.when(~unsure).then(number).alias("text")).to_series()


def _without_points_between_thousands(text: pl.Series) -> pl.Series:
    """Replace "1.234" by null where the column shows that its points separate thousands."""
    if _has_decimal_point(text.head(_FIRST)):
        return text
    either = text.str.contains(_POINT_OR_GROUP)
    if not either.any() or _has_decimal_point(text):
        return text
    if not text.str.contains(_POINTS).any() and not (_go_on_above_1000(text, either, ".") and _touch(text, either)):
        return text
    return text.to_frame("text").select(pl.when(~either).then("text")).to_series()


def _touch(text: pl.Series, either: pl.Series) -> bool:
    """Whether the least number with points, read as thousands, is near the largest without.

    In a table of "134" yen and "1.085" euros it is not.
    """
    largest = cast(float, text.filter(~either).cast(pl.Float64).abs().max())
    least = text.filter(either).str.replace_all(".", "", literal=True).cast(pl.Float64).abs().min()
    return cast(float, least) <= 2 * largest


def _has_decimal_point(text: pl.Series) -> bool:
    return bool((text.str.contains(_POINT) & ~text.str.contains(_POINT_OR_GROUP)).any())


def _go_on_above_1000(text: pl.Series, groups: pl.Series, separator: str) -> bool:
    """Whether all numbers without the separator are whole, in the hundreds, and a tenth or more of those with one.

    If it were decimal, the others would be hundreds of times smaller than these.
    """
    plain = text.filter(~groups).drop_nulls()
    if min(len(plain), groups.sum()) < _FEWEST or not plain.str.contains(_HUNDREDS).all():
        return False
    usual = cast(float, plain.cast(pl.Float64).abs().median())
    separated = text.filter(groups).str.replace_all(separator, "", literal=True).cast(pl.Float64).abs()
    return usual >= 100 and cast(float, separated.median()) <= 10 * usual


def _stripped(pattern: str) -> pl.Expr:
    return pl.col("text").str.replace_all(pattern, "")
