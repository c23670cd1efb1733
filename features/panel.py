"""Panels: the meaning of their columns, and one clear error for each thing that can be wrong with them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.column_names import line_for
from tidecast.features.error_text import counted, near_match, shorten
from tidecast.features.frames import Frame, is_pandas, to_polars
from tidecast.features.frozen_settings import FrozenSettings
from tidecast.features.number_texts import how_to_cast
from tidecast.features.segments import series_starts, starts_if_sorted
from tidecast.features.session_dates import read_sessions

RESERVED = "__tidecast_"
"""Prefix of working columns next to a panel's own. A covariate's name must not begin with it."""

AHEAD = "_ahead"
"""End of the name of a column of lists: a future covariate in the next sessions, as known at the row."""

WITHIN, TO, SINCE = "_within", "sessions_to_", "sessions_since_"
"""Parts of the names of the columns that `with_events` adds for a kind of event."""

CLOCK = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d")
"""Spelling of a time of the day."""


@dataclass(frozen=True)
class PanelSchema(FrozenSettings):
    """Meaning of a panel's columns.

    Parameters
    ----------
    positive : bool, default=True
        Prices are above zero and move by log returns. False: prices may be zero or negative, and every series always
        moves by differences.
    calendar : str, optional
        Name of the calendar, see `get_calendar`. None: inferred from the training rows. A column `calendar` in the
        panel names the calendar of single series, and takes precedence.
    covariates : tuple of str, default=()
        Past covariates: further columns that the network gets. Numbers as they are, true and false as 1 and 0, a
        categorical column (polars' Categorical or Enum, pandas' category) as one input for each category of training.
    future : tuple of str, default=()
        Future covariates: numbers known ahead, such as holidays or planned output. A forecast uses those of the
        forecast sessions only. Give them to `predict`, as rows of the panel without a target or as ``future=``. If the
        panel also has a column ``…_ahead`` of lists, from `with_future`, its values count: those of the next sessions,
        as they were known at each row. For columns known up to the origin only, use `covariates`; a column may be in
        both, and then its past counts, too. Where the calendar has seasons that the target follows, the past of all of
        them counts, see `RecurrentForecaster`.
    static : tuple of str, default=()
        Static covariates, constant in each series: numbers, or text as one input for each category of training.
    origin_time : str, optional
        Time of the day, such as "23:00", of the rows that forecasts start from, for bars within the day: every day's
        24 hours are forecast from the last hour of the day before. Only such rows are learned from, calibrated on and
        scored. None: every row may be an origin.

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
    origin_time: str | None = field(default=None, metadata={"recipe": "unless default"})

    def __post_init__(self) -> None:
        if self.origin_time is not None and not (
            isinstance(self.origin_time, str) and CLOCK.fullmatch(self.origin_time)
        ):
            raise ValueError(f"origin_time must be a time of the day such as '23:00', got {self.origin_time!r}.")
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
                if name in group_of and (group_of[name], group) != ("covariates", "future"):
                    raise ValueError(
                        f"A column must be in one group of covariates, once; {name!r} is in {group_of[name]} and in "
                        f"{group}. Take it out of one."
                    )
                group_of[name] = group

    def with_events(self, *kinds: str) -> PanelSchema:
        """Return a copy in which the columns of `tidecast.with_events` are inputs, those of these kinds.

        Parameters
        ----------
        *kinds : str
            Such as "earnings".

        Examples
        --------
        >>> PanelSchema().with_events("earnings").future
        ('earnings', 'earnings_within')
        """
        past = [name for kind in kinds for name in (kind, TO + kind, SINCE + kind)]
        ahead = [name for kind in kinds for name in (kind, kind + WITHIN)]
        return replace(
            self,
            covariates=tuple(dict.fromkeys([*self.covariates, *past])),
            future=tuple(dict.fromkeys([*self.future, *ahead])),
        )

    def may_start(self, times: pl.Series) -> np.ndarray:
        """Whether forecasts may start from rows of these times, bool of shape (n_rows,); see `origin_time`.

        Parameters
        ----------
        times : Series of dates or datetimes, of shape (n_rows,)
        """
        if self.origin_time is None or times.dtype == pl.Date:
            return np.ones(len(times), dtype=bool)
        return (times.dt.strftime("%H:%M") == self.origin_time).fill_null(False).to_numpy()


