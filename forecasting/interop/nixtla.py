"""Panels and forecasts in the form of Nixtla's libraries: ``unique_id``, ``ds``, ``y``, and columns named by model."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from tidecast.features.error_text import meant, shorten
from tidecast.features.foreign_frames import panel_from
from tidecast.features.frames import Frame, is_pandas, like, to_polars
from tidecast.forecasting.interop.forecast_rows import (
    as_days,
    checked_rows,
    forecasts_from,
    is_forecast,
    levels_by_column,
)
from tidecast.forecasting.tables.quantiles import MEDIAN

SUFFIX = re.compile(
    r"-(?:(?P<median>median)|(?P<side>lo|hi)-(?P<width>[\d.]+)|ql(?P<level>[\d.]+)|q-(?P<percent>[\d.]+))"
)


def to_nixtla(table: Frame, model: str = "Tidecast", target: str = "close") -> Frame:
    """Return a panel or a forecast table as Nixtla's libraries have it.

    A panel becomes ``unique_id``, ``ds``, ``y`` and its further columns. A forecast table becomes ``unique_id``,
    ``ds``, ``cutoff`` (the origin), the median under the name of the model, and ``model-lo-90``, ``model-hi-90``, …
    for levels 0.05 and 0.95. Times are read as the forecasters read them: days without a zone, bars in UTC without
    a zone.

    Parameters
    ----------
    table : polars or pandas DataFrame
    model : str, default="Tidecast"
        Begins the names of a forecast's columns.
    target : str, default="close"
        Column of a panel that becomes ``y``.

    Returns
    -------
    DataFrame
        polars for polars, pandas for pandas.

    Examples
    --------
    >>> from datetime import date
    >>> to_nixtla(pl.DataFrame({"series_id": ["a"], "time": [date(2024, 1, 2)], "close": [1.0]})).columns
    ['unique_id', 'ds', 'y']
    """
    rows = checked_rows(table, target)
    names = {"series_id": "unique_id", "time": "ds"}
    if not is_forecast(rows):
        first = rows.rename(names | {target: "y"})
        columns = ["unique_id", "ds", "y", *(name for name in first.columns if name not in ("unique_id", "ds", "y"))]
        return like(_with_datetimes(first.select(columns), ["ds"]), table)
    levels = {name: _name(model, level) for name, level in levels_by_column(rows).items()}
    found = rows.select("series_id", "time", "origin", *levels).rename(names | {"origin": "cutoff"} | levels)
    return like(_with_datetimes(found, ["ds", "cutoff"]), table)


def from_nixtla(frame: Frame, model: str | None = None, panel: Frame | None = None) -> Frame:
    """Return a panel, or with `model` a forecast table, from a frame of Nixtla's libraries.

    Parameters
    ----------
    frame : polars or pandas DataFrame
        ``unique_id``, ``ds`` and ``y``, or the result of ``predict``, ``forecast`` or ``cross_validation``.
    model : str, optional
        The model whose forecasts to take: its column (or ``model-median``) is the median, ``model-lo-90`` level 0.05.
    panel : polars or pandas DataFrame, optional
        The panel that was forecast, for a frame without ``cutoff``: each series' last row is the origin.

    Returns
    -------
    DataFrame
        polars for polars, pandas for pandas.

    Raises
    ------
    ValueError
        A column is missing, or forecasts are not what a forecast table must be.
    """
    given: Any = frame
    if is_pandas(given) and "unique_id" in given.index.names:  # as in older versions of Nixtla's libraries
        given = given.reset_index()
    rows = to_polars(given)
    if model is None:
        if "y" not in rows.columns or "cutoff" in rows.columns:
            raise ValueError(f"Pass model=, one of {shorten(_models(rows))}, or a frame with a column 'y' for a panel.")
        made = panel_from(rows, series_id="unique_id", time="ds", target="y")
        made = to_polars(made)
        return like(made.with_columns(as_days(made["time"])), frame)
    levels = _levels(rows, model)
    keys = {"unique_id": "series_id", "ds": "time", "cutoff": "origin"}
    keys = {name: ours for name, ours in keys.items() if name in rows.columns}
    if not {"unique_id", "ds"} <= set(keys):
        raise ValueError(f"Nixtla's forecasts must have the columns unique_id and ds, found {shorten(rows.columns)}.")
    named = rows.select(*keys, *levels).rename(keys)
    return like(forecasts_from(named, levels, panel, "Nixtla"), frame)


def _name(model: str, level: float) -> str:
    if level == MEDIAN:
        return model
    width = round(100 * abs(1 - 2 * level), 8)
    return f"{model}-{'lo' if level < MEDIAN else 'hi'}-{width:g}"


def _levels(rows: pl.DataFrame, model: str) -> dict[str, float]:
    """Columns of a model's quantiles with their levels; the model's own column is the median."""
    levels: dict[str, float] = {}
    for name in rows.columns:
        found = SUFFIX.fullmatch(name[len(model) :]) if name.startswith(model) else None
        if found is None:
            continue
        if found["median"]:
            level = MEDIAN
        elif found["side"]:
            half = float(found["width"]) / 200
            level = MEDIAN - half if found["side"] == "lo" else MEDIAN + half
        else:
            level = float(found["level"]) if found["level"] else float(found["percent"]) / 100
        levels[name] = round(level, 10)
    if MEDIAN not in levels.values() and model in rows.columns:
        levels[model] = MEDIAN
    if not levels:
        raise ValueError(f"model must be one of {shorten(_models(rows))}, got {model!r}.{meant(model, _models(rows))}")
    return levels


def _models(rows: pl.DataFrame) -> list[str]:
    keys = {"unique_id", "ds", "cutoff", "y"}
    return list(dict.fromkeys(re.sub(SUFFIX.pattern + "$", "", name) for name in rows.columns if name not in keys))


def _with_datetimes(rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    return rows.with_columns(pl.col(names).cast(pl.Datetime("us")))
