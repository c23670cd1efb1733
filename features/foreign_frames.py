"""Panels from frames of other libraries, whose columns are recognised and renamed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import polars as pl

from tidecast.features.column_names import FIELDS, PRICES, TARGETS, find_columns, line_for
from tidecast.features.error_text import near_match, shorten
from tidecast.features.frames import Frame, is_pandas, pandas_to_polars, to_polars

if TYPE_CHECKING:
    import pandas as pd

DATETIMES = pl.Datetime("us")
ISO = (
    (pl.Date(), "%Y-%m-%d"),
    (DATETIMES, "%Y-%m-%d %H:%M:%S%.f"),
    (DATETIMES, "%Y-%m-%dT%H:%M:%S%.f"),
    (DATETIMES, "%Y-%m-%dT%H:%M:%S%.f%#z"),
    (DATETIMES, "%Y-%m-%d %H:%M:%S%.f%#z"),
)
"""Formats of text that are read as times; times with an offset become UTC."""

ONLY = "series"
"""Name of a series without a name."""


def panel_from(frame: Any, series_id: str | None = None, time: str | None = None, target: str | None = None) -> Frame:
    """Return a panel with `series_id`, `time` and `close` from a frame in the form of another library.

    Recognised without arguments: long frames with usual names (Nixtla's ``unique_id``, ``ds``, ``y``; ``ticker``,
    ``date``, ``Close``; …), a pandas index of times, or of names and times (sktime, GluonTS), pandas columns of two
    levels (yfinance), wide frames with a column for each series, a single series without a name, a pandas Series, and
    a pyarrow Table. Further columns are kept; names of price fields become lower case ("Volume" → "volume").

    Parameters
    ----------
    frame : polars or pandas DataFrame, pandas Series, or pyarrow Table
        Text times must be ISO dates or datetimes. A pandas period counts as its first instant.
    series_id, time, target : str, optional
        Columns (or index levels) of names, times and the values to forecast. None: recognised.

    Returns
    -------
    DataFrame
        pandas for pandas, else polars. The target is called ``close``.

    Raises
    ------
    TypeError
        When `frame` is none of these.
    ValueError
        When a column does not exist, or its meaning is not clear. The message gives the line to write.

    Examples
    --------
    >>> from datetime import date
    >>> rows = {"unique_id": ["a"], "ds": [date(2024, 1, 2)], "y": [1.0]}
    >>> panel_from(pl.DataFrame(rows)).columns
    ['series_id', 'time', 'close']
    """
    table, pandas = _flat(frame)
    names = {"series_id": series_id, "time": time, "target": target}
    for argument, name in names.items():
        if name is not None and name not in table.columns:
            near = near_match(name, table.columns)
            hint = f" Did you mean {near!r}?" if near else " Give the name of one of them."
            raise ValueError(f"{argument} must be a column, {name!r} is not in {shorten(table.columns)}.{hint}")
    given = [name for name in names.values() if name is not None]
    if len(set(given)) < len(given):
        raise ValueError(f"series_id, time and target must be columns of their own, got {shorten(given)}. Name others.")
    found = find_columns(table, **names)
    if found["time"] is None:
        raise ValueError(_unclear("time", "a column of times", table))
    if found["target"] is None:
        table, found = _from_wide(table, found)
    elif found["series_id"] is None:
        table = _single(table, found)
        found["series_id"] = "series_id"
    panel = _renamed(table, found)
    panel = panel.with_columns(_parsed(panel["time"], found["time"] or "time", pandas))
    return panel.to_pandas() if pandas else panel


def _flat(frame: Any) -> tuple[pl.DataFrame, bool]:
    """Return the frame as polars, with a pandas index as columns, and whether it was pandas."""
    if is_pandas(frame):
        return pandas_to_polars(_without_index(_stacked(frame))), True
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(frame, pandas.Series):
        if not (frame.index.nlevels > 1 or _holds_times(frame.index)):
            raise ValueError(
                "A pandas Series must have an index of times, or of names and times, found "
                f"{type(frame.index).__name__}. Set it, or give a DataFrame."
            )
        name = str(frame.name) if frame.name is not None else ONLY
        one = frame.to_frame("close")
        if frame.index.nlevels == 1:
            one.insert(0, "series_id", name)
        return pandas_to_polars(_without_index(one)), True
    arrow = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(frame, arrow.Table):
        return pandas_to_polars(frame.to_pandas()), False
    return to_polars(frame), False


def _holds_times(index: Any) -> bool:
    kind = index.dtype
    return bool(kind.kind == "M" or str(kind).startswith("period") or getattr(index, "inferred_type", "") == "date")


def _stacked(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with two levels of columns, price fields and series, as rows for each series."""
    columns = frame.columns
    if columns.nlevels == 1:
        return frame
    fields = [
        level
        for level in range(columns.nlevels)
        if {str(name).lower() for name in columns.get_level_values(level)} & PRICES
    ]
    if columns.nlevels != 2 or len(fields) != 1:
        raise ValueError(
            "Columns of several levels must be two: price fields such as 'Close', and names of series; found "
            f"{shorten(list(columns))}. Give a frame with one level of columns."
        )
    by_field = frame if fields[0] == 0 else frame.swaplevel(axis=1)
    names = by_field.columns.get_level_values(1).unique()
    each = [by_field.xs(name, axis=1, level=1).dropna(how="all").assign(series_id=name) for name in names]
    stacked = sys.modules["pandas"].concat(each)
    stacked.columns.name = None
    return stacked


