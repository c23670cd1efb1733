"""Conversion of forecast tables from any source to our types and names."""

from __future__ import annotations

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.forecasting.tables.check import quantiles_by_level
from tidecast.forecasting.tables.quantiles import MEDIAN, level_of

KEYS = ["series_id", "origin", "step"]
NEEDED = [*KEYS, "time", "forecast"]


def typed_forecasts(table: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Return the forecast table with keys of the types of a checked panel, and quantiles as Float64.

    Parameters
    ----------
    table : polars.DataFrame
        ``series_id``, ``origin``, ``step``, ``time``, ``forecast``; optional other quantiles, such as ``q0.05``.
    prices : polars.DataFrame
        The panel after `check_panel`.

    Returns
    -------
    polars.DataFrame
        Quantiles under their usual names: ``q0.1`` for ``q0.10``.

    Raises
    ------
    ValueError
        A column is missing, comes twice or has an unreadable type, a key is missing, a step is below 1, or a time does
        not lie after its origin.
    """
    if missing := [column for column in NEEDED if column not in table.columns]:
        raise ValueError(f"A forecast table must have the columns {NEEDED}; {missing} not found in {table.columns}.")
    table = _named_as_usual(table)
    for column in (*KEYS, "time"):
        if n_missing := table[column].null_count():
            raise ValueError(
                f"{column!r} must be known in every forecast, it is missing in {n_missing}. Drop the rows."
            )
    table = table.with_columns(
        _series_id(table["series_id"], prices["series_id"]),
        _steps(table["step"]),
        *(_times(table[column], prices["time"].dtype) for column in ("origin", "time")),
        *(_numbers(table[column]) for column in quantiles_by_level(table.columns)),
    )
    backwards = table.filter(pl.col("time") <= pl.col("origin"))
    if len(backwards):
        first = backwards.row(0, named=True)
        raise ValueError(
            f"The time of a forecast must lie after its origin; in {len(backwards)} of {len(table)} rows it does not, "
            f"first {first['series_id']!r}, step {first['step']}: {first['time']} from {first['origin']}. Put the "
            "session that a step is for into 'time'."
        )
    return table


def _named_as_usual(table: pl.DataFrame) -> pl.DataFrame:
    usual: dict[float, str] = {}
    new_names = {}
    for column in quantiles_by_level(table.columns):
        level = round(level_of(column), 10)
        if level in usual:
            raise ValueError(
                f"A level must have one column; {level} has {usual[level]!r} and {column!r}. Drop one of them."
            )
        usual[level] = column
        new_names[column] = "forecast" if level == MEDIAN else f"q{level!r}"
    return table.rename(new_names)


def _series_id(values: pl.Series, of_panel: pl.Series) -> pl.Series:
    is_text = values.dtype in (pl.String, pl.Categorical, pl.Enum)
    if is_text != (of_panel.dtype == pl.String) or not (is_text or values.dtype.is_integer()):
        raise ValueError(f"'series_id' must hold {of_panel.dtype} as in the panel, got {values.dtype}. Cast it.")
    if is_text:
        return values.cast(pl.String)
    unknown = values.filter(values.cast(of_panel.dtype, strict=False).is_null())
    if len(unknown):
        raise ValueError(
            f"Every series must be in the panel; {shorten(unknown.unique().to_list())} are not. Leave them out."
        )
    return values.cast(of_panel.dtype)


def _steps(values: pl.Series) -> pl.Series:
    whole = values.dtype.is_integer() or (values.dtype.is_float() and bool((values == values.round()).all()))
    if not whole or bool((values < 1).any()):
        raise ValueError(
            f"'step' must hold whole numbers from 1 on, got {shorten(values.unique(maintain_order=True).to_list())}. "
            "Count the sessions after the origin."
        )
    return values if values.dtype.is_integer() else values.cast(pl.Int32)


def _times(values: pl.Series, kind: pl.DataType) -> pl.Series:
    if not (values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime)):
        raise ValueError(
            f"{values.name!r} must hold dates or datetimes, got {values.dtype}. Parse it, e.g. with .str.to_date()."
        )
    if isinstance(values.dtype, pl.Datetime) and kind == pl.Date:
        local = values.dt.replace_time_zone(None)  # local time, as in a panel
        if not bool((local.dt.truncate("1d") == local).all()):
            raise ValueError(
                f"{values.name!r} must hold days as the panel's 'time' does, found hours within them. Evaluate on the "
                "panel that was forecast from."
            )
        return local.cast(pl.Date)
    if isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return values.cast(kind)


def _numbers(values: pl.Series) -> pl.Series:
    if not (values.dtype.is_numeric() or values.dtype == pl.Null):
        raise ValueError(f"{values.name!r} must hold numbers, got {values.dtype}. Cast it with .cast(pl.Float64).")
    return values.cast(pl.Float64)
