"""A large table in temporary files, written piece by piece: the system reads its pages when they are used."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from typing import IO, Any, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

INLINE = 12
"""Bytes of a text that Arrow stores within its view; a longer one lies in a buffer, which the view names."""

BLOCK = 1 << 20
"""Rows whose missing values are noted at a time; a multiple of 8."""


class UnmappableError(TypeError):
    """A column's values are of a type that cannot be mapped from a file."""


def mapped_frame(pieces: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Return the rows of all pieces, in order, each column one array in a temporary file.

    Only one piece is in memory at a time. The files have no names, so that they end with the frame, also when the
    process is killed. They lie in the folder for temporary files (`TMPDIR`), which must be on a disk, not in memory.

    Parameters
    ----------
    pieces : iterable of polars.DataFrame
        At least one, all of one schema: numbers, times and text.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    OSError
        The files cannot be written.
    UnmappableError
        A column is of another type.
    ValueError
        A piece has another schema than the first.

    Examples
    --------
    >>> mapped_frame(pl.DataFrame({"name": [name], "x": [1]}) for name in "ab")["name"].to_list()
    ['a', 'b']
    """
    columns: dict[str, _ColumnFile] = {}
    with ExitStack() as files:
        for piece in pieces:
            columns = columns or {name: _kind_of(dtype)(dtype, files) for name, dtype in piece.schema.items()}
            kinds = {name: column.dtype for name, column in columns.items()}
            if dict(piece.schema) != kinds:
                raise ValueError(f"All pieces must have one schema, got {dict(piece.schema)} after {kinds}.")
            for name, column in columns.items():
                column.append(piece[name])
        return pl.DataFrame([column.mapped().alias(name) for name, column in columns.items()], orient="col")


class _ColumnFile:
    """A column of numbers or times, which grows at its end.

    Parameters
    ----------
    dtype : polars data type
    files : ExitStack
        Closes the files at its end; what was mapped stays.
    """

    def __init__(self, dtype: pl.DataType, files: ExitStack) -> None:
        self.dtype, self.files, self.length, self.has_nulls = dtype, files, 0, False
        self.values, self.known = self._file(), self._file()

    def append(self, column: pl.Series) -> None:
        """Write the values of a piece at the end.

        Parameters
        ----------
        column : polars.Series
        """
        self.length += len(column)
        self.has_nulls |= column.null_count() > 0
        self.known.write(column.is_not_null().to_numpy().data)
        self.values.write(np.ascontiguousarray(self._fixed(column)).data)

    def mapped(self) -> pl.Series:
        """Return the column."""
        known = self._bits() if self.has_nulls else None
        buffers = [known, pa.py_buffer(_pages(self.values)), *self._texts()]
        kind = pl.Series([], dtype=self.dtype).to_arrow(compat_level=pl.CompatLevel.newest()).type
        return cast("pl.Series", pl.from_arrow(pa.Array.from_buffers(kind, self.length, buffers)))

    def _fixed(self, column: pl.Series) -> NDArray[Any]:
        """The values as numbers of a fixed size; any number where one is missing."""
        return column.to_physical().fill_null(0).to_numpy()

    def _texts(self) -> list[pa.Buffer]:
        return []

    def _file(self) -> IO[bytes]:
        return self.files.enter_context(tempfile.TemporaryFile(prefix="tidecast-column-"))

    def _bits(self) -> pa.Buffer:
        """One bit for each value, 0 where it is missing, as Arrow has it."""
        known = np.frombuffer(_pages(self.known), bool)
        bits = self._file()
        for begin in range(0, self.length, BLOCK):
            bits.write(np.packbits(known[begin : begin + BLOCK], bitorder="little").data)
        return pa.py_buffer(_pages(bits))


class _TextFile(_ColumnFile):
    """A column of texts, of which a piece has few different ones, such as names of series."""

    def __init__(self, dtype: pl.DataType, files: ExitStack) -> None:
        super().__init__(dtype, files)
        self.buffers: list[pa.Buffer] = []

    def _fixed(self, column: pl.Series) -> NDArray[Any]:
        """Arrow's views of the texts, of shape (n, 4): length, first bytes, number of the buffer, place in it."""
        texts = column.drop_nulls().unique(maintain_order=True)
        array = pa.array(texts.to_list(), pa.string_view())
        views = np.frombuffer(array.buffers()[1], np.int32)[: 4 * len(texts)].reshape(-1, 4).copy()
        views[views[:, 0] > INLINE, 2] += len(self.buffers)
        self.buffers += array.buffers()[2:]
        views = np.append(views, np.zeros((1, 4), np.int32), axis=0)  # of a missing text
        return views[column.cast(pl.Enum(texts)).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()]

    def _texts(self) -> list[pa.Buffer]:
        return self.buffers


def _kind_of(dtype: pl.DataType) -> type[_ColumnFile]:
    if dtype == pl.String:
        return _TextFile
    if (dtype.is_numeric() and not dtype.is_decimal()) or dtype.is_temporal():
        return _ColumnFile
    raise UnmappableError(f"A column must hold numbers, times or text to be mapped from a file, got {dtype}.")


def _pages(file: IO[bytes]) -> Any:
    """Map what has been written to a file."""
    file.flush()
    size = file.tell()
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b""
