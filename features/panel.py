"""Panels: what their columns mean, and one clear error for whatever is wrong with one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.column_names import line_for
from tidecast.features.error_text import near_match, shorten
from tidecast.features.frames import Frame, is_pandas, to_polars
from tidecast.features.frozen_settings import FrozenSettings
from tidecast.features.segments import series_starts, starts_if_sorted
from tidecast.features.session_dates import read_sessions

RESERVED = "__tidecast_"
"""How names of working columns begin that stand beside a panel's own; no covariate may be called so."""


@dataclass(frozen=True)
class PanelSchema(FrozenSettings):
    """What a panel's columns mean.

    Parameters
    ----------
    positive : bool, default=True
        Prices are above zero and move by log returns. False: prices may be zero or negative, and every series
        moves by differences, always.
    calendar : str, optional
        Name of the sessions, see `get_calendar`. None: inferred from the training rows. A column `calendar` in the
        panel names those of single series, and wins.
    covariates : tuple of str, default=()
        Past covariates: further columns handed to the network as they are.
    future : tuple of str, default=()
        Future covariates: numbers known ahead, such as holidays or planned output. A forecast sees those of the
        sessions it is for, and no others; it is asked for with them (rows of the panel without a target, or ``future=``
        of `predict`). For what is known up to the origin alone, use `covariates`.
    static : tuple of str, default=()
        Static covariates, constant in each series: numbers, or text as one input for each category of training.

    Examples
    --------
    >>> PanelSchema(calendar="TARGET").positive
    True
    """

    positive: bool = True
    calendar: str | None = None
    covariates: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        group_of: dict[str, str] = {}
        for group in ("covariates", "future", "static"):
            names = getattr(self, group)
            if isinstance(names, str):
                raise TypeError(f"{group} must be a tuple of names, got {names!r}. Write ({names!r},).")
            object.__setattr__(self, group, tuple(names))
            for name in self.__dict__[group]:
                if isinstance(name, str) and name.startswith(RESERVED):
                    raise ValueError(
                        f"A covariate's name must not begin with {RESERVED!r}, got {name!r} in {group}. "
                        "Rename the column."
                    )
                if name in group_of:
                    raise ValueError(
                        f"A column must be in one group of covariates, once; {name!r} is in {group_of[name]} and in "
                        f"{group}. Take it out of one."
                    )
                group_of[name] = group


def check_panel(panel: Frame, schema: PanelSchema | None = None, target: str = "close") -> pl.DataFrame:
    """The panel as sorted polars, every column kept, rows without a target dropped.

    `time` comes back as Date when its times are days: all midnights, or at most one row a day in each series, such as
    closes stamped 16:00. Otherwise, and when the calendar is of bars within the day, it comes back as Datetime in UTC
    without zone. Times with a zone have the date of their market (column `calendar`, else the schema's), or of their
    own zone where nothing names a market; midnights keep the date that they are written with.
    The input is left as it is.

    Parameters
    ----------
    panel : polars or pandas DataFrame
        Columns `series_id`, `time`, the target; optional others.
    schema : PanelSchema, optional
        Defaults to ``PanelSchema()``.
    target : str, default="close"
        The column to forecast.

    Returns
    -------
    polars.DataFrame
        Sorted by `series_id` and `time`, with the target and the covariates as Float64; static text as String.

    Raises
    ------
    ValueError
        Naming the column or series, for a missing column, a wrong type, an empty panel, rows that occur twice,
        infinite values, static covariates that change within a series, and prices at or below zero when the schema
        says that they are positive.
    TypeError
        When `panel` is not an eager frame.

    Examples
    --------
    >>> from datetime import date
    >>> rows = {"series_id": ["b", "a"], "time": [date(2024, 1, 2)] * 2, "close": [2, 1]}
    >>> check_panel(pl.DataFrame(rows))["close"].to_list()
    [1.0, 2.0]
    """
    rows = check_rows(panel, schema, target)
    if rows[target].null_count():
        rows = rows.filter(pl.col(target).is_not_null())
    if rows.is_empty():
        raise ValueError(f"{target!r} must be known in at least one row, it is missing in all.")
    return rows


