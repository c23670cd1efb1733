"""Panels as users give and get them, polars or pandas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import polars as pl

from tidecast.features.column_names import SERIES
from tidecast.features.error_text import shorten

if TYPE_CHECKING:
    import pandas as pd

FrameLike = TypeVar("FrameLike", bound="pl.DataFrame | pd.DataFrame")
"""A frame that is returned in the kind in which it was given."""

Frame: TypeAlias = "pl.DataFrame | pd.DataFrame"
"""A panel as users give and get it: polars (eager) or pandas."""


def to_polars(panel: Frame) -> pl.DataFrame:
    """Return the panel as an eager polars frame; a pandas index is dropped, its NaN become null.

    Times with a fixed offset from UTC: midnights come back as days without a zone. Other times come back in the zone of
    that offset, or in UTC if the offset is not of whole hours. pandas periods come back as their first instant.

    Parameters
    ----------
    panel : polars or pandas DataFrame

    Raises
    ------
    TypeError
        For a LazyFrame and for anything that is neither a polars nor a pandas frame.
    ValueError
        For a pandas frame whose index or columns hold what must be a column, and for a column without a type.
    """
    if isinstance(panel, pl.DataFrame):
        if objects := [name for name, kind in panel.schema.items() if kind == pl.Object]:
            raise ValueError(f"Columns must have a type, got objects in {shorten(objects)}. Cast or drop them.")
        return panel
    if isinstance(panel, pl.LazyFrame):
        raise TypeError("A panel must be an eager frame, got a polars LazyFrame. Call .collect() on it first.")
    if is_pandas(panel):
        _check_index(panel)
        return pandas_to_polars(panel)
    kind = type(panel).__name__
    advice = "Give a frame with the columns series_id, time and a target."
    if kind in ("Series", "Table"):
        advice = "Make one of a pandas Series or a pyarrow Table with panel_from(frame)."
    elif kind in ("ndarray", "Tensor"):
        advice = "Give the frame itself; for arrays, such as scikit-learn's meta-estimators pass, use a GRURegressor."
    raise TypeError(f"A panel must be a polars or pandas DataFrame, got {kind}. {advice}")


def _check_index(panel: pd.DataFrame) -> None:
    """Raise ValueError if the index, or a second level of columns, holds what must be a column."""
    if panel.columns.nlevels > 1:
        raise ValueError(
            f"A panel must have one level of columns, found {panel.columns.nlevels}: {shorten(list(panel.columns), 3)}"
            ". Write panel_from(frame)."
        )
    index = panel.index
    names = {"series_id", "time"} & set(index.names)
    if index.nlevels > 1:
        names |= {name for name in ("series_id", "time") if name not in panel.columns}
    elif index.dtype.kind == "M" or str(index.dtype).startswith("period") or index.inferred_type == "date":
        names |= {"time"}
    elif str(index.name).lower() in SERIES and index.name not in panel.columns:
        names |= {"series_id"}
    if lost := sorted(names - set(panel.columns)):
        raise ValueError(
            f"{shorten(lost)} must be a column, found in the pandas index. Call .reset_index() on the frame first, or "
            "write panel_from(frame)."
        )


def pandas_to_polars(panel: pd.DataFrame) -> pl.DataFrame:
    """Return the columns of a pandas frame, without its index.

    Parameters
    ----------
    panel : pandas DataFrame
        With one level of columns.

    Raises
    ------
    ValueError
        For columns that occur twice, and for one whose values have no common type.
    """
    names = [str(name) for name in panel.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Columns must have names of their own, found {shorten(twice)} twice. Rename or drop one.")
    plain = panel.reset_index(drop=True)
    columns = {name: _column(name, plain.iloc[:, index]) for index, name in enumerate(names)}
    return pl.from_dict(columns)


def _column(name: str, values: pd.Series) -> pl.Series:
    """Return one column of a pandas frame."""
    try:
        return _converted(name, values)
    except (Exception, pl.exceptions.PanicException):
        kinds = sorted({type(value).__name__ for value in values.head(10_000)})
        advice = f"Write frame[{name!r}] = frame[{name!r}].astype(str), or .astype(float) for numbers"
        raise ValueError(
            f"{name!r} must hold values of one type, found {values.dtype} of {shorten(kinds)}. {advice}; or drop it."
        ) from None


def _converted(name: str, values: Any) -> pl.Series:
    kind: Any = values.dtype
    if str(kind).startswith("period"):
        values = values.dt.to_timestamp()
    elif str(kind).startswith("Sparse"):
        values = values.sparse.to_dense()
    elif str(kind) == "object" and (aware := _aware(values)) is not None:
        if _name_of(aware) is None or _is_offset(_name_of(aware)):  # each time may have an offset of its own
            walls = [None if _missing(value) else value.replace(tzinfo=None) for value in values]
            if _all_midnight(written := pl.Series(name, walls, dtype=pl.Datetime("us"))):
                return written
        instants = [None if _missing(value) else value.astimezone(UTC).replace(tzinfo=None) for value in values]
        return _in_zone(pl.Series(name, instants, dtype=pl.Datetime("us")), aware)
    zone = getattr(kind, "tz", None) or getattr(getattr(kind, "pyarrow_dtype", None), "tz", None)
    if zone is None:
        return pl.from_pandas(values.rename(name))
    return _in_zone(pl.from_pandas(values.dt.tz_convert(None).rename(name)), zone)


def _aware(values: pd.Series) -> Any:
    """Return the zone of the first datetime of an object column of datetimes with a zone, else None."""
    known = [value for value in values if not _missing(value)]
    aware = [isinstance(value, datetime) and value.tzinfo is not None for value in known]
    return known[0].tzinfo if known and all(aware) else None


def _missing(value: object) -> bool:
    return value is None or (not hasattr(value, "__len__") and value != value)  # NaN and NaT differ from themselves


def _in_zone(instants: pl.Series, zone: Any) -> pl.Series:
    """Return instants in UTC as times in a zone; midnights of a fixed offset as days without a zone."""
    found = instants.dt.replace_time_zone("UTC")
    name = zone if isinstance(zone, str) else _name_of(zone)
    if name is None:
        return found
    if _is_offset(name):
        offset = _minutes(name)
        if _all_midnight(written := instants + timedelta(minutes=offset)):
            return written
        if offset % 60 or not -14 * 60 <= -offset <= 12 * 60:
            return found
        name = f"Etc/GMT{-offset // 60:+d}"  # the sign is the other way round there
    try:
        return found.dt.convert_time_zone(name)
    except pl.exceptions.PolarsError:  # an unknown zone does not change the instant
        return found


def _is_offset(name: str | None) -> bool:
    return name is not None and name.startswith(("+", "-"))


def _minutes(offset: str) -> int:
    """Minutes east of UTC of an offset such as "+05:30"."""
    hours, minutes = offset[1:].split(":")[:2]
    return (int(hours) * 60 + int(minutes)) * (-1 if offset[0] == "-" else 1)


def _all_midnight(walls: pl.Series) -> bool:
    return len(walls) > walls.null_count() and bool((walls.dt.truncate("1d") == walls).all())


def _name_of(zone: tzinfo) -> str | None:
    """Return the name of a zone in the time zone database; None without one, such as for a fixed offset."""
    from pyarrow.lib import ArrowException, tzinfo_to_string  # slow to import, and polars data does not need it

    try:
        return str(tzinfo_to_string(zone))
    except (ArrowException, ValueError, TypeError):
        return None


def like(frame: pl.DataFrame, panel: Frame | None) -> Frame:
    """Return a frame in the kind of a panel: pandas if that is pandas, else polars.

    Parameters
    ----------
    frame : polars.DataFrame
    panel : polars or pandas DataFrame, optional
    """
    return frame.to_pandas() if is_pandas(panel) else frame


def is_pandas(frame: object) -> bool:
    """Whether an object is a pandas DataFrame, without importing pandas, which is slow.

    Parameters
    ----------
    frame : object
    """
    return any(
        (kind.__module__.partition(".")[0], kind.__name__) == ("pandas", "DataFrame") for kind in type(frame).mro()
    )
