"""The specification of a table: its columns, key and order, and how rows get that shape before they are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tidecast.flows.config.columns import Columns
from tidecast.flows.errors import WarehouseError


@dataclass(frozen=True)
class TableSpec:
    """The specification of one table.

    Parameters
    ----------
    name : str
    columns : mapping of str to polars.DataType
        In the order in which they are stored; the last is the partition `year`.
    key : tuple of str
        Columns on which rows are unique.
    optional : tuple of str
        Columns that rows may lack; they are then null.
    order : tuple of str or polars.Expr
        Columns by which rows are sorted in a file; empty: the key.
    day : str
        The column of days whose year is `year`; 0 where the day is null.
    columns_for : callable
        Return the columns for rows with a given schema, where rows may have more columns or other ones.
    former_names : mapping of str to str
        Names of columns in tables that earlier versions of Tidecast wrote, to their names today.
    """

    name: str
    columns: Columns
    key: tuple[str, ...]
    optional: tuple[str, ...] = ()
    order: tuple[str | pl.Expr, ...] = ()
    day: str = "as_of"
    columns_for: Callable[[Columns, pl.Schema], Columns] = lambda columns, schema: columns
    former_names: Mapping[str, str] = field(default_factory=dict)

    def shape(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with the table's columns, types and order, `year` added, sorted, and unique on the key.

        Parameters
        ----------
        rows : polars.DataFrame

        Raises
        ------
        WarehouseError
            A column that is not optional is missing, a column has another type, or two rows have the same key.
        """
        columns = self.columns_for(self.columns, rows.schema)
        self._refuse_missing(rows, columns)
        shaped = self._cast(rows, columns)
        twice = shaped.filter(shaped.select(self.key).is_duplicated())
        if not twice.is_empty():
            raise WarehouseError(
                f"Rows of {self.name} must be unique on {list(self.key)}; twice: {twice.row(0, named=True)}."
            )
        return shaped.sort(self.order or self.key, nulls_last=True)

    def row(self, values: Mapping[str, Any]) -> pl.DataFrame:
        """Return one shaped row; columns without a value are null.

        Parameters
        ----------
        values : mapping
            By column.
        """
        schema = {name: kind for name, kind in self.columns.items() if name != "year"}
        return self.shape(pl.DataFrame({name: [values.get(name)] for name in schema}, schema=schema))

    def with_current_names(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return stored rows under the names that columns have today, whichever version of Tidecast wrote them.

        Parameters
        ----------
        rows : polars.DataFrame
        """
        former = {old: new for old, new in self.former_names.items() if old in rows.columns}
        if not former:
            return rows
        found = [(new, [name for name in (new, old) if name in rows.columns]) for old, new in former.items()]
        rows = rows.with_columns(pl.coalesce(names).alias(new) for new, names in found).drop(former)
        ours = [name for name in self.columns if name in rows.columns]
        return rows.select(*ours, pl.exclude(ours))

    def _refuse_missing(self, rows: pl.DataFrame, columns: Columns) -> None:
        needed = [name for name in columns if name not in self.optional and name != "year"]
        if missing := [name for name in needed if name not in rows.columns]:
            raise WarehouseError(f"Rows of {self.name} must have the columns {list(columns)}; {missing} are missing.")

    def _cast(self, rows: pl.DataFrame, columns: Columns) -> pl.DataFrame:
        absent = [pl.lit(None).alias(name) for name in self.optional if name not in rows.columns]
        year = pl.col(self.day).cast(pl.Date).dt.year().fill_null(0).alias("year")
        try:
            rows = rows.with_columns(absent).with_columns(year)
            return rows.select(pl.col(name).cast(kind) for name, kind in columns.items())
        except pl.exceptions.PolarsError as error:
            raise WarehouseError(f"Rows of {self.name} must have the types {columns}: {error}") from error