def check_panel(panel: Frame, schema: PanelSchema | None = None, target: str = "close") -> pl.DataFrame:
    """Return the panel as sorted polars, with every column, without rows that have no target.

    `time` becomes a Date when its times are days: all midnights, or at most one row a day in each series, such as
    closes stamped 16:00. Otherwise, and with a calendar of bars within the day, it becomes a Datetime in UTC without
    zone. Times with a zone get the date in their market's zone (column `calendar`, else the schema's), or in their own
    zone without a named market; midnights keep the date they are written with. The input is not changed.

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
        For a missing column, a wrong type, an empty panel, rows that occur twice, infinite values, static covariates
        that change within a series, and prices at or below zero unless the schema allows them. The message names the
        column or series.
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
    """Return the panel as `check_panel` does, but keep rows without a target.

    Parameters
    ----------
    panel, schema, target
        As for `check_panel`.
    """
    return sorted_rows(panel, schema, target)[0]


def sorted_rows(
    panel: Frame, schema: PanelSchema | None = None, target: str = "close"
) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the panel as `check_rows` does, and the positions at which its series begin, int64.

    Parameters
    ----------
    panel, schema, target
        As for `check_panel`.
    """
    schema = schema or PanelSchema()
    numbers = [target, *schema.covariates, *schema.future]
    frame, starts = _in_order(_typed(to_polars(panel), schema, numbers, is_pandas(panel)))
    for column in (*numbers, *schema.static):
        if frame.schema[column] == pl.Float64 and not math.isfinite(frame[column].sum()):  # a cheap test
            _refuse(frame, frame[column].is_infinite(), f"{column!r} must be finite, found infinite", "Drop the rows.")
    for column in schema.static:
        _check_static(frame, column)
    if schema.positive:
        advice = "Drop the rows, or set PanelSchema(positive=False): then every series moves by differences."
        _refuse(frame, frame[target] <= 0, f"{target!r} must be above 0, found 0 or less", advice)
    return frame, starts


def _typed(frame: pl.DataFrame, schema: PanelSchema, numbers: Sequence[str], pandas: bool) -> pl.DataFrame:
    """Return the rows in the types of a checked panel; the target is the first of `numbers`."""
    _check_known(frame, numbers[0])
    if numbers[0].startswith(RESERVED):
        raise ValueError(f"The target's name must not begin with {RESERVED!r}, got {numbers[0]!r}. Rename the column.")
    check_columns(frame, ["series_id", "time", *(name for name in numbers if name not in schema.future)])
    _check_future(frame, schema.future, numbers[0])
    check_columns(frame, schema.static)
    if frame.is_empty():
        raise ValueError("A panel must have at least one row, got none.")
    for column in ("series_id", "time"):
        if missing := frame[column].null_count():
            raise ValueError(f"{column!r} must be known in every row, it is missing in {missing}. Drop these rows.")
    frame = frame.with_columns(_names(frame["series_id"]))
    return frame.with_columns(
        read_sessions(frame, PanelCalendar.named(frame, schema.calendar), pandas),
        _numbers(frame[numbers[0]], pandas),
        *(_past(frame[column], pandas) for column in schema.covariates if column not in schema.future),
        *(future_numbers(frame[column], pandas) for column in schema.future),
        *(_static(frame[column], pandas) for column in schema.static),
    )


