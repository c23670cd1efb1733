"""Panels as they come in and go out, polars or pandas."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import polars as pl

from features.messages import shorten

if TYPE_CHECKING:
    import pandas as pd

FrameLike = TypeVar("FrameLike", bound="pl.DataFrame | pd.DataFrame")
"""A frame that comes back in the kind in which it was given."""

Frame: TypeAlias = "pl.DataFrame | pd.DataFrame"
"""A panel as it comes in and goes out: polars (eager) or pandas."""


def to_polars(panel: Frame) -> pl.DataFrame:
    """The panel as an eager polars frame; a pandas index is dropped, its NaN become null.

    Raises
    ------
    TypeError
        For a LazyFrame and for anything that is neither a polars nor a pandas frame.
    ValueError
        For a pandas frame whose index holds what must be a column.
    """
    if isinstance(panel, pl.DataFrame):
        return panel
    if isinstance(panel, pl.LazyFrame):
        raise TypeError("A panel must be an eager frame, got a polars LazyFrame. Call .collect() on it first.")
    if is_pandas(panel):
        return _from_pandas(panel)
    raise TypeError(f"A panel must be a polars or pandas DataFrame, got {type(panel).__name__}.")


def _from_pandas(panel: pd.DataFrame) -> pl.DataFrame:
    names = {"series_id", "time"} & set(panel.index.names)
    names |= {"time"} if panel.index.dtype.kind == "M" else set()
    if lost := sorted(names - set(panel.columns)):
        raise ValueError(
            f"{shorten(lost)} must be a column, found in the pandas index. Call .reset_index() on the frame first."
        )
    kinds = cast("dict[str, Any]", panel.dtypes.to_dict())
    zones = {name: zone for name, kind in kinds.items() if (zone := _zone(getattr(kind, "tz", None)))}
    if not zones:
        return pl.from_pandas(panel)
    in_utc = panel.assign(**{name: panel[name].dt.tz_convert(None) for name in zones})  # with zones, pandas 3.1 warns
    utc = {name: pl.col(name).dt.replace_time_zone("UTC") for name in zones}
    return pl.from_pandas(in_utc).with_columns(utc[name].dt.convert_time_zone(zone) for name, zone in zones.items())


def _zone(zone: tzinfo | None) -> str | None:
    """Its name; None where it has none, as a fixed offset."""
    return "UTC" if zone is UTC else getattr(zone, "key", None)


def like(frame: pl.DataFrame, panel: Frame | None) -> Frame:
    """`frame` in the kind of `panel`: pandas when that is pandas, else polars."""
    return frame.to_pandas() if is_pandas(panel) else frame


def is_pandas(frame: object) -> bool:
    """Whether this is a pandas DataFrame (asked without importing pandas, which takes a while)."""
    return any(
        (kind.__module__.partition(".")[0], kind.__name__) == ("pandas", "DataFrame") for kind in type(frame).mro()
    )
