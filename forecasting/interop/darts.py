"""Panels and forecasts as darts' TimeSeries; darts is needed only when `to_darts` is called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.error_text import shorten
from tidecast.forecasting.interop.forecast_rows import (
    as_days,
    checked_rows,
    forecasts_from,
    is_forecast,
    levels_by_column,
)
from tidecast.forecasting.interop.regular_times import common_frequency, index_of, laid_out
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES

QUANTILE = re.compile(r"(?P<name>.*)_q(?P<level>[\d.]+)")


def to_darts(table: Any, columns: Sequence[str] = ("close",), freq: str | None = None) -> list[Any]:
    """Return a TimeSeries for each series of a panel, or for each series and origin of a forecast table.

    ``metadata`` names the series (and the origin), so that `from_darts` gives the same table back. The components of a
    forecast are ``close_q0.050``, … as darts names quantiles.

    Parameters
    ----------
    table : polars or pandas DataFrame
    columns : sequence of str, default=("close",)
        A panel's columns that become components; other columns are left out. The first is the target: it names the
        components of a forecast. Make a second list for covariates: ``to_darts(panel, columns=["volume"])``.
    freq : str, optional
        A pandas alias. None: found, if no time is missing. Times missing on it become NaN.

    Returns
    -------
    list of darts.TimeSeries

    Raises
    ------
    ModuleNotFoundError
        darts is not installed.
    ValueError
        Times are not equally spaced, or a column is missing.
    """
    try:
        from darts import TimeSeries  # not a dependency: who calls this has it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("To make a TimeSeries, darts must be installed. Write pip install darts.") from error
    rows = checked_rows(table, columns[0])
    forecast = is_forecast(rows)
    if not forecast and (missing := [name for name in columns if name not in rows.columns]):
        raise ValueError(f"columns must be in the panel, {shorten(missing)} not found in {shorten(rows.columns)}.")
    names = list(levels_by_column(rows)) if forecast else list(columns)
    components = [f"{columns[0]}_q{level:.3f}" for level in levels_by_column(rows).values()] if forecast else names
    groups = rows.partition_by(["series_id", "origin"] if forecast else ["series_id"], as_dict=True)
    times = {key: index_of(part["time"]) for key, part in groups.items()}
    found = common_frequency(times, freq, "darts")
    made = []
    for key, part in groups.items():
        index, values = laid_out(times[key], part.select(pl.col(names).cast(pl.Float64)).to_numpy(), found)
        metadata = dict(zip(("series_id", "origin"), key, strict=False))
        made.append(TimeSeries.from_times_and_values(index, values, freq=found, columns=components, metadata=metadata))
    return made


def from_darts(
    series: Any, target: str | None = None, panel: Any = None, series_id: Sequence[Any] | None = None,
    quantiles: Sequence[float] = DEFAULT_QUANTILES,
) -> pl.DataFrame:  # fmt: skip
    """Return a panel or a forecast table from one TimeSeries or several.

    Series with quantile components (``close_q0.050``) or with several samples become a forecast table. A row whose
    target is NaN is left out: a panel has no row for a session that did not take place.

    Parameters
    ----------
    series : TimeSeries or sequence of TimeSeries
    target : str, optional
        The component to forecast, which a panel calls ``close``; needed if there are several.
    panel : polars or pandas DataFrame, optional
        The panel that was forecast: each series' last row is the origin, if ``metadata`` does not name it.
    series_id : sequence, optional
        Names, one a series. None: ``series_id`` of metadata or static covariates, else the component's name.
    quantiles : sequence of float
        Levels to take from samples.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    ValueError
        Names occur twice, times are integers, or the target is not clear.
    """
    each = list(series) if isinstance(series, list | tuple) else [series]
    if series_id is not None and len(series_id) != len(each):
        raise ValueError(f"series_id must have a name for each series, got {len(series_id)} for {len(each)}.")
    names = [_name(one) for one in each] if series_id is None else list(series_id)
    origins = [_metadata(one).get("origin") for one in each]
    if len(set(zip(names, origins, strict=True))) < len(each):
        raise ValueError(f"Series must have names of their own, found {shorten(names)}. Pass series_id=[…].")
    tables: list[pl.DataFrame] = []
    levels: dict[str, float] = {}
    for name, origin, one in zip(names, origins, each, strict=True):
        values, levels = _values(one, target, quantiles)
        index = one.time_index
        if not hasattr(index, "tz"):
            raise ValueError(f"A TimeSeries must be indexed by times, that of {name!r} by {type(index).__name__}.")
        keys = pl.DataFrame(
            {"series_id": [name] * len(index), "time": pl.Series(index.to_numpy().astype("datetime64[us]"))}
        )
        whole = pl.concat([keys, values], how="horizontal")
        if isinstance(origin, date | datetime):
            whole = whole.with_columns(origin=pl.lit(origin).cast(pl.Datetime("us")))
        tables.append(whole)
    rows = pl.concat(tables)
    if levels:
        rows = rows.filter(~pl.all_horizontal(pl.col(list(levels)).is_nan()))
        return forecasts_from(rows, levels, panel, "darts")
    return rows.with_columns(as_days(rows["time"])).filter(pl.col("close").is_not_nan())


def _metadata(series: Any) -> dict[str, Any]:
    return getattr(series, "metadata", None) or {}


def _name(series: Any) -> Any:
    if "series_id" in _metadata(series):
        return _metadata(series)["series_id"]
    static = getattr(series, "static_covariates", None)
    for name in ("series_id", "unique_id"):
        if static is not None and name in static.columns:
            return static[name].iloc[0]
    return str(series.components[0])


def _values(series: Any, target: str | None, quantiles: Sequence[float]) -> tuple[pl.DataFrame, dict[str, float]]:
    """Values by column, and the levels of quantiles; without levels they are a panel's."""
    components, values = [str(name) for name in series.components], series.all_values()
    parsed = {k: QUANTILE.fullmatch(name) for k, name in enumerate(components)}
    found = {k: match for k, match in parsed.items() if match is not None}
    if found and len(found) == len(components):
        mine = {k: match for k, match in found.items() if target in (None, match["name"])}
        _check_one(sorted({match["name"] for match in mine.values()}), target, components)
        levels = {components[k]: round(float(match["level"]), 10) for k, match in mine.items()}
        return pl.DataFrame({components[k]: values[:, k, 0] for k in mine}), levels
    chosen = [name for name in components if target in (None, name)]
    if target is None:
        _check_one(components, target, components)
    _check_one(chosen, target, components)
    k = components.index(chosen[0])
    if values.shape[2] > 1:
        levels = {f"level {level}": float(level) for level in sorted({*quantiles, 0.5})}
        return pl.DataFrame({name: np.quantile(values[:, k], q, axis=1) for name, q in levels.items()}), levels
    others = {name: values[:, j, 0] for j, name in enumerate(components) if j != k}
    return pl.DataFrame({"close": values[:, k, 0], **others}), {}


def _check_one(chosen: list[str], target: str | None, components: list[str]) -> None:
    if len(chosen) != 1:
        raise ValueError(f"target must name one component of {shorten(components)}, got {target!r}.")