def _in_order(frame: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """Return the rows sorted by series and time, and where each series begins; raise for rows that occur twice."""
    starts = starts_if_sorted(frame)
    if starts is None:
        frame = frame.sort("series_id", "time")
        starts, time = series_starts(frame), frame["time"].to_numpy()
        twice = np.append(False, time[1:] == time[:-1])
        twice[starts] = False
        _refuse(frame, pl.Series(twice), "series_id and time must be unique, found twice", "Keep one row of each.")
    return frame.with_columns(pl.col("series_id").set_sorted()), starts  # spares later checks


def _check_static(frame: pl.DataFrame, column: str) -> None:
    """Raise ValueError for a static covariate that changes within a series."""
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
    """Return the rows with the columns of `seen` in its types.

    Parameters
    ----------
    rows, seen : polars.DataFrame

    Raises
    ------
    ValueError
        For a column of another kind.
    """
    for name, kind in seen.schema.items():
        if rows.schema[name] != kind and (kind.is_integer() != rows.schema[name].is_integer() or kind == pl.Date):
            raise ValueError(f"{name!r} must hold {kind} as in fit, got {rows.schema[name]}. Cast it.")
    return rows.with_columns(pl.col(name).cast(kind) for name, kind in seen.schema.items())


def _check_known(frame: pl.DataFrame, target: str) -> None:
    """Raise ValueError for a frame with another library's columns, with the line that makes it a panel."""
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
    """Check that a panel has these columns.

    Parameters
    ----------
    frame : polars.DataFrame
    needed : sequence of str

    Raises
    ------
    ValueError
        For the first missing column. The message names the column that was probably meant.
    """
    for column in needed:
        if column in frame.columns:
            continue
        near = near_match(column, frame.columns)
        hint = f"Did you mean {near!r}? Rename it to {column!r}." if near else f"Rename one to {column!r}."
        if column == "series_id" and not near:
            hint = hint[:-1] + ", or .unpivot() a table that has a column for each series."
        raise ValueError(f"A panel must have a column {column!r}, found {shorten(frame.columns)}. {hint}")


def _check_future(frame: pl.DataFrame, names: Sequence[str], target: str) -> None:
    """Raise ValueError for a future covariate that the rows lack: a table of the sessions ahead does not replace it."""
    others = [name for name in frame.columns if name not in ("series_id", "time", target)]
    for name in names:
        if name in frame.columns:
            continue
        if near_match(name, others):
            check_columns(frame, [name])
        raise ValueError(
            f"A panel must have a column {name!r} with the values of its own sessions, because {name!r} is a future "
            f"covariate; found {shorten(frame.columns)}. Add it, or let with_future(panel, table, horizon, schema) add "
            "it, from a table that has the past sessions, too."
        )


def is_missing(values: pl.Series) -> pl.Series:
    """Whether each value is null or NaN, a Boolean Series.

    Parameters
    ----------
    values : Series
    """
    missing = values.is_null()
    return missing | values.is_nan().fill_null(True) if values.dtype.is_float() else missing


def _refuse(panel: pl.DataFrame, broken: pl.Series, what: str, advice: str) -> None:
    """Raise ValueError if any row is `broken`."""
    if not broken.any():
        return
    rows = panel.filter(broken)
    series = rows["series_id"].unique(maintain_order=True).to_list()
    first = f"first {rows['series_id'][0]!r} at {rows['time'][0]}"
    raise ValueError(
        f"{what}: {counted(rows.height, 'row')} of {len(series)} series ({shorten(series)}), {first}. {advice}"
    )


def _names(values: pl.Series) -> pl.Series:
    if values.dtype in (pl.String, pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    if values.dtype.is_integer():
        return values
    raise ValueError(f"'series_id' must hold text or integers, got {values.dtype}. Cast it, e.g. to strings.")


def _numbers(values: pl.Series, pandas: bool = False) -> pl.Series:
    if not values.dtype.is_numeric() and values.dtype != pl.Null:
        raise ValueError(f"{values.name!r} must hold numbers, got {values.dtype}{how_to_cast(values, pandas)}")
    values = values.cast(pl.Float64)
    return values.fill_nan(None) if values.is_nan().any() else values  # copied only if needed


def _past(values: pl.Series, pandas: bool) -> pl.Series:
    """Return numbers, true and false as 1 and 0, or the names of categories."""
    if values.dtype in (pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    if values.dtype == pl.String and values.cast(pl.Float64, strict=False).null_count() == len(values):
        cast = ".astype('category')" if pandas else ".cast(pl.Categorical)"
        raise ValueError(
            f"{values.name!r} must hold numbers or categories, got {values.dtype}. Make texts categories with {cast}."
        )
    return values.cast(pl.Float64) if values.dtype == pl.Boolean else _numbers(values, pandas)


def future_numbers(values: pl.Series, pandas: bool) -> pl.Series:
    """Return a future covariate as numbers; true and false as 1 and 0.

    Parameters
    ----------
    values : Series
    pandas : bool
        Whether the frame came as pandas. Messages then give advice for pandas.
    """
    if values.dtype in (pl.Categorical, pl.Enum):
        columns = (
            f"pd.get_dummies(frame, columns=[{values.name!r}])" if pandas else f"frame.to_dummies({values.name!r})"
        )
        raise ValueError(
            f"{values.name!r} must hold numbers, got {values.dtype}: a future covariate cannot have categories. Make "
            f"columns of 0 and 1 with {columns}."
        )
    return values.cast(pl.Float64) if values.dtype == pl.Boolean else _numbers(values, pandas)


def _static(values: pl.Series, pandas: bool) -> pl.Series:
    if values.dtype in (pl.String, pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    return values.cast(pl.Float64) if values.dtype == pl.Boolean else _numbers(values, pandas)
