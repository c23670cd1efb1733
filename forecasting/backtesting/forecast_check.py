"""Checks of the forecasts of other models: one clear error for each fault of a table."""

from __future__ import annotations

from typing import Any, NoReturn

import polars as pl

from tidecast.features.error_text import counted, near_match, shorten
from tidecast.features.frames import to_polars
from tidecast.forecasting.tables.quantiles import MEDIAN, level_of, quantile_columns

COLUMNS = ["series_id", "origin", "step", "time", "forecast"]


def checked_forecasts(
    found: Any, name: str, expected: pl.DataFrame, series_ids: pl.Series, origin: Any, levels: tuple[float, ...]
) -> pl.DataFrame:
    """Check a model's forecasts from one origin; return them in the columns and types of a forecast table.

    Parameters
    ----------
    found : polars or pandas DataFrame
        Result of the model's `predict`.
    name : str
        The model's, for errors.
    expected : polars.DataFrame
        ``series_id``, ``origin``, ``step`` and ``time`` of the forecasts that are possible.
    series_ids : polars.Series
        Those of the panel. Rows of its series without a price at the origin are left out.
    origin : date or datetime
        For errors.
    levels : tuple of float
        Quantiles that the table must have, all or none. With none their columns are null.

    Raises
    ------
    TypeError
        When `found` is not a frame.
    ValueError
        For missing columns, wrong types, unknown series, rows that occur twice, wrong origins, steps or times, and
        values that are missing or not finite.
    """

    def refuse(what: str) -> NoReturn:
        raise ValueError(f"The forecasts of the model {name!r} from {origin} must {what}")

    try:
        table = to_polars(found)
    except (TypeError, ValueError) as error:
        raise type(error)(f"predict of the model {name!r} must return a forecast table: {error}") from None
    for column in COLUMNS:
        if column not in table.columns:
            near = near_match(column, table.columns)
            advice = f"Rename {near!r}." if near else "Add it."
            refuse(f"have the columns {shorten(COLUMNS)}, {column!r} is not in {shorten(table.columns)}. {advice}")
    table = _with_levels(table, levels, refuse)
    table = _typed(table, expected, refuse)
    known = series_ids.cast(expected.schema["series_id"]).unique()
    if strangers := table.filter(~pl.col("series_id").is_in(known.implode()))["series_id"].unique().sort().to_list():
        refuse(f"be of series of the panel, found {shorten(strangers)}. Leave them out.")
    table = table.filter(pl.col("series_id").is_in(expected["series_id"].unique().implode()))
    _check_keys(table, expected, refuse)
    values = ["forecast", *quantile_columns(levels)]
    point_only = all(table[column].null_count() == len(table) for column in values[1:])
    for column in values[:1] if point_only else values:
        broken = table.filter(~pl.col(column).is_finite().fill_null(False))
        if len(broken):
            row = broken.row(0, named=True)
            refuse(
                f"be finite numbers, found {row[column]} in {column!r} for series {row['series_id']!r}, step "
                f"{row['step']}. Leave out a series that cannot be forecast."
            )
    return table.select(*COLUMNS, *values[1:]).sort("series_id", "origin", "step")


def _with_levels(table: pl.DataFrame, levels: tuple[float, ...], refuse: Any) -> pl.DataFrame:
    """The table with the columns of these levels by their usual names, null where it has none at all."""
    names = {}
    for column in table.columns:
        try:
            names[round(level_of(column), 10)] = column
        except ValueError:
            continue
    wanted = [level for level in levels if level != MEDIAN]
    present = [level for level in wanted if level in names]
    if not present and set(names) <= {MEDIAN}:
        return table.with_columns(pl.lit(None, pl.Float64).alias(column) for column in quantile_columns(levels))
    if lacking := [f"q{level!r}" for level in wanted if level not in names]:
        refuse(
            f"have a column for each quantile that is compared, or no such column; {shorten(lacking)} not found. "
            "Add them, or give the models the same quantiles."
        )
    return table.rename({names[level]: f"q{level!r}" for level in wanted})


