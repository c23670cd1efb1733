"""Python values, from a database or JSON, as a data frame; no value is lost to a type that does not fit."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import polars as pl


def frame_of(names: Sequence[str], columns: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """A frame of columns of Python values. Decimals become floats; where types are mixed, all become text."""
    return pl.DataFrame([_series(name, values) for name, values in zip(names, columns, strict=True)], orient="col")


def stacked(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames below each other, columns by name; a column that is not everywhere is null where it is not.

    Where one frame has numbers and another text in a column, all become text.
    """
    if len(frames) == 1:
        return frames[0]
    kinds: dict[str, set[pl.DataType]] = {}
    for frame in frames:
        for name, kind in frame.schema.items():
            kinds.setdefault(name, set()).add(kind)
    mixed = [name for name, found in kinds.items() if not _agree(found - {pl.Null()})]
    return pl.concat(
        (
            frame.with_columns(pl.col(name).cast(pl.String) for name in mixed if name in frame.columns)
            for frame in frames
        ),
        how="diagonal_relaxed",
    )


def _agree(kinds: set[pl.DataType]) -> bool:
    return len(kinds) <= 1 or all(kind.is_numeric() for kind in kinds)


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    # before polars sees them: a decimal that is NaN or infinite makes it panic
    values = [float(value) if isinstance(value, Decimal) else value for value in values]
    try:
        return pl.Series(name, values, strict=True)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        if all(value is None or type(value) in (int, float) for value in values):
            return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
