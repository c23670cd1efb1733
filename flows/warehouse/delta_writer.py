"""Writing Delta tables: merge, replace, compact, vacuum. `tidecast.flows.warehouse.delta_reader` finds and reads them.

Every table is partitioned by `year`, a real column. Every write names its years, and the range of a day column, as
literals, and every read that can names days: files that hold none of them are left alone by their statistics. On keys
alone Delta would read and rewrite the whole table.

A write looks at one version of its table and makes the next one, or none: Delta would also let it come after versions
that it has not looked at, if their files seem to be of other rows.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, TypeVar

import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from tidecast.flows.errors import WarehouseError, is_panic
from tidecast.flows.os_errors import in_words
from tidecast.flows.warehouse.delta_reader import DeltaReader

_ATTEMPTS = 30
_GROUP = 131_072
"""Rows in a row group: what is read at once, and left out at once when none of its days is asked for."""

_KEEP_LOGS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
"""By default the log of old versions is cleared after a month, and those versions could not be read again."""

Result = TypeVar("Result")


class TableChanged(WarehouseError):
    """A table is not at the version any more that a write was worked out from."""


class DeltaTables(DeltaReader):
    """Tables of one place, by name. A write that loses a race looks at the table again and retries.

    In an object store, as in a folder, the next version's file is created only if it is not there (a conditional put),
    so that of two writers one wins; a store that cannot do that must not be written to by several.
    """

    def _commit(self, name: str, attempt: Callable[[], Result]) -> Result:
        """Every write. `attempt` looks at the table and makes one Delta commit or none; a lost race is tried again."""
        for trial in range(_ATTEMPTS):
            try:
                return attempt()
            except DeltaError as error:
                if not isinstance(error, CommitFailedError) and "already exists" not in str(error):
                    raise self._unwritable(name, " ".join(str(error).split())[:300]) from error
                time.sleep(random.uniform(0, min(0.05 * 2**trial, 2.0)))
            except OSError as error:
                raise self._unwritable(name, in_words(error)) from error
            except BaseException as error:
                if not is_panic(error):
                    raise
                raise self._unwritable(name, " ".join(str(error).split())[:300]) from error
        raise WarehouseError(f"Writing {name} to {self.uri} lost {_ATTEMPTS} races to other writers. Run again.")

    def _unwritable(self, name: str, why: str) -> WarehouseError:
        if "No space left" in why or "os error 28" in why:
            why = "the disk is full. Make room, then run again"
        return WarehouseError(
            f"{self.uri} must be writable, but writing {name} failed: {why.rstrip('.')}. Nothing is half-written."
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
        """Add rows whose key is not there; a row whose key is there, with other `replace` values, takes its place.

        `day` is a column of days in the key: only files that hold a day between its first and last are looked at.
        Columns that the table does not have are added to it. `notes` are kept with the commit, see `_notes`.

        Raises
        ------
        MovedOn
            The table is not at `version`, if one is given.
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
            table = self._made(name, rows)
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
            new = rows.join(same, on=identical, how="anti", nulls_equal=True)
            if new.is_empty():
                return 0
            merge = table.merge(
                new, matches, source_alias="s", target_alias="t", merge_schema=True, writer_properties=_writer(),
                commit_properties=_as_looked_at(notes), post_commithook_properties=_KEEP_LOGS,
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
        settled: Callable[[pl.DataFrame], bool],
        step: str = "",
        notes: Mapping[str, Any] | None = None,
    ) -> bool:
        """Put the rows in the place of all those of their `as_of`, unless what is there is `settled`; whether it did.

        `notes` are kept with the commit, see `_notes`; `step` is what the commit is called beside the table's name.
        """

        def attempt() -> bool:
            table = self._made(name, rows)
            if settled(self._read(self._rows(table, name, "as_of", [(as_of, as_of)]), name)):
                return False
            write_deltalake(
                table, rows, mode="overwrite", predicate=_only(as_of), schema_mode="merge",
                commit_properties=_as_looked_at(notes), post_commithook_properties=_KEEP_LOGS,
            )  # fmt: skip
            return True

        return self._commit(f"{name} {step}".strip(), attempt)

    def _delete(self, name: str, as_of: date | None = None) -> None:
        if (table := self._table(name)) is not None:
            table.delete(
                None if as_of is None else _only(as_of),
                commit_properties=_as_looked_at(), post_commithook_properties=_KEEP_LOGS,
            )  # fmt: skip

    def _notes(self, name: str, note: str) -> list[Any]:
        """What was kept under `note` with the commits of a table, the newest first. Reads its whole log."""
        table = self._table(name)
        return [] if table is None else [commit[note] for commit in table.history() if note in commit]

    def compact(self, name: str) -> int:
        """Join small files, in one commit or none; returns how many files went. No row changes."""
        if self._table(name) is None:
            return 0

        def attempt() -> int:
            table = self._table(name)
            assert table is not None
            done = table.optimize.compact(
                writer_properties=_writer(), commit_properties=_as_looked_at(), post_commithook_properties=_KEEP_LOGS
            )
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

    def _made(self, name: str, rows: pl.DataFrame) -> DeltaTable:
        """The table, made without rows if it is not there: Delta lets several writers append to one they all create."""
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


def _as_looked_at(notes: Mapping[str, Any] | None = None) -> CommitProperties:
    """Let a commit follow on the version that was looked at, or fail."""
    return CommitProperties(custom_metadata=dict(notes or {}), max_commit_retries=0)


def _writer() -> WriterProperties:
    return WriterProperties(max_row_group_size=_GROUP)


def _only(as_of: date) -> str:
    return f"year = {as_of.year} AND as_of = '{as_of.isoformat()}'"
