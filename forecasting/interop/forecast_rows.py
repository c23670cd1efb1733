"""Forecast tables from rows of quantiles that other libraries name and place in their own ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.frames import to_polars
from tidecast.features.panel import PanelSchema, check_rows
from tidecast.forecasting.tables.check import check_forecasts, quantiles_by_level
from tidecast.forecasting.tables.quantiles import MEDIAN, level_of

KEYS = ["series_id", "origin", "step", "time"]


def is_forecast(table: pl.DataFrame) -> bool:
    """Whether a table holds forecasts rather than a panel.

    Parameters
    ----------
    table : polars.DataFrame
    """
    return {"origin", "step", "forecast"} <= set(table.columns)


def checked_rows(table: Any, target: str) -> pl.DataFrame:
    """Return a panel as the forecasters read it, or a forecast table, sorted, with times without a zone.

    Parameters
    ----------
    table : polars or pandas DataFrame
    target : str
        The column of values, if it is a panel.

    Raises
    ------
    ValueError
        It is not a panel, or the times of a forecast table have a zone.
    """
    rows = to_polars(table)
    if not is_forecast(rows):
        return check_rows(table, PanelSchema(positive=False), target)
    for name in ("origin", "time"):
        zone = getattr(rows.schema[name], "time_zone", None)
        if zone is not None:
            raise ValueError(
                f"{name!r} of a forecast table must have no zone, found {zone}. Convert it with "
                ".dt.convert_time_zone('UTC').dt.replace_time_zone(None)."
            )
    return check_forecasts(rows.sort("series_id", "origin", "step"), "The table")


def levels_by_column(table: pl.DataFrame) -> dict[str, float]:
    """Return the columns of quantiles of a forecast table, in rising order, with their levels.

    Parameters
    ----------
    table : polars.DataFrame
    """
    return {name: level_of(name) for name in quantiles_by_level(table.columns)}


def forecasts_from(rows: pl.DataFrame, levels: Mapping[str, float], panel: Any, library: str) -> pl.DataFrame:
    """Return a forecast table of rows with ``series_id``, ``time``, perhaps ``origin``, and columns of quantiles.

    Step k is the k-th row of a series and origin.

    Parameters
    ----------
    rows : polars.DataFrame
    levels : mapping of str to float
        Level of each column of quantiles.
    panel : polars or pandas DataFrame, optional
        The panel that was forecast: each series' last row is the origin, if the rows do not have one.
    library : str
        For messages.

    Raises
    ------
    ValueError
        There is no median or no origin, series have different numbers of steps, a time does not lie after its origin,
        or a value is missing, infinite or out of order.
    """
    if MEDIAN not in levels.values():
        raise ValueError(
            f"A forecast must have a median, level 0.5; {library}'s has the levels {sorted(levels.values())}. Ask the "
            "model for it."
        )
    rows = rows.with_columns(as_days(rows["time"]))
    if "origin" in rows.columns:
        rows = rows.with_columns(as_days(rows["origin"]))
    else:
        rows = _from_the_last_row(rows, panel, library)
    rows = rows.sort("series_id", "origin", "time").with_columns(
        pl.int_range(1, pl.len() + 1).over("series_id", "origin").cast(pl.Int32).alias("step")
    )
    _check_steps(rows, library)
    names = {name: "forecast" if level == MEDIAN else f"q{level!r}" for name, level in levels.items()}
    rising = sorted(levels, key=levels.__getitem__)
    others = [name for name in rising if levels[name] != MEDIAN]
    median = next(name for name in rising if levels[name] == MEDIAN)
    table = rows.select(*KEYS, pl.col(median, *others).cast(pl.Float64)).rename(names)
    return check_forecasts(table, library)


def as_days(times: pl.Series) -> pl.Series:
    """Return times as dates if all are midnights, else as they are in microseconds.

    Parameters
    ----------
    times : Series of Date or Datetime
    """
    if times.dtype == pl.Date:
        return times
    if not isinstance(times.dtype, pl.Datetime):
        raise ValueError(f"{times.name!r} must hold dates or datetimes, got {times.dtype}. Convert it first.")
    if times.dtype.time_zone is None and bool((times.dt.truncate("1d") == times).all()):
        return times.cast(pl.Date)
    return times.cast(pl.Datetime("us", times.dtype.time_zone))


def _from_the_last_row(rows: pl.DataFrame, panel: Any, library: str) -> pl.DataFrame:
    if panel is None:
        raise ValueError(
            f"A forecast must have an origin; {library}'s does not say it. Pass panel=, the panel that was forecast: "
            "each series' last row is the origin."
        )
    frame = to_polars(panel)
    last = frame.group_by("series_id").agg(origin=pl.col("time").max())
    last = last.with_columns(as_days(last["origin"]))
    if last.schema["series_id"] != rows.schema["series_id"]:
        raise ValueError(
            f"'series_id' must have one type, found {rows.schema['series_id']} in {library}'s forecast and "
            f"{last.schema['series_id']} in the panel. Cast one of them."
        )
    if last.schema["origin"] != rows.schema["time"]:
        raise ValueError(
            f"Times must be of one kind, found {rows.schema['time']} in {library}'s forecast and "
            f"{last.schema['origin']} in the panel. Convert one of them."
        )
    joined = rows.join(last, on="series_id", how="left", maintain_order="left")
    if joined["origin"].null_count():
        unknown = joined.filter(pl.col("origin").is_null())["series_id"].unique(maintain_order=True).to_list()
        raise ValueError(f"Every series must be in the panel; {shorten(unknown)} are not. Pass the panel with them.")
    return joined


def _check_steps(rows: pl.DataFrame, library: str) -> None:
    early = rows.filter(pl.col("time") <= pl.col("origin"))
    if len(early):
        raise ValueError(
            f"Forecasts must lie after their origin; {len(early)} of {len(rows)} rows of {library}'s do not, first "
            f"{early['series_id'][0]!r} at {early['time'][0]} from {early['origin'][0]}. Leave them out."
        )
    counts = rows.group_by("series_id", "origin", maintain_order=True).agg(
        pl.len(), pl.col("time").n_unique().alias("u")
    )
    fewest, most = min(counts["len"]), max(counts["len"])
    if fewest < most or bool((counts["len"] != counts["u"]).any()):
        raise ValueError(
            f"Every series and origin must have the same steps, each once; {library}'s have {fewest} to "
            f"{most}. Give the forecast without rows left out."
        )