def check_rows(panel: Frame, schema: PanelSchema | None = None, target: str = "close") -> pl.DataFrame:
    """As `check_panel`, but rows without a target stay."""
    return sorted_rows(panel, schema, target)[0]


def sorted_rows(
    panel: Frame, schema: PanelSchema | None = None, target: str = "close"
) -> tuple[pl.DataFrame, np.ndarray]:
    """As `check_rows`, and what `series_starts` gives for it."""
    schema = schema or PanelSchema()
    numbers = [target, *schema.covariates, *schema.future]
    frame, starts = _in_order(_typed(to_polars(panel), schema, numbers, is_pandas(panel)))
    for column in (*numbers, *schema.static):
        if frame.schema[column] == pl.Float64 and not math.isfinite(frame[column].sum()):  # cheap to ask
            _refuse(frame, frame[column].is_infinite(), f"{column!r} must be finite, found infinite", "Drop the rows.")
    for column in schema.static:
        _check_static(frame, column)
    if schema.positive:
        advice = "Drop the rows, or say PanelSchema(positive=False): then every series moves by differences."
        _refuse(frame, frame[target] <= 0, f"{target!r} must be above 0, found 0 or less", advice)
    return frame, starts


def _typed(frame: pl.DataFrame, schema: PanelSchema, numbers: Sequence[str], pandas: bool) -> pl.DataFrame:
    """The rows with names, times and values in the types that a checked panel has; the target is the first number."""
    _check_known(frame, numbers[0])
    check_columns(frame, ["series_id", "time", *numbers, *schema.static])
    if frame.is_empty():
        raise ValueError("A panel must have at least one row, got none.")
    for column in ("series_id", "time"):
        if missing := frame[column].null_count():
            raise ValueError(f"{column!r} must be known in every row, it is missing in {missing}. Drop these rows.")
    frame = frame.with_columns(_names(frame["series_id"]))
    return frame.with_columns(
        read_sessions(frame, PanelCalendar.named(frame, schema.calendar), pandas),
        _numbers(frame[numbers[0]], pandas),
        *(_covariate(frame[column], pandas) for column in numbers[1:]),
        *(_static(frame[column], pandas) for column in schema.static),
    )


