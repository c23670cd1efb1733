"""A table of what is known ahead, and the panel that it is joined to: read and checked alike for values and events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import check_whole, shorten
from tidecast.features.frames import Frame, to_polars
from tidecast.features.known_ahead.places import Places
from tidecast.features.known_ahead.vintages import Array
from tidecast.features.panel import AHEAD, PanelSchema, check_columns
from tidecast.features.session_dates import read_sessions

BLOCK = 1 << 18
"""Origins that are looked up at a time."""


@dataclass(frozen=True)
class Joined:
    """A panel and a table to join to it.

    Attributes
    ----------
    panel, table : polars.DataFrame
    places : Places
        Of the panel's series.
    """

    panel: pl.DataFrame
    table: pl.DataFrame
    places: Places


def read_both(
    panel: Frame, table: Any, needed: Sequence[str], horizon: int, schema: PanelSchema | None, group: str | None,
    calendar: PanelCalendar | None = None,
) -> Joined:  # fmt: skip
    """Return the panel and the table as polars, with the places of the panel's series.

    Parameters
    ----------
    panel, table : polars or pandas DataFrame
    needed : sequence of str
        Columns of the table that must be there, and known in every row.
    horizon : int
        Sessions.
    schema : PanelSchema or None
        Its calendar is that of series without one of their own.
    group : str or None
        The column of groups, in the panel and in the table.
    calendar : PanelCalendar, optional
        That of each series, where it is known; `time` of the panel is then as its sessions are written.

    Raises
    ------
    TypeError, ValueError
        A column is missing, or a value in it.
    """
    check_whole("horizon", horizon, at_least=1)
    frame, rows = to_polars(panel), to_polars(table)
    check_columns(frame, ["series_id", "time", *([group] if group else [])])
    for column in needed:
        if column not in rows.columns:
            raise ValueError(f"The table must have a column {column!r}, found {shorten(rows.columns)}. Rename one.")
        if missing := rows[column].null_count():
            raise ValueError(f"{column!r} must be known in every row, it is missing in {missing}. Drop these rows.")
    default = schema.calendar if schema else None
    names = ["series_id", "time", *(name for name in (group, "calendar") if name and name in frame.columns)]
    keys = frame.select(list(dict.fromkeys(names)))
    if calendar is None:
        keys = keys.with_columns(read_sessions(keys, PanelCalendar.named(keys, default)).alias("time"))
        calendar = PanelCalendar.of(keys.sort("series_id", "time"), default)
    return Joined(frame, rows, Places(keys, calendar, group))


def blocks(n: int) -> Iterator[slice]:
    """Yield slices of about `BLOCK` of n origins.

    Parameters
    ----------
    n : int
    """
    for begin in range(0, n, BLOCK):
        yield slice(begin, min(begin + BLOCK, n))


def as_column(name: str, values: np.ndarray) -> pl.Series:
    """Return values of shape (N,) or (N, H) as a column: numbers, or lists of H numbers; NaN as null, in lists as NaN.

    Parameters
    ----------
    name : str
    values : ndarray
    """
    column = pl.Series(name, np.ascontiguousarray(values))
    return column.fill_nan(None) if values.ndim == 1 else column


def has_lists(frame: pl.DataFrame, name: str) -> bool:
    """Whether a panel has a column of lists for a covariate, see `AHEAD`.

    Parameters
    ----------
    frame : polars.DataFrame
    name : str
    """
    return isinstance(frame.schema.get(name + AHEAD), pl.List | pl.Array)


def lists_of(column: pl.Series) -> Array:
    """Return lists of numbers as an array of shape (N, H), with H the length of the longest; NaN where one is missing.

    Parameters
    ----------
    column : Series of List or Array

    Raises
    ------
    ValueError
        The lists hold something else.
    """
    try:
        lists = column.cast(pl.List(pl.Float64))
    except pl.exceptions.PolarsError:
        raise ValueError(f"{column.name!r} must hold lists of numbers, got {column.dtype}.") from None
    lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    values = np.full((len(column), int(lengths.max(initial=0))), np.nan)
    inside = np.arange(values.shape[1]) < lengths[:, None]
    flat = lists.filter(pl.Series(lengths > 0)).explode()
    values[inside] = flat.fill_null(float("nan")).to_numpy() if len(flat) else 0.0
    return values
