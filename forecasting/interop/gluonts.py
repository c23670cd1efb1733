"""Panels and forecasts in the form of GluonTS: entries of a dataset, and QuantileForecast objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from tidecast.forecasting.interop.regular_times import (
    common_frequency,
    index_of,
    laid_out,
    period_at,
    times_from_period,
)
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES


def to_gluonts(table: Any, target: str = "close", past: Sequence[str] = (), freq: str | None = None) -> list[Any]:
    """Return a dataset of GluonTS from a panel, or QuantileForecast objects from a forecast table.

    An entry of the dataset has ``item_id``, ``start`` (a pandas period), ``target`` (NaN where a time of `freq` has no
    row) and with `past` ``past_feat_dynamic_real``.

    Parameters
    ----------
    table : polars or pandas DataFrame
    target : str, default="close"
    past : sequence of str, optional
        A panel's columns that become past covariates; other columns are left out.
    freq : str, optional
        A pandas alias. None: found, if no time is missing.

    Returns
    -------
    list of dict, or of gluonts.model.forecast.QuantileForecast

    Raises
    ------
    ModuleNotFoundError
        A forecast table is given, and GluonTS is not installed.
    ValueError
        Times are not equally spaced, or a column is missing.
    """
    rows = checked_rows(table, target)
    forecast = is_forecast(rows)
    if not forecast and (missing := [name for name in past if name not in rows.columns]):
        raise ValueError(f"past must be columns of the panel, {shorten(missing)} not found in {shorten(rows.columns)}.")
    groups = rows.partition_by(["series_id", "origin"] if forecast else ["series_id"], as_dict=True)
    times = {key: index_of(part["time"]) for key, part in groups.items()}
    found = common_frequency(times, freq, "GluonTS")
    levels = levels_by_column(rows) if forecast else {}
    columns = list(levels) if forecast else [target, *past]
    made = []
    for key, part in groups.items():
        index, values = laid_out(times[key], part.select(pl.col(columns).cast(pl.Float64)).to_numpy(), found)
        start = period_at(index[0], found)
        if forecast:
            made.append(_quantile_forecast(values.T, start, list(levels.values()), *key))
            continue
        entry = {"item_id": key[0], "start": start, "target": values[:, 0]}
        made.append(entry | ({"past_feat_dynamic_real": values[:, 1:].T} if past else {}))
    return made


def from_gluonts(
    data: Iterable[Any], panel: Any = None, freq: str | None = None, quantiles: Sequence[float] = DEFAULT_QUANTILES
) -> pl.DataFrame:
    """Return a panel from a dataset of GluonTS, or a forecast table from its forecasts.

    A row whose target is NaN is left out: a panel has no row for a session that did not take place. Features of a
    dataset are left out.

    Parameters
    ----------
    data : iterable of dict, or of Forecast
        A ListDataset, a PandasDataset, a list of entries; or QuantileForecast or SampleForecast objects.
    panel : polars or pandas DataFrame, optional
        The panel that was forecast: each series' last row is the origin, if ``info`` does not name it.
    freq : str, optional
        For periods longer than a day: the day that stands for them, such as "ME" or "W-FRI".
    quantiles : sequence of float
        Levels to take from a SampleForecast.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    ValueError
        An entry has no ``item_id`` or a target of several dimensions, or periods are longer than a day.
    """
    each = list(data)
    if not each:
        raise ValueError("A dataset must have at least one entry, got none.")
    if not isinstance(each[0], dict):
        return _from_forecasts(each, panel, freq, quantiles)
    tables = []
    for entry in each:
        values = np.asarray(entry["target"], dtype=float)
        if "item_id" not in entry or values.ndim != 1:
            raise ValueError(
                f"An entry must have an item_id and a target of one dimension, found {shorten(list(entry))} with a "
                f"target of shape {values.shape}. Name each, and split series of several dimensions."
            )
        times = times_from_period(entry["start"], len(values), freq)
        tables.append(pl.DataFrame({"series_id": [entry["item_id"]] * len(values), "time": times, "close": values}))
    rows = pl.concat(tables)
    return rows.with_columns(as_days(rows["time"])).filter(pl.col("close").is_not_nan())


def _quantile_forecast(values: np.ndarray, start: Any, levels: list[float], name: Any, origin: Any) -> Any:
    try:
        from gluonts.model.forecast import QuantileForecast  # not a dependency: who calls this has it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "To make a QuantileForecast, GluonTS must be installed. Write pip install gluonts."
        ) from error
    keys = [str(level) for level in levels]
    return QuantileForecast(values, start, keys, item_id=name, info={"origin": origin})


def _from_forecasts(each: list[Any], panel: Any, freq: str | None, quantiles: Sequence[float]) -> pl.DataFrame:
    tables = []
    known = [float(key) for key in getattr(each[0], "forecast_keys", ()) if str(key).replace(".", "", 1).isdigit()]
    wanted = sorted(known) or sorted({*quantiles, 0.5})
    levels = {f"level {level}": round(float(level), 10) for level in wanted}
    for one in each:
        if one.item_id is None:
            raise ValueError("A forecast must have an item_id, found none. Give the entries of the dataset names.")
        values = {name: np.asarray(one.quantile(level), dtype=float) for name, level in levels.items()}
        n = len(next(iter(values.values())))
        keys = {"series_id": [one.item_id] * n, "time": times_from_period(one.start_date, n, freq)}
        table = pl.DataFrame({**keys, **values})
        origin = (one.info or {}).get("origin")
        tables.append(table if origin is None else table.with_columns(origin=pl.lit(origin).cast(pl.Datetime("us"))))
    rows = pl.concat(tables)
    return forecasts_from(rows.filter(~pl.all_horizontal(pl.col(list(levels)).is_nan())), levels, panel, "GluonTS")
