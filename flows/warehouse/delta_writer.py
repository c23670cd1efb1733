"""Write Delta tables: merge, replace, compact, vacuum. `tidecast.flows.warehouse.delta_reader` reads them.

Every table is partitioned by `year`, a real column. Writes name their years, and the range of a day column, as
literals, and reads name days where they can: statistics then exclude the other files. With keys alone, Delta would
read and rewrite the whole table.

A write reads one version of its table and makes the next one, or none. By default, Delta would also commit it after
versions that it has not read, if their files seem to hold other rows.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, TypeVar

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from tidecast.features.error_text import ended
from tidecast.flows.errors import WarehouseError, is_panic
from tidecast.flows.os_errors import message_of, message_of_store
from tidecast.flows.redaction import beginning
from tidecast.flows.warehouse.checksums import forget_removed, seal
from tidecast.flows.warehouse.delta_reader import DeltaReader

_ATTEMPTS = 30
_GROUP = 131_072
"""Rows in a row group, the unit that a read takes or skips."""

_KEEP_LOGS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
"""Keep the log of old versions, which Delta by default removes after a month, so that they stay readable."""

Result = TypeVar("Result")


class TableChanged(WarehouseError):
    """A table is no longer at the version that a write is based on."""


class DeltaTables(DeltaReader):
    """Tables of one folder or object store, by name. A write that loses a race reads the table again and retries.

    The file of the next version is created only if it does not exist (in an object store: a conditional put), so one of
    two writers wins. A store without conditional puts must have one writer only.
    """

    def _commit(self, name: str, attempt: Callable[[], Result]) -> Result:
        """Run a write, again after a lost race, and seal its files.

        `attempt` reads the table and makes one Delta commit, or none and returns 0 or False.
        """
        assert self._part is None, "the tables of a bucket are for reading"
        for trial in range(_ATTEMPTS):
            try:
                done = attempt()
                if done and (folder := self.folder(name.split()[0])) is not None:
                    seal(folder, self.files(folder.name)["path"].to_list())
                return done
            except DeltaError as error:
                if not isinstance(error, CommitFailedError) and "already exists" not in str(error):
                    raise self._unwritable(name, message_of_store(str(error)) or beginning(str(error), 300)) from error
                time.sleep(random.uniform(0, min(0.05 * 2**trial, 2.0)))
            except OSError as error:
                raise self._unwritable(name, message_of(error)) from error
            except BaseException as error:
                if not is_panic(error):
                    raise
                raise self._unwritable(name, message_of_store(str(error)) or beginning(str(error), 300)) from error
        raise WarehouseError(f"Writing {name} to {self.uri} lost {_ATTEMPTS} races to other writers. Run again.")

    def _unwritable(self, name: str, why: str) -> WarehouseError:
        if "No space left" in why or "os error 28" in why:
            why = "the disk is full. Make room, then run again"
        return WarehouseError(
            f"{self.uri} must be writable, but writing {name} failed: {ended(why)} Nothing is half-written."
        )

    def _merge(
        self,
        name: str,
        rows: pl.DataFrame,
        key: Sequence[str],
        replace: Sequence[str] = (),
        day: str | None = None,
        version: int | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> int:
        """Add rows with new keys; replace rows with the same key and other `replace` values. Return how many rows.

        Columns that the table does not have are added to it.

        Parameters
        ----------
        name : str
        rows : polars.DataFrame
        key : sequence of str
        replace : sequence of str
            Columns whose changes replace a row; empty: stored rows stay.
        day : str or None
            A column of days in the key: only files with a day between its first and last are read.
        version : int or None
            The version that the rows are based on.
        notes : mapping or None
            Stored with the commit, see `_notes`.

        Raises
        ------
        TableChanged
            The table is not at `version`.
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
            table = self._opened(name, rows)
            if version is not None and table.version() != version:
                raise TableChanged(f"{name} must be at version {version}, but is at {table.version()}.")
            there = self._rows(table, name, day or "time", spans)
            _refuse_other_types(name, rows, there)
            there = there.filter(pl.col("year").is_in(rows["year"].unique().implode()))
            missing = [
                pl.lit(None, rows.schema[name]).alias(name) for name in replace if name not in there.collect_schema()
            ]
            same = self._read(there.with_columns(missing).select(identical).join(
                rows.lazy().select(identical), on=identical, how="semi", nulls_equal=True), name)  # fmt: skip
            new = rows if same.is_empty() else rows.join(same, on=identical, how="anti", nulls_equal=True)
            if new.is_empty():
                return 0
            merge = table.merge(
                new, matches, source_alias="s", target_alias="t", merge_schema=True, writer_properties=_writer(),
                commit_properties=_on_version_read(notes), post_commithook_properties=_KEEP_LOGS,
            )  # fmt: skip
            if replace:
                merge = merge.when_matched_update_all()
            merge.when_not_matched_insert_all().execute()
            return new.height

        return self._commit(name, attempt)

    def _replace(
        self,
        name: str,
        rows: pl.DataFrame,
        as_of: date,
        final: Callable[[pl.DataFrame], bool],
        step: str = "",
        notes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Replace all rows of `as_of`, unless the stored ones are `final`; return whether it did.

        `notes` are stored with the commit, see `_notes`; `step` follows the table's name in the name of the commit.
        """

        def attempt() -> bool:
            table = self._opened(name, rows)
            if final(self._read(self._rows(table, name, "as_of", [(as_of, as_of)]), name)):
                return False
            write_deltalake(
                table, rows, mode="overwrite", predicate=_only(as_of), schema_mode="merge",
                commit_properties=_on_version_read(notes), post_commithook_properties=_KEEP_LOGS,
            )  # fmt: skip
            return True

        return self._commit(f"{name} {step}".strip(), attempt)

    def _delete(self, name: str, as_of: date | None = None) -> None:
        if (table := self._table(name)) is not None:
            table.delete(
                None if as_of is None else _only(as_of),
                commit_properties=_on_version_read(), post_commithook_properties=_KEEP_LOGS,
            )  # fmt: skip

    def _notes(self, name: str, note: str) -> list[Any]:
        """Return what is stored under `note` with the commits of a table, newest first. Reads its whole log."""
        table = self._table(name)
        return [] if table is None else [commit[note] for commit in table.history() if note in commit]

    def compact(self, name: str) -> int:
        """Join small files, in one commit or none; return how many files were replaced. No row changes.

        Parameters
        ----------
        name : str

        Raises
        ------
        WarehouseError
            The table cannot be written.
        """
        if self._table(name) is None:
            return 0

        def attempt() -> int:
            table = self._table(name)
            assert table is not None
            done = table.optimize.compact(
                writer_properties=_writer(), commit_properties=_on_version_read(), post_commithook_properties=_KEEP_LOGS
            )
            return int(done["numFilesRemoved"])

        return self._commit(name, attempt)

    def vacuum(self, name: str, keep: Sequence[int], unused_for: timedelta) -> int:
        """Remove files that neither a version in `keep` nor the newest needs; return how many, earlier ones included.

        Only files that have been unused, or left by a killed writer, for `unused_for` or longer are removed.

        Parameters
        ----------
        name : str
        keep : sequence of int
            Versions that stay readable.
        unused_for : timedelta
        """
        table = self._table(name)
        if table is None:
            return 0
        hours = int(unused_for.total_seconds() // 3600)
        needed = sorted({*keep, table.version()})
        removed = table.vacuum(
            hours, dry_run=False, enforce_retention_duration=False, full=True, keep_versions=needed,
            post_commithook_properties=_KEEP_LOGS,
        )  # fmt: skip
        if (folder := self.folder(name)) is not None:
            forget_removed(folder)
        return len(removed)

    def _opened(self, name: str, rows: pl.DataFrame) -> DeltaTable:
        """Return the table, created without rows if it does not exist: several writers may create it at once."""
        if (table := self._table(name)) is None:
            address, options = self._address(name), self._options()
            write_deltalake(address, rows.clear(), mode="ignore", partition_by=["year"], storage_options=options)
            table = DeltaTable(address, storage_options=options)
        return table


def _refuse_other_types(name: str, rows: pl.DataFrame, there: pl.LazyFrame) -> None:
    for column, kind in there.collect_schema().items():
        if column in rows.columns and rows.schema[column] != kind:
            raise WarehouseError(
                f"The column {column!r} of {name} must stay {kind}, got {rows.schema[column]}. Convert it, or give it "
                "another name."
            )


def _on_version_read(notes: Mapping[str, Any] | None = None) -> CommitProperties:
    """Let a commit follow the version that was read, or fail."""
    return CommitProperties(custom_metadata=dict(notes or {}), max_commit_retries=0)


def _writer() -> WriterProperties:
    return WriterProperties(max_row_group_size=_GROUP)


def _only(as_of: date) -> str:
    return f"year = {as_of.year} AND as_of = '{as_of.isoformat()}'"
