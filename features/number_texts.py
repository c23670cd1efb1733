"""How to turn a column of text into numbers: the end of an error message."""

from __future__ import annotations

import polars as pl

THOUSANDS = r"^[+-]?\d{1,3}(?:[, '\u00a0\u202f]\d{3})+(?:\.\d*)?$"
DECIMAL_COMMA = r"^[+-]?(?:\d+|\d{1,3}(?:[. ]\d{3})+),\d+$"


def how_to_cast(values: pl.Series, pandas: bool) -> str:
    """Return the first text that is not a number, if there is one, and the line that makes the column numbers.

    Parameters
    ----------
    values : Series
        Not of numbers.
    pandas : bool
        Whether the frame is pandas.

    Examples
    --------
    >>> how_to_cast(pl.Series("close", ["1.5"]), pandas=False)
    '. Cast it with .cast(pl.Float64).'
    """
    cast = ".astype(float)" if pandas else ".cast(pl.Float64)"
    odd = pl.Series(dtype=pl.String)
    if values.dtype == pl.String:
        odd = values.filter(values.is_not_null() & values.str.strip_chars().cast(pl.Float64, strict=False).is_null())
    if odd.is_empty():
        return f". Cast it with {cast}."
    found = f", such as {odd[0]!r}. "
    replace = ".str.replace({0}, {1}, regex=False)" if pandas else ".str.replace_all({0}, {1}, literal=True)"
    thousands, decimal_commas = (bool(odd.str.contains(form).all()) for form in (THOUSANDS, DECIMAL_COMMA))
    between = pl.Series([odd[0]]).str.extract(r"^[+-]?\d+(\D)")[0]
    without = f"{replace.format(repr(between), repr(''))}{cast}"
    dots = replace.format(repr("."), repr("")) if odd.str.contains(".", literal=True).any() else ""
    with_points = f"{dots}{replace.format(repr(','), repr('.'))}{cast}"
    if thousands and decimal_commas:
        return f"{found}If the comma separates thousands, write {without}; if it is a decimal comma, {with_points}."
    if thousands:
        return f"{found}Take out the separators first: {without}."
    if decimal_commas:
        return f"{found}Write decimal points first: {with_points}."
    return f"{found}Correct or drop such values ({len(odd)} of {len(values)}), then cast it with {cast}."