def _typed(table: pl.DataFrame, expected: pl.DataFrame, refuse: Any) -> pl.DataFrame:
    """Cast the table's columns to the types of a forecast table."""
    values = [column for column in table.columns if column == "forecast" or column.startswith("q")]
    values = [column for column in values if column == "forecast" or _is_level(column)]
    for column in ("step", *values):
        kind = table.schema[column]
        if not kind.is_numeric() and kind != pl.Null:
            refuse(f"hold numbers in {column!r}, found {kind}. Cast it.")
    if not (table["step"].cast(pl.Float64).fill_null(0.5) % 1 == 0).all():
        refuse(f"hold whole steps, found {shorten(table['step'].unique().to_list())}. Write 1 to the horizon.")
    times = [_as_time(table[column], expected.schema["time"], refuse) for column in ("origin", "time")]
    kind = expected.schema["series_id"]
    try:
        names = table["series_id"].cast(kind)
    except pl.exceptions.PolarsError:
        refuse(f"hold the panel's series in 'series_id', {kind}; found {table.schema['series_id']}. Cast it.")
    return table.with_columns(
        names, *times, pl.col("step").cast(pl.Int32), *(pl.col(column).cast(pl.Float64) for column in values)
    )


def _is_level(column: str) -> bool:
    try:
        level_of(column)
    except ValueError:
        return False
    return True


def _as_time(values: pl.Series, kind: Any, refuse: Any) -> pl.Series:
    """Cast times to the panel's type: days, or datetimes in UTC without zone."""
    if not isinstance(values.dtype, pl.Date | pl.Datetime) and not values.is_empty():
        refuse(f"hold dates or datetimes in {values.name!r}, found {values.dtype}. Parse it.")
    zone = getattr(values.dtype, "time_zone", None)
    if zone is not None:
        values = values.dt.replace_time_zone(None) if kind == pl.Date else values.dt.convert_time_zone("UTC")
        values = values.dt.replace_time_zone(None)
    cast = values.cast(kind)
    if kind == pl.Date and not (cast.cast(values.dtype) == values).fill_null(True).all():
        refuse(f"hold days in {values.name!r}, as the panel does; found times within the day. Cast it to dates.")
    return cast


def _check_keys(table: pl.DataFrame, expected: pl.DataFrame, refuse: Any) -> None:
    """Refuse rows that occur twice, and other origins, steps and times than those expected."""
    twice = table.filter(pl.struct("series_id", "step").is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        refuse(
            f"have one row for each series and step, found {counted(len(twice), 'row')} that share theirs, first "
            f"series {row['series_id']!r}, step {row['step']}. Forecast from the last row of each series only."
        )
    horizon: Any = expected["step"].max() or 0
    wrong = table.filter(~pl.col("step").is_between(1, horizon))
    if len(wrong):
        row = wrong.row(0, named=True)
        refuse(f"have the steps 1 to {horizon}, found step {row['step']} for series {row['series_id']!r}. Drop it.")
    short = table.group_by("series_id", maintain_order=True).len().filter(pl.col("len") < horizon)
    if len(short):
        row = short.row(0, named=True)
        refuse(
            f"have all steps 1 to {horizon} of a series, found {row['len']} for series {row['series_id']!r}. Add the "
            "others, or leave the series out."
        )
    joined = table.join(expected, on=["series_id", "step"], how="left", suffix="_expected")
    for column, meaning in (("origin", "the time of the last known row"), ("time", "the session of its step")):
        off = joined.filter(~pl.col(column).eq_missing(pl.col(f"{column}_expected")))
        if len(off):
            row = off.row(0, named=True)
            refuse(
                f"have as {column!r} {meaning}, {row[f'{column}_expected']} for series {row['series_id']!r}, step "
                f"{row['step']}; found {row[column]}. Sessions are those of the panel's calendar: name it with "
                "PanelSchema(calendar=...), or ask get_calendar."
            )
