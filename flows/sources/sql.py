"""Prices in a database: a table, view or query, read in batches, from the first session that may have changed."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, SourceError
from tidecast.flows.io.databases import (
    columns_of,
    engine_of,
    may_pass,
    message_of,
    refuse_missing_file,
    split_table,
    tables_of,
)
from tidecast.flows.io.retrying import retried
from tidecast.flows.parsing.fetched import Fetched, optional_columns
from tidecast.flows.parsing.frames import frame_of, stacked
from tidecast.flows.parsing.layout import to_long

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, FromClause, Select, TextClause

Result = TypeVar("Result")

BATCH = 50_000
"""Rows that Python holds at once; as a data frame they take a tenth of the memory."""

MANY = 1_000
"""Series that are selected by name; with more, all rows are read."""


@dataclass(frozen=True)
class SqlSource:
    """Prices in a database.

    Parameters
    ----------
    settings : Settings
        `source`, its address; `table` or `query`; names of columns. With a column `known_at`, late corrections are read
        too: rows that the database has known since a day, however old their session.
    environ : mapping
        Where ``${VAR}`` in the address is looked up.
    """

    settings: Settings
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self._label} of {self.settings.source}"

    @property
    def _label(self) -> str:
        return self.settings.table or "the query"

    def history(self, series: Sequence[str]) -> Fetched:
        """Return all rows of these series; of a wide table, all rows. Errors as of `fetch`.

        Parameters
        ----------
        series : sequence of str
        """
        return self._fetch(None, series)

    def fetch(self, since: date | None = None) -> Fetched:
        """Return its rows. A read that breaks off starts again from the beginning.

        Parameters
        ----------
        since : date or None
            First session, where the time column can be compared; None: all.

        Raises
        ------
        SourceError
            The database cannot be reached or read, the driver, the table or a column is missing, or there are no rows.
        """
        return self._fetch(since, None)

    def table(self) -> pl.DataFrame:
        """Return all columns of its table or query; errors as of `fetch`."""
        from sqlalchemy import column, select

        def read(engine: "Engine") -> pl.DataFrame:
            with engine.connect() as connection:
                names = self._names(connection)
                return _in_batches(connection, select(*map(column, names)).select_from(self._from(connection)))

        return self._with_engine(read)

    def _fetch(self, since: date | None, series: Sequence[str] | None) -> Fetched:
        return self._with_engine(lambda engine: self._read(engine, since, series))

    def _with_engine(self, read: Callable[["Engine"], Result]) -> Result:
        from sqlalchemy.exc import SQLAlchemyError  # here and below: slow to load, and only databases need it

        if self.settings.table and self.settings.query:
            raise SettingsError("Only one of table and query may be set, found both. Drop one of them.")
        engine = engine_of(self.settings.source, "source", self.environ)
        refuse_missing_file(engine, "source")
        try:
            return retried(lambda: read(engine), self.settings.source, may_pass)
        except SQLAlchemyError as error:
            raise SourceError(
                f"{self.settings.source} must be readable, but the database says: {message_of(error, engine)}"
            ) from error
        finally:
            engine.dispose()

    def _read(self, engine: "Engine", since: date | None, series: Sequence[str] | None) -> Fetched:
        with engine.connect() as connection:
            rows, first = self._selected(connection)
            if first.is_empty() and since is None:
                raise SourceError(f"{self.name} must have at least one row, got none.")
            to_long(first, self.settings, self._label)  # find a wrong column before a million rows are read
            query = rows.where(*self._changed_since(connection, rows, since), *self._of(first, series))
            frame = _in_batches(connection, query)
        return to_long(frame, self.settings, self._label)

    def _selected(self, connection: "Connection") -> tuple["Select[Any]", pl.DataFrame]:
        """The query for the columns that are needed, and its first row."""
        from sqlalchemy import column, select

        rows = select(*map(column, self._columns(connection))).select_from(self._from(connection))
        result = connection.execute(rows.limit(1))
        return rows, _frame(list(result.keys()), result.all())

    def _from(self, connection: "Connection") -> "FromClause | TextClause":
        from sqlalchemy import table, text

        if self.settings.query:
            return text(f"({_literal(self.settings.query)}) AS the_query")
        schema, name = split_table(self.settings.table or "")
        return table(name, schema=schema)

    def _columns(self, connection: "Connection") -> list[str]:
        """The needed columns of a long table, else all."""
        settings, names = self.settings, self._names(connection)
        needed = [settings.series_id, settings.time, settings.target]
        if not set(needed) <= set(names):
            return names
        in_settings = [settings.known_at or "", *settings.covariates, *settings.static]
        optional = [*optional_columns(names).values(), *filter(names.__contains__, in_settings)]
        return list(dict.fromkeys([*needed, *optional]))

    def _names(self, connection: "Connection") -> list[str]:
        """All columns."""
        from sqlalchemy import text

        settings = self.settings
        if settings.query:
            query = f"SELECT * FROM ({_literal(settings.query)}) AS the_query WHERE 1 = 0"
            return list(connection.execute(text(query)).keys())
        if settings.table:
            return list(columns_of(connection, settings.table, settings.source))
        raise SourceError(
            f"A database's table must be named with --table, or a query with --query; {settings.source} has "
            f"{shorten(tables_of(connection)) or 'none that this user can see'}."
        )

    def _of(self, first: pl.DataFrame, series: Sequence[str] | None) -> list["ColumnElement[bool]"]:
        """The condition for rows of these series; empty if they cannot be selected by name or are many."""
        from sqlalchemy import String, cast, column

        if series is None or len(series) > MANY or self.settings.series_id not in first.columns:
            return []
        return [cast(column(self.settings.series_id), String).in_(series)]

    def _changed_since(
        self, connection: "Connection", rows: "Select[Any]", since: date | None
    ) -> list["ColumnElement[bool]"]:
        """The condition for sessions from `since` on, or rows known since then; empty if it cannot be expressed."""
        from sqlalchemy import column, or_, select

        names = [selected.name for selected in rows.selected_columns]
        if since is None or self.settings.time not in names:
            return []
        known_at = self.settings.known_at or optional_columns(names).get("known_at")
        conditions = []
        for name in (self.settings.time, *([known_at] if known_at else [])):
            sample = connection.execute(
                select(column(name)).select_from(*rows.get_final_froms()).where(column(name).is_not(None)).limit(1)
            ).scalar()
            bound = _bound(sample, since)
            if bound is None and name == self.settings.time:
                return []
            if bound is not None:
                conditions.append(column(name) >= bound)
        return [or_(*conditions)]


def _in_batches(connection: "Connection", query: "Select[Any]") -> pl.DataFrame:
    result = connection.execution_options(yield_per=BATCH).execute(query)
    names, cursor = list(result.keys()), result.cursor
    try:
        return stacked([_frame(names, rows) for rows in result.partitions()] or [_frame(names, [])])
    finally:
        if cursor is not None:  # SQLAlchemy leaves the cursor of a broken connection open
            cursor.close()


def _frame(names: list[str], rows: Any) -> pl.DataFrame:
    return frame_of(names, zip(*rows, strict=True) if rows else [[] for _ in names])


def _bound(sample: Any, since: date) -> Any:
    """`since` as a value to compare with a column's values, of which `sample` is one; None if that is impossible.

    For datetimes it is the day before, because in the database's zone it may still be that day.
    """
    if isinstance(sample, datetime):
        moment = datetime.combine(since - timedelta(days=1), datetime.min.time())
        return moment if sample.tzinfo is None else moment.replace(tzinfo=UTC)
    if isinstance(sample, date):
        return since
    if isinstance(sample, str) and re.match(r"\d{4}-\d{2}-\d{2}", sample):
        return (since - timedelta(days=1)).isoformat()
    if isinstance(sample, int) and 1_000_00_00 <= sample <= 9999_12_31:
        return int(f"{since:%Y%m%d}")
    return None


def _literal(query: str) -> str:
    """The query with colons escaped, so that SQLAlchemy sees no parameters in it."""
    return re.sub(r"(?<!:):(?=\w)", r"\\:", query.strip().rstrip(";"))
