"""Prices in a CSV or Parquet file of one's own."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from flows.errors import SourceError
from flows.settings import Settings
from flows.sources.layout import to_long
from flows.sources.source import Fetched

CSV, PARQUET = (".csv", ".tsv", ".txt"), (".parquet", ".pq")


@dataclass(frozen=True)
class FileSource:
    """One file, long (a row per series and session) or wide (a column per series).

    Parameters
    ----------
    path : Path
        CSV (UTF-8; comma, semicolon, tab or bar between values, decimal points) or Parquet.
    settings : Settings
        What its columns are called, and its layout.
    """

    path: Path
    settings: Settings

    @property
    def name(self) -> str:
        return str(self.path)

    def fetch(self, since: date | None = None) -> Fetched:
        """All of its rows, whatever `since` is: a file is read whole.

        Raises
        ------
        SourceError
            The file is missing, a folder, not readable, empty, of another type or broken, or a column is missing.
        """
        read = _read_parquet if self.path.suffix.lower() in PARQUET else _read_csv
        try:
            self._refuse_unreadable()
            frame = read(self.path)
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.path} must be text in UTF-8, but is not. Save it as UTF-8.") from error
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise SourceError(
                f"{self.path} must be readable, opening it gave: {why}. Check its permissions."
            ) from error
        except (pl.exceptions.PolarsError, csv.Error, ValueError) as error:
            kind = "Parquet" if read is _read_parquet else "CSV"
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SourceError(
                f"{self.path} must be a {kind} file as its name says, but cannot be read: {why}"
            ) from error
        if frame.is_empty():
            raise SourceError(f"{self.path} must have at least one row, got none.")
        return to_long(frame, self.settings, self.path.name)

    def _refuse_unreadable(self) -> None:
        path = self.path
        if path.is_dir():
            raise SourceError(f"A source must be one file, but {path} is a folder. Give the path of a file in it.")
        if not path.exists():
            beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
            near = get_close_matches(path.name, beside, n=1)
            hint = (
                f"Did you mean {near[0]!r}?" if near else "Check the path; relative ones start where you call tidecast."
            )
            raise SourceError(f"A source must exist, but there is no file {path}. {hint}")
        if path.suffix.lower() not in (*CSV, *PARQUET):
            raise SourceError(
                f"A source must be CSV ({', '.join(CSV)}) or Parquet ({', '.join(PARQUET)}), got {path.name!r}. "
                "Save it as one of these."
            )
        if path.stat().st_size == 0:
            raise SourceError(f"{path} must have at least one row, but the file is empty.")


def _read_parquet(path: Path) -> pl.DataFrame:
    with path.open("rb") as file:  # an open file: no path is taken for a pattern
        return pl.read_parquet(file)


def _read_csv(path: Path) -> pl.DataFrame:
    """Every value as text; what it means is decided later, row by row, so that a bad one costs one row."""
    with path.open("rb") as file:
        header = file.readline().decode("utf-8-sig")
        if "\0" in header:
            raise ValueError("it is not text")
        separator = max(",;\t|", key=header.count)
        file.seek(0)
        try:
            frame = pl.read_csv(file, separator=separator, infer_schema=False)
        except pl.exceptions.ComputeError:
            _refuse_long_line(path, separator)
            raise
    names = [name.strip() for name in next(_records(path, separator))[1]]
    if len(names) != frame.width:
        raise ValueError(f"its header has {len(names)} names, and its lines have {frame.width} values")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"column {twice[0]!r} is there twice; rename one")
    frame.columns = names  # those of polars still have their quotes doubled
    return frame


def _refuse_long_line(path: Path, separator: str) -> None:
    """Name the first line with more values than the header. Text that is not UTF-8 raises by itself."""
    width = 0
    for line, values in _records(path, separator):
        width = width or len(values)
        if len(values) > width:
            raise ValueError(
                f"line {line} has {len(values)} values, but its header {width}. Put a value that holds {separator!r} "
                "in double quotes"
            )


def _records(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The number of its last line and the values of each record, the header first; slow, but it counts lines."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator)
        yield from ((reader.line_num, values) for values in reader if values)
