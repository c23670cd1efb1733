"""Copy published forecasts into a table of the user's own database, each `as_of` whole and in one transaction.

Only that table says what is done: an `as_of` that is missing there, or differs from the one published here (a reissue),
is copied. So the next run makes up for a copy that failed or was killed.
"""

import math
import os
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from tidecast.features.error_text import counted, shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import WarehouseError
from tidecast.flows.io.databases import engine_of, may_pass, message_of, split_table
from tidecast.flows.io.retrying import retried
from tidecast.flows.log import log
from tidecast.flows.warehouse.schema import FORECAST_KEY, quantile_columns
from tidecast.flows.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

Digest = tuple[int, float, str, str]  # rows, weighted sum of all prices, model, run

_FITS: dict[pl.DataType, tuple[type, ...]] = {
    pl.Date(): (date,), pl.String(): (str,), pl.Int64(): (int, Decimal), pl.Float64(): (float, Decimal),
    pl.Boolean(): (bool, int),
}  # fmt: skip


def publish_out(warehouse: Warehouse, settings: Settings, environ: Mapping[str, str] = os.environ) -> list[date]:
    """Copy published forecasts that are not there yet into the table that the settings name.

    The table is made if it is missing: the columns of `forecasts`, with the key (as_of, series_id, step). It belongs to
    one panel; its rows of a session are replaced whole. Other columns of it must have a default or be nullable.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
        `publish_to` and `publish_table` name the table.
    environ : mapping of str to str
        Where ``${VAR}`` in the address is looked up.

    Returns
    -------
    list of date
        The sessions copied.

    Raises
    ------
    WarehouseError
        The database cannot be reached or written, or its table lacks a column or has one of another type.
    SourceError
        `publish_to` is not the address of a database, or its driver is not installed.
    """
    from sqlalchemy.exc import SQLAlchemyError  # takes half a second to import; most panels publish to no database

    assert settings.publish_to is not None
    forecasts = warehouse.forecasts().drop("year")
    engine = engine_of(settings.publish_to, "publish_to", environ)
    try:
        copied = retried(lambda: _copy(engine, forecasts, settings), settings.publish_to, may_pass)
    except SQLAlchemyError as error:
        raise WarehouseError(
            f"{settings.publish_to} must take the forecasts, but the database says: {message_of(error, engine)}"
        ) from error
    finally:
        engine.dispose()
    log.info(
        f"Copied the forecasts of {counted(len(copied), 'session')} to {settings.publish_table} of "
        f"{settings.publish_to}."
    )
    return copied


def _copy(engine: "Engine", forecasts: pl.DataFrame, settings: Settings) -> list[date]:
    table = _table(forecasts, settings.publish_table)
    with engine.begin() as connection:
        table.create(connection, checkfirst=True)
        _check(connection, table, forecasts, settings)
        there = _there(connection, table, forecasts)
    copied = []
    for (as_of,), rows in forecasts.group_by("as_of", maintain_order=True):
        assert isinstance(as_of, date)
        if not _same(there.get(as_of), _digest(rows)):
            with engine.begin() as connection:
                connection.execute(table.delete().where(table.c.as_of == as_of))
                connection.execute(table.insert(), rows.to_dicts())
            copied.append(as_of)
    return copied


def _table(forecasts: pl.DataFrame, name: str) -> "Table":
    from sqlalchemy import BigInteger, Boolean, Column, Date, Double, MetaData, String, Table

    kinds: dict[pl.DataType, Any] = {
        pl.Date(): Date, pl.String(): String(255), pl.Int64(): BigInteger, pl.Float64(): Double, pl.Boolean(): Boolean,
    }  # fmt: skip
    schema, plain = split_table(name)
    columns: list[Any] = [
        Column(column, kinds[kind], primary_key=column in FORECAST_KEY, autoincrement=False)
        for column, kind in forecasts.schema.items()
    ]
    return Table(plain, MetaData(schema=schema), *columns)


def _check(connection: "Connection", table: "Table", forecasts: pl.DataFrame, settings: Settings) -> None:
    """Refuse an existing table that cannot take the forecasts."""
    from sqlalchemy import inspect

    types = {column["name"]: column["type"] for column in inspect(connection).get_columns(table.name, table.schema)}
    missing = [name for name in forecasts.columns if name not in types]
    wrong = [f"{name} ({types[name]})" for name, kind in forecasts.schema.items()
             if name in types and not _fits(types[name], kind)]  # fmt: skip
    faults = []
    if missing:
        faults.append(f"lacks {shorten(missing)}")
    if wrong:
        faults.append(f"has {', '.join(wrong)}")
    if faults:
        raise WarehouseError(
            f"The table {settings.publish_table!r} of {settings.publish_to} must have the columns of forecasts with "
            f"their types, but {' and '.join(faults)}. Fix it, or set publish_table to another name to have a new "
            "table made."
        )


def _fits(kind: Any, ours: pl.DataType) -> bool:
    try:
        theirs = kind.python_type
    except NotImplementedError:  # a type that only this database has
        return True
    return issubclass(theirs, _FITS[ours]) and not (theirs is datetime and ours == pl.Date())


def _there(connection: "Connection", table: "Table", forecasts: pl.DataFrame) -> dict[date, Digest]:
    """Return the digest of each session in the user's table."""
    from sqlalchemy import func, select

    weighted = sum(number * table.c[name] for number, name in enumerate(_prices(forecasts), 1))
    digest = select(
        table.c.as_of, func.count(), func.sum(weighted), func.min(table.c.model), func.min(table.c.run_id)
    ).group_by(table.c.as_of)
    return {
        as_of: (count, math.nan if total is None else float(total), model or "", run_id or "")
        for as_of, count, total, model, run_id in connection.execute(digest)
    }


def _digest(rows: pl.DataFrame) -> Digest:
    total = sum(number * float(rows[name].sum()) for number, name in enumerate(_prices(rows), 1))
    model, run_id = (rows[name].drop_nulls().min() or "" for name in ("model", "run_id"))
    return rows.height, total, str(model), str(run_id)


def _prices(forecasts: pl.DataFrame) -> list[str]:
    return ["forecast", *quantile_columns(forecasts)]


def _same(there: Digest | None, ours: Digest) -> bool:
    """Whether two digests are equal. Sums differ in their last digits by the order of addition."""
    if there is None:
        return False
    (count, total, *names), (our_count, our_total, *our_names) = there, ours
    return math.isclose(total, our_total, rel_tol=1e-11) and (count, names) == (our_count, our_names)
