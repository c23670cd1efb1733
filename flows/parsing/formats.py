"""Read the bytes of a CSV or Parquet file as a data frame; values of CSV stay text."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from itertools import islice

import polars as pl

from tidecast.features.error_text import counted, ended
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.clear_errors import in_one_line
from tidecast.flows.parsing.two_level_columns import joined_header
from tidecast.flows.parsing.utc_offsets import parquet_table

CSV, PARQUET = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
_BROKEN = (
    pl.exceptions.PolarsError, pl.exceptions.PanicException, csv.Error, zlib.error,
    ValueError, TypeError, OSError, EOFError, OverflowError,
)  # fmt: skip
SUFFIXES = (*CSV, *PARQUET, *(f"{suffix}.gz" for suffix in CSV))


class _Malformed(ValueError):
    """A fault of a file, with advice in its message."""


def table_of(body: bytes, name: str, format_from: str = "its name") -> pl.DataFrame:
    """Return the table in a file.

    Parameters
    ----------
    body : bytes
        Contents of the file.
    name : str
        Its ending gives the format; ".csv.gz" is unpacked.
    format_from : str
        What says that the file has this format, for messages.

    Raises
    ------
    SourceError
        It has no rows, is not of the format its name says, is broken, or is not UTF-8.
    """
    lower = name.lower()
    is_parquet = lower.endswith(PARQUET)
    if not body:
        raise SourceError(f"{name} must have at least one row, but the file is empty.")
    try:
        body = gzip.decompress(body) if lower.endswith(".gz") else body
        frame = parquet_table(body) if is_parquet else _csv(body)
    except UnicodeDecodeError as error:
        raise SourceError(f"{name} must be text in UTF-8, but is not. Save it as UTF-8.") from error
    except _BROKEN as error:
        kind = "Parquet" if is_parquet else "CSV"
        advice = "" if isinstance(error, _Malformed) else " Write the file again."
        why = ended(in_one_line(error))
        raise SourceError(
            f"{name} must be a {kind} file as {format_from} says, but cannot be read: {why}{advice}"
        ) from error
    if frame.is_empty():
        raise SourceError(f"{name} must have at least one row, got none.")
    return frame


def _csv(body: bytes) -> pl.DataFrame:
    """The table with every value as text. Values are read later, one by one, so that a bad one costs one row."""
    header = body.split(b"\n", 1)[0].decode("utf-8-sig")
    if "\0" in header:
        raise _Malformed("it is not text. Save it as CSV in UTF-8")
    if header.lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        raise _Malformed(f"it begins with {header.strip()[:15]!r}, so it is a page or XML. Download the table itself")
    separator = max(",;\t|", key=header.count)
    names, rows = joined_header([values for _, values in islice(_records(body, separator), 4)])
    try:
        frame = pl.read_csv(
            body, separator=separator, infer_schema=False, has_header=rows == 1, skip_rows=0 if rows == 1 else rows
        )
    except pl.exceptions.ComputeError:
        _refuse_long_line(body, separator)
        raise
    if len(names) != frame.width:
        raise _Malformed(
            f"its header has {counted(len(names), 'name')}, and its lines have {counted(frame.width, 'value')}. "
            "Give each column one name"
        )
    if twice := [name for name in names if names.count(name) > 1]:
        raise _Malformed(f"column {twice[0]!r} is there twice. Rename one")
    frame.columns = names  # the names that polars read still have doubled quotes
    return frame


def _refuse_long_line(body: bytes, separator: str) -> None:
    """Raise an error that names the first line with more values than the header, or that text is not UTF-8."""
    width = 0
    for line, values in _records(body, separator):
        width = width or len(values)
        if len(values) > width:
            if width == 1:
                raise _Malformed(
                    f"line {line} has {counted(len(values), 'value')}, but the first line has one. Remove the lines "
                    "above the names of the columns"
                )
            raise _Malformed(
                f"line {line} has {counted(len(values), 'value')}, but the header has {width}. Put values that contain "
                f"{separator!r} in double quotes"
            )


def _records(body: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line and values of each record, the header first. Slow, but it counts lines."""
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", newline=""), delimiter=separator)
    yield from ((reader.line_num, values) for values in reader if values)