def _in_order(frame: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """The rows sorted by series and time, none twice, and where each series begins."""
    starts = starts_if_sorted(frame)
    if starts is None:
        frame = frame.sort("series_id", "time")
        starts, time = series_starts(frame), frame["time"].to_numpy()
        twice = np.append(False, time[1:] == time[:-1])
        twice[starts] = False
        _refuse(frame, pl.Series(twice), "series_id and time must be unique, found twice", "Keep one row of each.")
    return frame.with_columns(pl.col("series_id").set_sorted()), starts  # which spares the next the same question


def _check_static(frame: pl.DataFrame, column: str) -> None:
    """Refuse a static covariate that changes within a series."""
    varies = pl.col(column).min() != pl.col(column).max()
    changing = frame.group_by("series_id").agg(varies.fill_null(False)).filter(column)["series_id"]
    if len(changing):
        _refuse(
            frame,
            frame["series_id"].is_in(changing.implode()),
            f"{column!r} must be constant within each series, as a static covariate, found several values",
            "Correct it, or name it among the schema's covariates.",
        )


def as_seen(rows: pl.DataFrame, seen: pl.DataFrame) -> pl.DataFrame:
    """The rows with the columns that they share with `seen` in its types.

    Raises
    ------
    ValueError
        When a column cannot be.
    """
    for name, kind in seen.schema.items():
        if rows.schema[name] != kind and (kind.is_integer() != rows.schema[name].is_integer() or kind == pl.Date):
            raise ValueError(f"{name!r} must hold {kind} as in fit, got {rows.schema[name]}. Cast it.")
    return rows.with_columns(pl.col(name).cast(kind) for name, kind in seen.schema.items())


def _check_known(frame: pl.DataFrame, target: str) -> None:
    """Refuse a frame with the columns of another library, in one error with the line that makes it a panel."""
    missing = [name for name in ("series_id", "time") if name not in frame.columns]
    if not missing and (target in frame.columns or near_match(target, frame.columns)):
        return
    lacking = [*missing, *([target] if target not in frame.columns else [])]
    if (line := line_for(frame)) is not None and (target == "close" or target in frame.columns):
        hint = "Did you mean" if near_match(lacking[0], frame.columns) else "Write"
        raise ValueError(
            f"A panel must have a column {lacking[0]!r}, found {shorten(frame.columns)}. {hint} {line}"
            + ("? It gives a panel." if hint == "Did you mean" else ", which gives a panel.")
        )


def check_columns(frame: pl.DataFrame, needed: Sequence[str]) -> None:
    """Raise ValueError naming the first column that is missing, and the one that was probably meant."""
    for column in needed:
        if column in frame.columns:
            continue
        near = near_match(column, frame.columns)
        hint = f"Did you mean {near!r}? Rename it to {column!r}." if near else f"Rename one to {column!r}."
        if column == "series_id" and not near:
            hint = hint[:-1] + ", or .unpivot() a table that has a column for each series."
        raise ValueError(f"A panel must have a column {column!r}, found {shorten(frame.columns)}. {hint}")


def is_missing(values: pl.Series) -> pl.Series:
    """Whether each value is null or NaN."""
    missing = values.is_null()
    return missing | values.is_nan().fill_null(True) if values.dtype.is_float() else missing


def _refuse(panel: pl.DataFrame, broken: pl.Series, what: str, advice: str) -> None:
    """Raise ValueError where a row is `broken`; that none is, is cheap to see."""
    if not broken.any():
        return
    rows = panel.filter(broken)
    series = rows["series_id"].unique(maintain_order=True).to_list()
    first = f"first {rows['series_id'][0]!r} at {rows['time'][0]}"
    raise ValueError(f"{what}: {rows.height} rows of {len(series)} series ({shorten(series)}), {first}. {advice}")


def _names(values: pl.Series) -> pl.Series:
    if values.dtype in (pl.String, pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    if values.dtype.is_integer():
        return values
    raise ValueError(f"'series_id' must hold text or integers, got {values.dtype}. Cast it, e.g. to strings.")


def _numbers(values: pl.Series, pandas: bool = False) -> pl.Series:
    if not values.dtype.is_numeric() and values.dtype != pl.Null:
        cast = ".astype(float)" if pandas else ".cast(pl.Float64)"
        raise ValueError(f"{values.name!r} must hold numbers, got {values.dtype}. Cast it with {cast}.")
    values = values.cast(pl.Float64)
    return values.fill_nan(None) if values.is_nan().any() else values  # a copy only where it makes a difference


def _covariate(values: pl.Series, pandas: bool) -> pl.Series:
    """Numbers; true and false as 1 and 0."""
    if values.dtype == pl.Boolean:
        return values.cast(pl.Float64)
    if values.dtype in (pl.Categorical, pl.Enum):
        columns = (
            f"pd.get_dummies(frame, columns=[{values.name!r}])" if pandas else f"frame.to_dummies({values.name!r})"
        )
        raise ValueError(
            f"{values.name!r} must hold numbers, got {values.dtype}: categories have no order. Make columns of 0 and 1 "
            f"with {columns}, or name it among the schema's static covariates if it never changes within a series."
        )
    return _numbers(values, pandas)


def _static(values: pl.Series, pandas: bool) -> pl.Series:
    if values.dtype in (pl.String, pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    return _covariate(values, pandas)
