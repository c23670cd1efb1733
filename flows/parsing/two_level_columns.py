"""Tables with names of two levels, a field and a series in each, as pandas and yfinance write them.

In CSV these are two header rows, which may be followed by a row with the index's name alone:

    Price,Close,Close,Volume,Volume
    Ticker,AAPL,MSFT,AAPL,MSFT
    Date,,,,
    2024-01-02,185.64,370.87,82488700,25258600

In Parquet each column is called like "('Close', 'AAPL')".
"""

import ast
from collections.abc import Sequence

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.fetched import optional_columns
from tidecast.flows.parsing.frames import stacked
from tidecast.flows.parsing.values import dates, is_present, numbers

_FIELDS = ("close", "price", "value")

Pair = tuple[str, str]


def joined_header(records: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """The columns that the first records of a CSV file name, and how many of them are its header.

    Names of two levels come as Parquet has them: "('Close', 'AAPL')".

    Parameters
    ----------
    records : sequence of sequence of str
        The first four, or as many as there are.
    """
    plain = [name.strip() for name in records[0]]
    if len(records) < 2 or len(records[1]) != len(plain) or len(plain) < 2:
        return plain, 1
    upper, lower = _filled(plain, records[1]), [name.strip() for name in records[1]]
    if len(records) > 2 and _names_the_index(records[2], upper, lower):
        return [records[2][0].strip(), *_as_pairs(upper[1:], lower[1:])], 3
    if len(records) > 2 and _is_second_header(upper, lower, records[2]):
        first = upper[0] or lower[0] if not (upper[0] and lower[0]) else lower[0]
        return [first, *_as_pairs(upper[1:], lower[1:])], 2
    return plain, 1


def has_two_levels(columns: Sequence[str]) -> bool:
    """Whether any of the columns has a name of two levels."""
    return any(_pair(name) is not None for name in columns)


def a_row_per_series(frame: pl.DataFrame, settings: Settings, source: str) -> tuple[pl.DataFrame, str]:
    """The table with a column for each field and one, called as the settings say, for the series; and what to tell.

    A series has no row where all of its cells are empty: another one has a session then.

    Raises
    ------
    SourceError
        No level has the name of a field, or the series' column has the name of another one.
    """
    pairs: dict[str, Pair] = {name: pair for name in frame.columns if (pair := _pair(name)) is not None}
    single = {name: "".join(pair) for name, pair in pairs.items() if not all(pair)}
    frame = frame.rename(single)
    pairs = {name: pair for name, pair in pairs.items() if all(pair)}
    level = _level_of_fields(list(pairs.values()), settings)
    fields = list(dict.fromkeys(pair[level] for pair in pairs.values())) if level is not None else []
    if level is None:
        raise SourceError(
            f"Of names of two levels one must be a field such as Close, found {shorten(list(pairs))} in {source}. "
            "Name the field with --target, or write a row per series and day."
        )
    others = [name for name in frame.columns if name not in pairs]
    if settings.series_id in (*others, *fields):
        raise SourceError(
            f"The series of {source} are named by its columns, and {settings.series_id!r} is another column. Leave out "
            "--series-id, or give it a name that no column has."
        )
    parts = []
    for series in dict.fromkeys(pair[1 - level] for pair in pairs.values()):
        own = {name: pair[level] for name, pair in pairs.items() if pair[1 - level] == series}
        part = pl.DataFrame([frame[name].alias(field) for name, field in own.items()])
        there = pl.Series([False]).new_from_index(0, part.height)
        for values in part:
            there = there | is_present(values)
        named = pl.Series(settings.series_id, [series]).new_from_index(0, part.height)
        parts.append(pl.DataFrame([*(frame[name] for name in others), named, *part]).filter(there))
    series_ids = list(dict.fromkeys(pair[1 - level] for pair in pairs.values()))
    return stacked(parts), (
        f"{source} has names of two levels: it is read as the fields {shorten(fields)} of the series "
        f"{shorten(series_ids)}."
    )


def _pair(name: str) -> Pair | None:
    """The two levels of a name that was written as a tuple."""
    if not (name.startswith("(") and name.endswith(")")):
        return None
    try:
        levels = ast.literal_eval(name)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(levels, tuple) or len(levels) != 2 or any(isinstance(level, tuple) for level in levels):
        return None
    first, second = (str(level).strip() for level in levels)
    return (first, second) if first or second else None


def _is_field(name: str, more: Sequence[str] = ()) -> bool:
    return name.lower() in _FIELDS or name in more or bool(optional_columns([name]))


def _level_of_fields(pairs: Sequence[Pair], settings: Settings) -> int | None:
    more = (settings.target, *settings.covariates)
    found = [sum(_is_field(pair[level], more) for pair in pairs) for level in (0, 1)]
    return None if not any(found) else found.index(max(found))


def _filled(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    """The upper header; a spreadsheet writes a name once over several columns."""
    if not all(name.strip() for name in lower[1:]) or not any(upper[1:]):
        return list(upper)
    filled = [upper[1]]
    for name in upper[2:]:
        filled.append(name or filled[-1])
    return [upper[0], *filled]


def _names_the_index(record: Sequence[str], upper: Sequence[str], lower: Sequence[str]) -> bool:
    """Whether a record has the index's name and nothing else, below two that have something everywhere."""
    name, *rest = record
    is_name = bool(name.strip()) and not any(cell.strip() for cell in rest) and len(rest) == len(upper) - 1
    return is_name and all(upper[1:]) and all(lower[1:]) and not _are_values([name]) and not _are_values(lower[1:])


def _is_second_header(upper: Sequence[str], lower: Sequence[str], below: Sequence[str]) -> bool:
    """Whether the second record is a header, too: it has words alone, each below or above the name of a field."""
    both = [(up, low) for up, low in zip(upper, lower, strict=True) if up and low]
    if not both or _are_values([low for low in lower if low]) or not _are_values(below):
        return False
    inner = both[1:] if upper[0] and lower[0] else both
    is_field = [all(_is_field(pair[level]) for pair in inner) for level in (0, 1)]
    return bool(inner) and any(is_field)


def _are_values(cells: Sequence[str]) -> bool:
    """Whether any of these is a time, a number, or a word for a missing one."""
    text = pl.Series(cells, dtype=pl.String)
    read = dates(text, None)[0].is_not_null() | numbers(text)[0].is_not_null() | ~is_present(text)
    return bool(read.any())


def _as_pairs(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    return [str((up, low)) if up and low else up or low for up, low in zip(upper, lower, strict=True)]
