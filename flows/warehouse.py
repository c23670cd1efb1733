"""The Delta tables of one panel. The only module that reads or writes them; every write goes through ``_commit``.

Every table is partitioned by `year`, a real column, and every write names its years as literals: on keys alone Delta
rewrites the whole table. A read takes one version of a table; a write that loses a race looks again and retries.
"""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from flows.errors import WarehouseError
from flows.folders import folder_of, refuse_unusable
from flows.secrets import expand
from flows.tables import (
    FLAG_KEY,
    FORECAST_KEY,
    PRICE_KEY,
    QUARANTINE_KEY,
    RUNS,
    TABLES,
    VALUES,
    YEAR,
    as_known,
    check_forecasts,
    shape,
)

_ATTEMPTS = 30

Result = TypeVar("Result")


class Warehouse:
    """The tables of one panel.

    Parameters
    ----------
    uri : str
        Folder, or address of an object store; ``${VAR}`` is expanded on connecting only.

    Raises
    ------
    SettingsError
        On connecting: the folder's path holds what Delta Lake cannot have in it, or a variable is not set.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri

    # reading

    def prices(self, as_of: date | None = None) -> pl.DataFrame:
        """The panel as it was known at `as_of` (None: as it is known now), sorted by series_id and time.

        Rows with ``time <= as_of`` and ``known_at <= as_of``; of several revisions of a row, the last.

        Returns
        -------
        polars.DataFrame
            series_id, time (Date), close; open, high, low and volume where any is known.
        """
        return as_known(self.revisions(), as_of)

    def revisions(self) -> pl.DataFrame:
        """Every row `prices` has ever held on to, with `known_at` and the `as_of` of the run that stored it."""
        return self._scan("prices").collect().sort(PRICE_KEY)

    def newest_session(self) -> date | None:
        """Time of the newest price, None for an empty table."""
        return self._newest("prices", "time")

    def newest_seen(self) -> date | None:
        """The newest `as_of` the panel has seen, None before its first run."""
        asked = (("prices", "known_at"), ("prices", "as_of"), ("runs", "as_of"))
        return max((day for day in (self._newest(*what) for what in asked) if day), default=None)

    def quarantine(self) -> pl.DataFrame:
        """Rows that broke a rule, in the order they were first seen. Those without a readable time have year 0."""
        return self._scan("quarantine").collect().sort("as_of", "series_id", "time", "rule", "original", "occurrence")

    def repairs(self) -> pl.DataFrame:
        """Decisions on rows in quarantine, in the order they were taken."""
        return self._scan("repairs").collect().sort("at", "series_id", "time", "rule", "original", "occurrence")

    def flags(self) -> pl.DataFrame:
        """Stored rows, series and feeds that a rule has doubts about, by the as_of that first met them."""
        return self._scan("flags").collect().sort("as_of", "series_id", "time", "rule")

    def forecasts(self, as_of: date | None = None) -> pl.DataFrame:
        """Published forecasts, of one `as_of` or of all, sorted by as_of, series_id and step."""
        return self._of("forecasts", as_of).sort("as_of", "series_id", "step")

    def scores(self, as_of: date | None = None) -> pl.DataFrame:
        """Scores of the forecasts published at one `as_of`, or of all."""
        return self._of("scores", as_of).sort("as_of", "series_id", "step")

    def runs(self) -> pl.DataFrame:
        """One row per `as_of`, oldest first."""
        return self._scan("runs").collect().sort("as_of")

    def versions(self) -> dict[str, int]:
        """The version each existing table is at now."""
        return {name: table.version() for name in TABLES if (table := self._table(name)) is not None}

    def has_published(self) -> bool:
        """Whether a forecast was ever published here: from then on a panel stays what it is."""
        return not (self.forecasts().is_empty() and self.runs().is_empty())

    # writing

    def store_prices(self, rows: pl.DataFrame) -> int:
        """Store new rows and revisions, in one commit; returns how many there were. Rows already there are skipped.

        A second correction of a row that lands on the same (series_id, time, known_at) takes the place of the first,
        within the same commit: `known_at` counts sessions, and within one session the last word holds. The value it
        replaced stays reachable by the table's version.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time, close, known_at, as_of; optional open, high, low, volume.
        """
        rows = shape("prices", rows, PRICE_KEY, optional=VALUES[1:])
        return self._merge("prices", rows, PRICE_KEY, replace=VALUES)

    def clear_prices(self) -> None:
        """Take out all prices and what is in quarantine, a commit each; earlier versions of the tables keep them."""
        for name in ("flags", "repairs", "quarantine", "prices"):
            self._commit(name, partial(self._delete, name))

    def store_quarantine(self, rows: pl.DataFrame) -> int:
        """Store rows that broke a rule, in one commit; returns how many were not there yet.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id, time (both may be null), rule, original (JSON text), as_of (the run that met them), and
            occurrence: 0, 1, … among rows that agree in rule and original.
        """
        return self._merge("quarantine", shape("quarantine", rows, QUARANTINE_KEY, optional=VALUES), QUARANTINE_KEY)

    def store_repairs(self, rows: pl.DataFrame) -> int:
        """Store decisions on rows in quarantine, in one commit; returns how many were not there yet. None changes."""
        return self._merge("repairs", shape("repairs", rows, QUARANTINE_KEY, optional=VALUES), QUARANTINE_KEY)

    def store_flags(self, rows: pl.DataFrame) -> int:
        """Store flags, in one commit; returns how many were not there yet.

        Parameters
        ----------
        rows : polars.DataFrame
            series_id (null for a feed), time, rule, as_of.
        """
        return self._merge("flags", shape("flags", rows, FLAG_KEY), FLAG_KEY)

    def publish(self, as_of: date, forecasts: pl.DataFrame, reissue: bool = False) -> bool:
        """Publish all forecasts of one `as_of`, in one commit; returns whether anything was written.

        An issued `as_of` never changes: when it is there, nothing is done. With `reissue` it is replaced, and its
        scores, which judged the replaced forecasts, go first; killed in between, the next run scores what is there.

        Parameters
        ----------
        as_of : date
            The session the forecasts stand on.
        forecasts : polars.DataFrame
            series_id, step, origin, time, forecast, quantile columns, model, run_id, live, trained_through; dates.
        reissue : bool, default=False
            Replace what was issued.

        Raises
        ------
        WarehouseError
            Nothing to publish, a row twice, values that are not finite, an origin after `as_of`, a model that has seen
            more than the rows up to its forecasts' origins.
        """
        rows = shape("forecasts", forecasts.with_columns(as_of=pl.lit(as_of)), FORECAST_KEY, optional=("run_id",))
        check_forecasts(as_of, rows)

        def done() -> bool:
            issued = self.forecasts(as_of)
            return not issued.is_empty() and (not reissue or issued.equals(rows))

        def replace() -> bool:
            if done():
                return False
            self._overwrite("forecasts", rows, as_of)
            return True

        if reissue and not done() and not self.scores(as_of).is_empty():
            self._commit("scores", lambda: self._delete("scores", as_of))
        return self._commit("forecasts", replace)

    def store_scores(self, rows: pl.DataFrame) -> int:
        """Store scores not there yet, in one commit; returns how many there were. A score never changes."""
        return self._merge("scores", shape("scores", rows, FORECAST_KEY), FORECAST_KEY)

    def put_run(self, row: Mapping[str, Any]) -> None:
        """Write the one row of a run's `as_of`, replacing what is there, in one commit; nothing when nothing differs.

        Rows that agree in all but run_id, started and finished do not differ: a rerun that finds everything done leaves
        no trace.

        Parameters
        ----------
        row : mapping
            as_of and status, and what else is known of the columns of `runs`; the others become null.

        Raises
        ------
        WarehouseError
            An unknown column, or no as_of or status.
        """
        names = [name for name in RUNS if name != "year"]
        if not set(row) <= set(names) or row.get("as_of") is None or row.get("status") is None:
            raise WarehouseError(f"A run must have as_of and status, and may have of {names}; got {sorted(row)}.")
        new = pl.DataFrame([[row.get(name)] for name in names], schema={name: RUNS[name] for name in names})
        new = shape("runs", new)

        def replace() -> None:
            clock = ("run_id", "started", "finished")
            if not self._of("runs", row["as_of"]).drop(clock).equals(new.drop(clock)):
                self._overwrite("runs", new, row["as_of"])

        self._commit(f"runs {row['status']}", replace)

    # Delta

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

    def _merge(self, name: str, rows: pl.DataFrame, key: Sequence[str], replace: Sequence[str] = ()) -> int:
        """Add rows whose key is not there; a row whose key is there, with other `replace` values, takes its place."""

        def attempt() -> int:
            there = self._scan(name).select(*key, *replace).collect()
            new = rows.join(there, on=[*key, *replace], how="anti", nulls_equal=True)
            if new.is_empty():
                return 0
            table = self._made(name, new)
            years = ", ".join(str(year) for year in sorted(new["year"].unique()))
            same = " AND ".join(f"t.{column} = s.{column}" for column in key)
            where = f"t.year IN ({years}) AND {same}"
            merge = table.merge(new, where, source_alias="s", target_alias="t", merge_schema=True)
            if replace:
                merge = merge.when_matched_update_all()
            merge.when_not_matched_insert_all().execute()
            return new.height

        return self._commit(name, attempt)

    def _overwrite(self, name: str, rows: pl.DataFrame, as_of: date) -> None:
        write_deltalake(self._made(name, rows), rows, mode="overwrite", predicate=_only(as_of), schema_mode="merge")

    def _delete(self, name: str, as_of: date | None = None) -> None:
        if (table := self._table(name)) is not None:
            table.delete(None if as_of is None else _only(as_of))

    def _of(self, name: str, as_of: date | None) -> pl.DataFrame:
        rows = self._scan(name)
        if as_of is not None:
            rows = rows.filter(pl.col("year") == as_of.year, pl.col("as_of") == as_of)
        return rows.collect()

    def _newest(self, name: str, column: str) -> date | None:
        newest: date | None = self._scan(name).select(pl.col(column).max()).collect().item()
        return newest

    def _scan(self, name: str) -> pl.LazyFrame:
        """The newest version of a table; one that is not there yet is empty."""
        table = self._table(name)
        if table is None:
            return pl.LazyFrame(schema=TABLES[name])
        if (folder := self._folder()) is None:
            return pl.scan_delta(table)
        # scan_delta looks for local files under their percent-encoded names, and takes * and ? for patterns
        files = [str(folder / name / file) for file in pl.DataFrame(table.get_add_actions())["path"]]
        schema = pl.Schema(table.schema())
        if not files:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(files, glob=False, schema=schema, hive_schema=YEAR)

    def _made(self, name: str, rows: pl.DataFrame) -> DeltaTable:
        """The table, made without rows if it is not there: Delta lets several writers append to one they all create."""
        if (table := self._table(name)) is None:
            write_deltalake(self._address(name), rows.clear(), mode="ignore", partition_by=["year"])
            table = DeltaTable(self._address(name))
        return table

    def _table(self, name: str) -> DeltaTable | None:
        address = self._address(name)
        try:
            return DeltaTable(address) if DeltaTable.is_deltatable(address) else None
        except (DeltaError, OSError) as error:
            raise WarehouseError(f"{self.uri} must hold readable tables, reading {name} failed: {error}") from error

    def _address(self, name: str) -> str:
        folder = self._folder()
        return str(folder / name) if folder else f"{self._expanded().rstrip('/')}/{name}"

    def _folder(self) -> Path | None:
        folder = folder_of(self._expanded())
        if folder is not None:
            refuse_unusable(folder)
        return folder

    def _expanded(self) -> str:
        return expand(self.uri, os.environ)


def _only(as_of: date) -> str:
    return f"year = {as_of.year} AND as_of = '{as_of.isoformat()}'"
