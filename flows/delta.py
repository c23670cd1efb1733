"""Delta tables in a folder or an object store: scan, merge, overwrite, compact, vacuum. The only Delta code.

Every table is partitioned by `year`, a real column. Every write names its years, and the range of a day column, as
literals, and every read that can names days: files that hold none of them are left alone by their statistics. On keys
alone Delta would read and rewrite the whole table.
"""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import reduce
from operator import or_
from typing import Any, TypeVar

import polars as pl
from deltalake import DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from flows.errors import WarehouseError
from flows.folders import folder_of, refuse_unusable
from flows.secrets import expand

Spans = Sequence[tuple[date, date]]
"""First and last day, both included."""

_ATTEMPTS = 30
_GROUP = 131_072
"""Rows in a row group: what is read at once, and left out at once when none of its days is asked for."""

_STORES = ("AWS_", "AZURE_", "GOOGLE_")
"""Beginnings of the environment variables that say how an object store is reached."""

_KEEP_LOGS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
"""By default the log of old versions is cleared after a month, and those versions could not be read again."""

Result = TypeVar("Result")


class DeltaTables:
    """Tables of one place, by name. A write that loses a race looks at the table again and retries.

    In an object store, as in a folder, the next version's file is created only if it is not there (a conditional put),
    so that of two writers one wins; a store that cannot do that must not be written to by several.

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

    def versions(self) -> dict[str, int]:
        """The version each existing table is at now."""
        return {name: table.version() for name in self._columns if (table := self._table(name)) is not None}

    def height(self, name: str) -> int:
        """How many rows a table has."""
        table = self._table(name)
        return 0 if table is None else int(table.count())

    # reading

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
        schema = pl.Schema(table.schema())
        files = _files(table)
        if spans is not None:
            low, high = _bound("min", column, files), _bound("max", column, files)
            touched = [(low <= last) & (high >= first) for first, last in spans]
            files = files.filter(reduce(or_, touched, pl.lit(False)).fill_null(True))
        if files.is_empty():
            return pl.LazyFrame(schema=schema)
        # no paths that scan_delta makes: it looks for local files under their percent-encoded names
        address = self._address(name)
        rows = pl.scan_parquet(
            [f"{address}/{file}" for file in files["path"]],
            glob=False,
            schema=schema,
            hive_schema={"year": pl.Int32()},
            missing_columns="insert",
            storage_options=self._options(),
        )
        return rows.filter(pl.col(column).is_between(*spans[0])) if spans and len(spans) == 1 else rows

    def _read(self, rows: pl.LazyFrame, name: str, version: int | None = None) -> pl.DataFrame:
        """What a scan gives, read in pieces."""
        try:
            return rows.collect(engine="streaming")
        except (OSError, pl.exceptions.ComputeError) as error:
            if version is None:
                raise WarehouseError(f"{self.uri} must hold readable tables, reading {name} failed: {error}") from error
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

    # writing

    def _commit(self, name: str, attempt: Callable[[], Result]) -> Result:
        """Every write. `attempt` looks at the table and makes one Delta commit or none; a lost race is tried again."""
        for trial in range(_ATTEMPTS):
            try:
                return attempt()
            except DeltaError as error:
                if not isinstance(error, CommitFailedError) and "already exists" not in str(error):
                    raise WarehouseError(f"Writing {name} to {self.uri} failed: {error}") from error
                time.sleep(random.uniform(0, min(0.05 * 2**trial, 2.0)))
            except OSError as error:
                raise WarehouseError(f"{self.uri} must be writable, writing {name} failed: {error}") from error
        raise WarehouseError(f"Writing {name} to {self.uri} lost {_ATTEMPTS} races to other writers. Run again.")

    def _merge(
        self, name: str, rows: pl.DataFrame, key: Sequence[str], replace: Sequence[str] = (), day: str | None = None
    ) -> int:
        """Add rows whose key is not there; a row whose key is there, with other `replace` values, takes its place.

        `day` is a column of days in the key: only files that hold a day between its first and last are looked at.
        Columns that the table does not have are added to it.
        """
        if rows.is_empty():
            return 0
        years = ", ".join(str(year) for year in sorted(rows["year"].unique()))
        literals, spans = f"t.year IN ({years})", None
        if day is not None:
            first, last = rows.select(low=pl.col(day).min(), high=pl.col(day).max()).row(0)
            spans = [(first, last)]
            literals += f" AND t.{day} >= DATE '{first}' AND t.{day} <= DATE '{last}'"
        matches = f"{literals} AND " + " AND ".join(f"t.{column} = s.{column}" for column in key)
        identical = [*key, *replace]

        def attempt() -> int:
            there = self._scan(name, column=day or "time", spans=spans)
            _refuse_other_types(name, rows, there)
            there = there.filter(pl.col("year").is_in(rows["year"].unique().implode()))
            missing = [
                pl.lit(None, rows.schema[name]).alias(name) for name in replace if name not in there.collect_schema()
            ]
            same = self._read(there.with_columns(missing).select(identical).join(
                rows.lazy().select(identical), on=identical, how="semi", nulls_equal=True), name)  # fmt: skip
            new = rows.join(same, on=identical, how="anti", nulls_equal=True)
            if new.is_empty():
                return 0
            merge = self._made(name, new).merge(
                new, matches, source_alias="s", target_alias="t", merge_schema=True,
                writer_properties=_writer(), post_commithook_properties=_KEEP_LOGS,
            )  # fmt: skip
            if replace:
                merge = merge.when_matched_update_all()
            merge.when_not_matched_insert_all().execute()
            return new.height

        return self._commit(name, attempt)

    def _overwrite(self, name: str, rows: pl.DataFrame, as_of: date) -> None:
        write_deltalake(
            self._made(name, rows),
            rows,
            mode="overwrite",
            predicate=_only(as_of),
            schema_mode="merge",
            post_commithook_properties=_KEEP_LOGS,
        )

    def _delete(self, name: str, as_of: date | None = None) -> None:
        if (table := self._table(name)) is not None:
            table.delete(None if as_of is None else _only(as_of), post_commithook_properties=_KEEP_LOGS)

    # upkeep

    def compact(self, name: str) -> int:
        """Join small files, in one commit or none; returns how many files went. No row changes."""
        if self._table(name) is None:
            return 0

        def attempt() -> int:
            table = self._table(name)
            assert table is not None
            done = table.optimize.compact(writer_properties=_writer(), post_commithook_properties=_KEEP_LOGS)
            return int(done["numFilesRemoved"])

        return self._commit(name, attempt)

    def vacuum(self, name: str, keep: Sequence[int], unused_for: timedelta) -> int:
        """Remove files that no version in `keep` needs, nor the newest one; returns how many are gone, now or before.

        Only files that have been out of use, or were left behind by a killed writer, for `unused_for` or longer.
        """
        table = self._table(name)
        if table is None:
            return 0
        hours = int(unused_for.total_seconds() // 3600)
        kept = sorted({*keep, table.version()})
        removed = table.vacuum(
            hours, dry_run=False, enforce_retention_duration=False, full=True, keep_versions=kept,
            post_commithook_properties=_KEEP_LOGS,
        )  # fmt: skip
        return len(removed)

    # tables

    def _made(self, name: str, rows: pl.DataFrame) -> DeltaTable:
        """The table, made without rows if it is not there: Delta lets several writers append to one they all create."""
        if (table := self._table(name)) is None:
            address, options = self._address(name), self._options()
            write_deltalake(address, rows.clear(), mode="ignore", partition_by=["year"], storage_options=options)
            table = DeltaTable(address, storage_options=options)
        return table

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
            raise WarehouseError(f"{self.uri} must hold readable tables, reading {name} failed: {error}") from error
        raise WarehouseError(f"A version of {name} must lie between 0 and {newest.version()}, got {version}.")

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
    return pl.DataFrame(table.get_add_actions(flatten=True))


def _bound(which: str, column: str, files: pl.DataFrame) -> pl.Expr:
    """The least or greatest day of each file; null where it is not known."""
    name = f"{which}.{column}"
    return pl.col(name).cast(pl.Date) if name in files.columns else pl.lit(None, pl.Date)


def _refuse_other_types(name: str, rows: pl.DataFrame, there: pl.LazyFrame) -> None:
    for column, kind in there.collect_schema().items():
        if column in rows.columns and rows.schema[column] != kind:
            raise WarehouseError(
                f"The column {column!r} of {name} must stay {kind}, got {rows.schema[column]}. Convert it, or give it "
                "another name."
            )


def _writer() -> WriterProperties:
    return WriterProperties(max_row_group_size=_GROUP)


def _only(as_of: date) -> str:
    return f"year = {as_of.year} AND as_of = '{as_of.isoformat()}'"
