"""Tables whose column names have two levels, a field and a series, as pandas and yfinance write them.

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
    """Return the column names of a CSV file, and how many of its records are the header.

    Names of two levels are written as in Parquet: "('Close', 'AAPL')".

    Parameters
    ----------
    records : sequence of sequence of str
        The first four, or fewer if there are fewer.
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
    """Whether any of the columns has a name of two levels.

    Parameters
    ----------
    columns : sequence of str
        Names.
    """
    return any(_pair(name) is not None for name in columns)


def one_row_per_series(frame: pl.DataFrame, settings: Settings, source: str) -> tuple[pl.DataFrame, str]:
    """Return the table with a column per field and the series_id column of the settings, and a message on it.

    A series has no row where all its cells are empty; only other series have that session.

    Parameters
    ----------
    frame : polars.DataFrame
        As the source has it.
    settings : Settings
        `series_id`, `target`, `covariates`.
    source : str
        Name of the source in messages.

    Raises
    ------
    SourceError
        No level is a field, or another column has the name of the series_id column.
    """
    pairs: dict[str, Pair] = {name: pair for name in frame.columns if (pair := _pair(name)) is not None}
    single = {name: "".join(pair) for name, pair in pairs.items() if not all(pair)}
    frame = frame.rename(single)
    pairs = {name: pair for name, pair in pairs.items() if all(pair)}
    level = _level_of_fields(list(pairs.values()), settings)
    fields = list(dict.fromkeys(pair[level] for pair in pairs.values())) if level is not None else []
    if level is None:
        raise SourceError(
            f"In names of two levels, one must be a field such as Close, found {shorten(list(pairs))} in {source}. "
            "Name the field with --target, or write a row per series and day."
        )
    others = [name for name in frame.columns if name not in pairs]
    if settings.series_id in (*others, *fields):
        raise SourceError(
            f"The columns of {source} name its series, but {settings.series_id!r} is another column. Leave out "
            "--series-id, or give it a name that no column has."
        )
    parts = []
    for series in dict.fromkeys(pair[1 - level] for pair in pairs.values()):
        own = {name: pair[level] for name, pair in pairs.items() if pair[1 - level] == series}
        part = pl.DataFrame([frame[name].alias(field) for name, field in own.items()], orient="col")
        has_value = pl.Series([False]).new_from_index(0, part.height)
        for values in part:
            has_value = has_value | is_present(values)
        named = pl.Series(settings.series_id, [series]).new_from_index(0, part.height)
        parts.append(pl.DataFrame([*(frame[name] for name in others), named, *part], orient="col").filter(has_value))
    series_ids = list(dict.fromkeys(pair[1 - level] for pair in pairs.values()))
    return stacked(parts), (
        f"{source} has column names of two levels. It is read as the fields {shorten(fields)} of the series "
        f"{shorten(series_ids)}."
    )


def _pair(name: str) -> Pair | None:
    """The two levels of a name that is written as a tuple; None for another name."""
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


def _is_field(name: str, others: Sequence[str] = ()) -> bool:
    return name.lower() in _FIELDS or name in others or bool(optional_columns([name]))


def _level_of_fields(pairs: Sequence[Pair], settings: Settings) -> int | None:
    others = (settings.target, *settings.covariates)
    found = [sum(_is_field(pair[level], others) for pair in pairs) for level in (0, 1)]
    return None if not any(found) else found.index(max(found))


def _filled(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    """The upper header with repeated names filled in: spreadsheets write a name once above several columns."""
    if not all(name.strip() for name in lower[1:]) or not any(upper[1:]):
        return list(upper)
    filled = [upper[1]]
    for name in upper[2:]:
        filled.append(name or filled[-1])
    return [upper[0], *filled]


def _names_the_index(record: Sequence[str], upper: Sequence[str], lower: Sequence[str]) -> bool:
    """Whether a record has only the index's name, below two full header records."""
    name, *rest = record
    is_name = bool(name.strip()) and not any(cell.strip() for cell in rest) and len(rest) == len(upper) - 1
    return is_name and all(upper[1:]) and all(lower[1:]) and not _are_values([name]) and not _are_values(lower[1:])


def _is_second_header(upper: Sequence[str], lower: Sequence[str], below: Sequence[str]) -> bool:
    """Whether the second record is a header too: it has only words, each below or above the name of a field."""
    both = [(up, low) for up, low in zip(upper, lower, strict=True) if up and low]
    if not both or _are_values([low for low in lower if low]) or not _are_values(below):
        return False
    inner = both[1:] if upper[0] and lower[0] else both
    is_field = [all(_is_field(pair[level]) for pair in inner) for level in (0, 1)]
    return bool(inner) and any(is_field)


def _are_values(cells: Sequence[str]) -> bool:
    """Whether any cell is a time, a number or a word for a missing value."""
    text = pl.Series(cells, dtype=pl.String)
    read = dates(text, None)[0].is_not_null() | numbers(text)[0].is_not_null() | ~is_present(text)
    return bool(read.any())


def _as_pairs(upper: Sequence[str], lower: Sequence[str]) -> list[str]:
    return [str((up, low)) if up and low else up or low for up, low in zip(upper, lower, strict=True)]
