"""Delta tables in a folder or an object store: where they are, their versions, and reading no more than is needed."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from tidecast.flows.config.paths import folder_of, refuse_unusable
from tidecast.flows.config.secrets import expand
from tidecast.flows.errors import WarehouseError, is_panic

Spans = Sequence[tuple[date, date]]
"""First and last day, both included."""

_UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""Failures on reading a file. polars panics on some damaged ones, and a panic is not an Exception."""

_STORES = ("AWS_", "AZURE_", "GOOGLE_")
"""Beginnings of the environment variables that say how an object store is reached."""


class DeltaReader:
    """Tables of one place, by name, to be read.

    Parameters
    ----------
    uri : str
        Folder, or address of an object store (``s3://bucket/prefix``; credentials, endpoint and region come from
        ``AWS_*``, ``AZURE_*`` and ``GOOGLE_*`` variables). ``${VAR}`` is expanded on connecting only.
    columns : mapping of str to mapping
        Columns of each table, as long as it is not there.

    Raises
    ------
    SettingsError
        On connecting: the folder's path holds what Delta Lake cannot have in it, or a variable is not set.
    """

    def __init__(self, uri: str, columns: Mapping[str, Mapping[str, pl.DataType]]) -> None:
        self.uri, self._columns = uri, columns

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of all tables, whether they are there or not."""
        return tuple(self._columns)

    def versions(self, names: Iterable[str] | None = None) -> dict[str, int]:
        """The version each existing table, of these or of all, is at now."""
        return {name: table.version() for name in names or self._columns if (table := self._table(name)) is not None}

    def version(self, name: str) -> int:
        """The version a table is at now; 0, which never has rows, when it is not there."""
        table = self._table(name)
        return 0 if table is None else table.version()

    def height(self, name: str) -> int:
        """How many rows a table has."""
        table = self._table(name)
        return 0 if table is None else int(table.count())

    def folder(self, name: str) -> Path | None:
        """The folder of a table, whether it is there or not; None in an object store."""
        return folder_of(self._address(name))

    def files(self, name: str, version: int | None = None) -> pl.DataFrame:
        """The files of a version of a table (None: the newest): path, size_bytes, num_records and their statistics."""
        table = self._table(name, version)
        return pl.DataFrame(schema={"path": pl.String}) if table is None else _files(table)

    def rows_in(self, name: str, path: str) -> pl.DataFrame:
        """Every row of one file of a table, read whole.

        Raises
        ------
        WarehouseError
            It is missing, damaged, or may not be read.
        """
        options: Any = self._options()
        try:
            return pl.read_parquet(f"{self._address(name)}/{path}", glob=False, storage_options=options)
        except _UNREADABLE as error:
            raise WarehouseError(f"{path} of {name} must be readable, but is not: {error}") from error

    def _scan(
        self, name: str, version: int | None = None, column: str = "time", spans: Spans | None = None
    ) -> pl.LazyFrame:
        """One version of a table (None: the newest); one that is not there yet is empty.

        Parameters
        ----------
        name : str
        version : int or None
        column : str
            A column of days.
        spans : sequence of (date, date) or None
            Rows outside all of these need not be given: files without any such day are not opened, and where there is
            one span its rows are the only ones.
        """
        table = self._table(name, version)
        if table is None:
            return pl.LazyFrame(schema=self._columns[name])
        return self._rows(table, name, column, spans)

    def _rows(self, table: DeltaTable, name: str, column: str = "time", spans: Spans | None = None) -> pl.LazyFrame:
        """As `_scan`, of a table at hand."""
        schema = pl.Schema(table.schema())
        files = _files(table)
        if spans is not None:
            low, high = _bound("min", column, files), _bound("max", column, files)
            touched = [(low <= last) & (high >= first) for first, last in spans]
            files = files.filter(reduce(or_, touched, pl.lit(False)).fill_null(True))
        rows = self._in_files(name, files["path"], schema)
        return rows.filter(pl.col(column).is_between(*spans[0])) if spans and len(spans) == 1 else rows

    def _added(self, name: str, version: int) -> pl.LazyFrame:
        """The rows of a table that it did not have at that version, or had otherwise.

        Only files that are of one of the two and not of both are read. Where some were removed by a vacuum since, all
        rows of the others are given.
        """
        table = self._table(name)
        if table is None:
            return pl.LazyFrame(schema=self._columns[name])
        schema = pl.Schema(table.schema())
        now = _files(table)["path"]
        before = _files(self._table(name, version) or table)["path"]
        rows = self._in_files(name, now.filter(~now.is_in(before.implode())), schema)
        gone = self._in_files(name, before.filter(~before.is_in(now.implode())), schema)
        try:
            there = self._read(gone, name, version)
        except WarehouseError:
            return rows
        return rows.join(there.lazy(), on=list(schema), how="anti", nulls_equal=True)

    def _in_files(self, name: str, paths: pl.Series, schema: pl.Schema) -> pl.LazyFrame:
        """The rows of these files of a table; a column that a file does not have reads as null."""
        if paths.is_empty():
            return pl.LazyFrame(schema=schema)
        # no paths that scan_delta makes: it looks for local files under their percent-encoded names
        address = self._address(name)
        return pl.scan_parquet(
            [f"{address}/{file}" for file in paths],
            glob=False,
            schema=schema,
            hive_schema={"year": pl.Int32()},
            missing_columns="insert",
            storage_options=self._options(),
        )

    def _read(self, rows: pl.LazyFrame, name: str, version: int | None = None) -> pl.DataFrame:
        """What a scan gives, read in pieces."""
        try:
            return rows.collect(engine="streaming")
        except _UNREADABLE as error:
            if version is None:
                raise self._unreadable(name, error) from error
            raise WarehouseError(
                f"Version {version} of {name} must still have its files, but some were removed by a vacuum, which "
                f"keeps the versions that `runs` names. Read a newer version; the newest is {self.versions()[name]}."
            ) from error

    def _extreme(self, name: str, column: str, which: str = "max", before: tuple[str, date] | None = None) -> Any:
        """The least ("min") or greatest ("max") value of a day column, by statistics alone where that can be.

        With `before`, a column and a day: of the rows in which that column is earlier.
        """
        table = self._table(name)
        if table is None:
            return None
        files = _files(table).filter(pl.col("num_records") > 0)
        known = _bound(which, column, files).is_not_null()
        if before is not None:
            by, day = before
            files = files.filter((_bound("min", by, files) < day).fill_null(True))
            known &= (_bound("max", by, files) < day).fill_null(False)
        values = files.filter(known).select(_bound(which, column, files).alias(column))[column]
        if rest := [f"{self._address(name)}/{file}" for file in files.filter(~known)["path"]]:
            options: Any = self._options()
            rows = pl.scan_parquet(rest, glob=False, hive_partitioning=False, storage_options=options)
            if before is not None:
                rows = rows.filter(pl.col(before[0]) < before[1])
            values = pl.concat([values, self._read(rows.select(column), name)[column]])
        return values.max() if which == "max" else values.min()

    def _table(self, name: str, version: int | None = None) -> DeltaTable | None:
        address, options = self._address(name), self._options()
        try:
            if not DeltaTable.is_deltatable(address, options):
                return None
            newest = DeltaTable(address, storage_options=options)
            if version is None or version == newest.version():
                return newest
            if 0 <= version < newest.version():
                return DeltaTable(address, version=version, storage_options=options)
        except (DeltaError, OSError) as error:
            raise self._unreadable(name, error) from error
        except BaseException as error:
            if not is_panic(error):
                raise
            raise self._unreadable(name, error) from error
        raise WarehouseError(f"A version of {name} must lie between 0 and {newest.version()}, got {version}.")

    def _unreadable(self, name: str, error: BaseException) -> WarehouseError:
        why = " ".join(str(error).split())[:300]
        return WarehouseError(
            f"{self.uri} must hold readable tables, reading {name} failed: {why}. Files that are missing or damaged, "
            "and what can be restored: tidecast doctor --deep"
        )

    def _address(self, name: str) -> str:
        folder = folder_of(address := expand(self.uri, os.environ))
        if folder is None:
            return f"{address.rstrip('/')}/{name}"
        refuse_unusable(folder)
        return str(folder / name)

    def _options(self) -> dict[str, str] | None:
        """How the object store is reached, from the environment; None for a folder."""
        if folder_of(expand(self.uri, os.environ)) is not None:
            return None
        return {name: value for name, value in os.environ.items() if name.startswith(_STORES)}


def _files(table: DeltaTable) -> pl.DataFrame:
    """Path and statistics of each file of a version."""
    return pl.DataFrame(table.get_add_actions(flatten=True), orient="col")


def _bound(which: str, column: str, files: pl.DataFrame) -> pl.Expr:
    """The least or greatest day of each file; null where it is not known."""
    name = f"{which}.{column}"
    return pl.col(name).cast(pl.Date) if name in files.columns else pl.lit(None, pl.Date)
