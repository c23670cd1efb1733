"""Convert Python values and pandas frames to polars; no value is lost because its type does not fit."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from tidecast.features.frames import is_pandas
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.values import as_text


def frame_of(names: Sequence[str], columns: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """Return a frame of columns of Python values. Decimals become floats; a column of mixed types becomes text.

    Parameters
    ----------
    names : sequence of str
    columns : iterable of sequence
        The values of each column.
    """
    return pl.DataFrame([_series(name, values) for name, values in zip(names, columns, strict=True)], orient="col")


def as_polars(frame: Any) -> pl.DataFrame:
    """Return a source's frame as polars. Columns of Python objects become text if their types are mixed.

    pandas' times with a zone become text in ISO 8601, because polars does not know every zone (pytz, dateutil, fixed
    offsets). Named index levels become columns.

    Parameters
    ----------
    frame : polars.DataFrame or pandas.DataFrame

    Raises
    ------
    SourceError
        It is neither, or has a column twice.
    """
    if isinstance(frame, pl.DataFrame):
        objects = [name for name, kind in frame.schema.items() if kind == pl.Object]
        return frame.with_columns(_series(name, frame[name].to_list()) for name in objects) if objects else frame
    if not is_pandas(frame):
        raise SourceError(
            f"A source's rows must be a polars or pandas DataFrame, got a {type(frame).__name__}. Convert them."
        )
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SourceError(f"A source's columns must have different names, found {twice[0]!r} twice. Rename one.")
    return pl.DataFrame([_of_pandas(name, frame.iloc[:, number]) for number, name in enumerate(names)], orient="col")


def _of_pandas(name: str, values: Any) -> pl.Series:
    zone = getattr(values.dtype, "tz", None)
    if zone is None and values.dtype.kind != "O":
        return pl.Series(name, pl.from_pandas(values))
    plain = [None if missing else value for value, missing in zip(values, values.isna(), strict=True)]
    if zone is not None:
        return pl.Series(name, [None if value is None else value.isoformat() for value in plain], dtype=pl.String)
    return _series(name, plain)


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Stack frames by column name; a column that a frame lacks is null in its rows.

    If a column is numbers in one frame and text in another, it becomes text.

    Parameters
    ----------
    frames : sequence of polars.DataFrame
    """
    if len(frames) == 1:
        return frames[0]
    kinds: dict[str, set[pl.DataType]] = {}
    for frame in frames:
        for name, kind in frame.schema.items():
            kinds.setdefault(name, set()).add(kind)
    mixed = [name for name, found in kinds.items() if not _agree(found - {pl.Null()})]
    return pl.concat(
        (frame.with_columns(as_text(frame[name]) for name in mixed if name in frame.columns) for frame in frames),
        how="diagonal_relaxed",
    )


def _agree(kinds: set[pl.DataType]) -> bool:
    return len(kinds) <= 1 or all(kind.is_numeric() for kind in kinds)


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    # polars panics on a decimal that is NaN or infinite
    values = [float(value) if isinstance(value, Decimal) else value for value in values]
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        if all(value is None or type(value) in (int, float) for value in values):
            return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