def _without_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with named levels and times of the index as columns; any other index is dropped."""
    index: Any = frame.index
    if index.nlevels == 1:
        if not _holds_times(index) and (index.name is None or index.name in frame.columns):
            return frame.reset_index(drop=True)
        name = index.name if index.name is not None and index.name not in frame.columns else "time"
        return frame.rename_axis(index=name).reset_index(drop=name in frame.columns)
    levels: list[Any] = []
    for level in range(index.nlevels):
        name = index.names[level]
        usual = "time" if _holds_times(index.levels[level]) else "series_id" if index.nlevels == 2 else f"level_{level}"
        levels.append(usual if name is None else name)
    return frame.rename_axis(index=levels).reset_index()


def _from_wide(table: pl.DataFrame, found: dict[str, str | None]) -> tuple[pl.DataFrame, dict[str, str | None]]:
    """Return a wide table, with a column for each series, as a row for each value, and its columns' meaning."""
    time, others = found["time"], [name for name in table.columns if name not in found.values()]
    numbers = [name for name in others if table.schema[name].is_numeric()]
    fields = [name for name in numbers if name.lower() in FIELDS or name.lower() in TARGETS]
    twice = table[str(time)].is_duplicated().any()
    names = [name for name in numbers if table.schema[name].is_integer() and table[name].n_unique() == 1]  # as PERMNO
    unlike = 0 < len(names) < len(numbers) and len(table) > 1
    if found["series_id"] is not None or not numbers or numbers != others or fields or twice or unlike:
        raise ValueError(_unclear("target", "one column of values to forecast", table))
    long = table.unpivot(on=numbers, index=time, variable_name="series_id", value_name="close")
    return long.drop_nulls("close"), {"series_id": "series_id", "time": time, "target": "close"}


def _single(table: pl.DataFrame, found: dict[str, str | None]) -> pl.DataFrame:
    """Return the table of one series with a name for it."""
    if table[str(found["time"])].is_duplicated().any():
        raise ValueError(_unclear("series_id", "a column of names, because times occur twice", table))
    return table.select(pl.lit(ONLY).alias("series_id"), pl.all())


def _renamed(table: pl.DataFrame, found: dict[str, str | None]) -> pl.DataFrame:
    """Return the table with the panel's names, and price fields in lower case."""
    usual = {"series_id": "series_id", "time": "time", "target": "close"}
    names = {str(found[argument]): name for argument, name in usual.items()}
    taken = {*names.values(), *(name for name in table.columns if name not in names)}
    for name in table.columns:
        if name not in names and name in names.values():
            argument = next(key for key, value in usual.items() if value == name)
            raise ValueError(
                f"A panel must have one column {name!r}, found {found[argument]!r} for it and a column {name!r} as "
                f"well. Drop or rename {name!r} first."
            )
        if name not in names and name.lower() in FIELDS and name.lower() not in taken:
            names[name] = name.lower()
    table = table.rename(names)
    first = list(usual.values())
    return table.select(*first, *(name for name in table.columns if name not in first))


def _parsed(times: pl.Series, name: str, pandas: bool) -> pl.Series:
    """Return times as dates or datetimes; ISO texts are parsed."""
    if isinstance(times.dtype, pl.Date | pl.Datetime):
        return times
    if times.dtype == pl.String:
        for kind, form in ISO:
            try:
                parsed = times.str.strptime(kind, form, strict=True)
                if form == "%Y-%m-%d" or not times.str.contains(r"^.{16}:60").any():  # else read as the next minute
                    return parsed
            except (pl.exceptions.PolarsError, ValueError):
                continue
    advice = f"pd.to_datetime(frame[{name!r}])" if pandas else f"pl.col({name!r}).str.to_date(format)"
    raise ValueError(
        f"{name!r} must hold dates, datetimes or ISO texts such as '2024-01-31', found {times.dtype}, first "
        f"{times[0] if len(times) else None!r}. Parse it with {advice}."
    )


def _unclear(argument: str, what: str, table: pl.DataFrame) -> str:
    """Return the message for a column that is not recognised."""
    return (
        f"{argument} must be {what}, and it is not clear which of {shorten(table.columns)} it is. Write "
        f"{line_for(table, always=True)}."
    )
