"""Delta tables in a folder or an object store: their addresses and versions, and reads that open few files."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from tidecast.features.error_text import ended
from tidecast.flows.config.paths import folder_of, refuse_unusable
from tidecast.flows.config.secrets import expand
from tidecast.flows.errors import WarehouseError, is_panic
from tidecast.flows.os_errors import message_of_number, message_of_store
from tidecast.flows.redaction import beginning
from tidecast.flows.warehouse.bucket import Bucket, BucketReference, TablesReference

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BACKTRACE = re.compile(r"\s+0: .*", re.DOTALL)
"""What deltalake adds to some messages: "0: <unknown> 1: <unknown> …"."""

Spans = Sequence[tuple[date, date]]
"""First and last day of each span, both included."""

_UNREADABLE = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""Errors of reading a file. polars panics on some damaged files, and a panic is not an Exception."""

_STORES = ("AWS_", "AZURE_", "GOOGLE_")
"""Prefixes of the environment variables with the credentials and endpoint of an object store."""


class DeltaReader:
    """Tables of one folder or object store, by name, for reading.

    Parameters
    ----------
    uri : str
        Folder, or address of an object store (``s3://bucket/prefix``; credentials, endpoint and region come from
        ``AWS_*``, ``AZURE_*`` and ``GOOGLE_*`` variables). ``${VAR}`` is expanded on connecting only.
    columns : mapping of str to mapping
        Columns of each table, for reading it before it exists.
    part : TablesReference, optional
        Read the tables at these versions, and of a bucket only the rows of its series. Nothing can be written then.

    Raises
    ------
    SettingsError
        On connecting: Delta Lake cannot handle the folder's path, or a variable is not set.
    """

    def __init__(
        self, uri: str, columns: Mapping[str, Mapping[str, pl.DataType]], part: TablesReference | None = None
    ) -> None:
        self.uri, self._columns, self._part = uri, columns, part

    def pinned(self, versions: Mapping[str, int]) -> TablesReference:
        """Return a reference to the tables at these versions, with which another process can read them.

        Parameters
        ----------
        versions : mapping of str to int
        """
        return TablesReference(self._seen_elsewhere(), dict(versions), options=self._options())

    def reference(self, bucket: Bucket, versions: Mapping[str, int], columns: Sequence[str]) -> BucketReference:
        """Return a reference to the rows of some series, with which another process can read them.

        Parameters
        ----------
        bucket : Bucket
            The series.
        versions : mapping of str to int
            Of the tables.
        columns : sequence of str
            Columns of the whole panel.
        """
        uri, options = self._seen_elsewhere(), self._options()
        return BucketReference(uri, dict(versions), tuple(columns), bucket, options=options)

    def _seen_elsewhere(self) -> str:
        """The address, for processes with another environment and another working folder."""
        uri = expand(self.uri, os.environ)
        return uri if (folder := folder_of(uri)) is None else str(folder.absolute())

    @property
    def _bucket(self) -> BucketReference | None:
        """The series that are read; None: all."""
        return self._part if isinstance(self._part, BucketReference) else None

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of all tables, whether they exist or not."""
        return tuple(self._columns)

    def versions(self, names: Iterable[str] | None = None) -> dict[str, int]:
        """Return the newest version of each existing table, of these or of all.

        Parameters
        ----------
        names : iterable of str, optional
            None: all tables.
        """
        return {name: table.version() for name in names or self._columns if (table := self._table(name)) is not None}

    def version(self, name: str) -> int:
        """Return the newest version of a table; 0, which never has rows, if it does not exist.

        Parameters
        ----------
        name : str
        """
        table = self._table(name)
        return 0 if table is None else table.version()

    def _state(self, name: str, version: int | None = None) -> tuple[object, int] | None:
        """What identifies a table's rows: its own id, which a table made anew does not share, and its version."""
        table = self._table(name, version)
        return None if table is None else (table.metadata().id, table.version())

    def height(self, name: str) -> int:
        """Return the number of rows of a table.

        Parameters
        ----------
        name : str
        """
        table = self._table(name)
        return 0 if table is None else int(table.count())

    def folder(self, name: str) -> Path | None:
        """Return the folder of a table, whether it exists or not; None in an object store.

        Parameters
        ----------
        name : str
        """
        return folder_of(self._address(name))

    def files(self, name: str, version: int | None = None) -> pl.DataFrame:
        """Return the files of a version (None: the newest): path, size_bytes, num_records and their statistics.

        Parameters
        ----------
        name : str
            Of the table.
        version : int, optional
        """
        table = self._table(name, version)
        return pl.DataFrame(schema={"path": pl.String}) if table is None else _files(table)

    def rows_in(self, name: str, path: str) -> pl.DataFrame:
        """Read one whole file of a table.

        Parameters
        ----------
        name : str
            Of the table.
        path : str
            As `files` returns it.

        Raises
        ------
        WarehouseError
            The file is missing, damaged, or not readable.
        """
        options: Any = self._options()
        try:
            return pl.read_parquet(f"{self._address(name)}/{path}", glob=False, storage_options=options)
        except _UNREADABLE as error:
            raise WarehouseError(f"{path} of {name} must be readable, but is not: {error}") from error

    def _scan(
        self, name: str, version: int | None = None, column: str = "time", spans: Spans | None = None
    ) -> pl.LazyFrame:
        """Return one version of a table (None: the newest); a table that does not exist is empty.

        Parameters
        ----------
        name : str
        version : int or None
        column : str
            A column of days.
        spans : sequence of (date, date) or None
            Rows outside all of these may be missing: files without any such day are not opened. With one span, only its
            rows are returned.
        """
        table = self._table(name, version)
        if table is None:
            return pl.LazyFrame(schema=self._columns[name])
        return self._rows(table, name, column, spans)

    def _rows(self, table: DeltaTable, name: str, column: str = "time", spans: Spans | None = None) -> pl.LazyFrame:
        """Return the rows of an opened table; see `_scan`."""
        schema = pl.Schema(table.schema())
        files = _files(table)
        if spans is not None:
            low, high = _bound("min", column, files), _bound("max", column, files)
            touched = [(low <= last) & (high >= first) for first, last in spans]
            files = files.filter(reduce(or_, touched, pl.lit(False)).fill_null(True))
        rows = self._in_files(name, files["path"], schema)
        return rows.filter(pl.col(column).is_between(*spans[0])) if spans and len(spans) == 1 else rows

    def _added(self, name: str, version: int) -> pl.LazyFrame:
        """Return the rows of a table that are new or different since that version.

        Only files that one of the two versions has are read. Where a vacuum has removed some of the older version, all
        rows of the newer one's files are returned.
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
        """Return the rows of these files of a table; a column that a file does not have is null."""
        if paths.is_empty():
            return pl.LazyFrame(schema=schema)
        # not scan_delta, which looks for local files under their percent-encoded names
        address = self._address(name)
        rows = pl.scan_parquet(
            [f"{address}/{file}" for file in paths],
            glob=False,
            schema=schema,
            hive_schema={"year": pl.Int32()},
            missing_columns="insert",
            storage_options=self._options(),
        )
        return rows if self._bucket is None or "series_id" not in schema else rows.filter(self._bucket.series)

    def _read(self, rows: pl.LazyFrame, name: str, version: int | None = None) -> pl.DataFrame:
        """Collect a scan, in pieces."""
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
        """Return the least ("min") or greatest ("max") value of a day column, from statistics alone where possible.

        With `before`, a column and a day: only rows in which that column is earlier count.
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
        if self._part is not None and name not in self._part.versions:
            return None
        address, options = self._address(name), self._options()
        try:
            if self._part is not None:
                pinned = self._part.versions[name] if version is None else version
                return DeltaTable(address, version=pinned, storage_options=options)
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
        if (why := message_of_store(str(error))) is not None:
            return WarehouseError(f"{self.uri} must hold readable tables, but reading {name} failed: {ended(why)}")
        why = message_of_number(str(error)) or beginning(_BACKTRACE.sub("", _COLOUR.sub("", str(error))), 300)
        return WarehouseError(
            f"{self.uri} must hold readable tables, but reading {name} failed: {ended(why)} Files that are missing or "
            "damaged, and what can be restored: tidecast doctor --deep"
        )

    def _address(self, name: str) -> str:
        address = self.uri if self._part is not None else expand(self.uri, os.environ)
        folder = folder_of(address)
        if folder is None:
            return f"{address.rstrip('/')}/{name}"
        refuse_unusable(folder)
        return str(folder / name)

    def _options(self) -> dict[str, str] | None:
        """Return credentials and endpoint of the object store from the environment; None for a folder."""
        if self._part is not None:
            return None if self._part.options is None else dict(self._part.options)
        if folder_of(expand(self.uri, os.environ)) is not None:
            return None
        return {name: value for name, value in os.environ.items() if name.startswith(_STORES)}


def _files(table: DeltaTable) -> pl.DataFrame:
    """Return path and statistics of each file of a version."""
    return pl.DataFrame(table.get_add_actions(flatten=True), orient="col")


def _bound(which: str, column: str, files: pl.DataFrame) -> pl.Expr:
    """Return the least ("min") or greatest ("max") day of each file; null where it is not known."""
    name = f"{which}.{column}"
    return pl.col(name).cast(pl.Date) if name in files.columns else pl.lit(None, pl.Date)
