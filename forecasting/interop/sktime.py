"""Panels and forecasts in the form of sktime: a pandas index of names and times, and quantiles by two-level columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from tidecast.features.error_text import counted, meant, shorten
from tidecast.features.frames import pandas_to_polars
from tidecast.forecasting.interop.forecast_rows import (
    as_days,
    checked_rows,
    forecasts_from,
    is_forecast,
    levels_by_column,
)
from tidecast.forecasting.interop.regular_times import index_of, times_from_period

if TYPE_CHECKING:
    import pandas as pd

BETWEEN = "/"
"""Joins the names of a hierarchical index into one name of a series."""


def to_sktime(table: Any, target: str = "close", levels: Sequence[str] | None = None) -> pd.DataFrame:
    """Return a panel as sktime's ``pd-multiindex``, or a forecast table as what ``predict_quantiles`` returns.

    Parameters
    ----------
    table : polars or pandas DataFrame
        A forecast table must have one origin a series, because sktime's tables do not name it.
    target : str, default="close"
        The column of values; a forecast's columns are (target, level).
    levels : sequence of str, optional
        Names of the levels of a hierarchical index: "bank/US" in ``series_id`` becomes ("bank", "US").

    Returns
    -------
    pandas DataFrame
        Indexed by ``series_id`` (or `levels`) and ``time``. A panel keeps its further columns.

    Raises
    ------
    ValueError
        A series has several origins, or names have another number of parts than `levels`.
    """
    import pandas as pd  # slow to import, and polars data does not need it

    rows = checked_rows(table, target)
    names = [_parts(name, levels) for name in rows["series_id"].to_list()]
    index = pd.MultiIndex.from_arrays(
        [*zip(*names, strict=True), index_of(rows["time"])], names=[*(levels or ["series_id"]), "time"]
    )
    if not is_forecast(rows):
        values = rows.drop("series_id", "time").to_pandas()
        return values.set_index(index)
    origins = rows.group_by("series_id", maintain_order=True).agg(pl.col("origin").n_unique())
    several = origins.filter(pl.col("origin") > 1)["series_id"].to_list()
    if several:
        raise ValueError(
            f"A forecast in sktime's form must have one origin a series, {shorten(several)} have several. Filter it."
        )
    columns = levels_by_column(rows)
    values = rows.select(*columns).to_pandas().set_index(index)
    values.columns = pd.MultiIndex.from_tuples([(target, level) for level in columns.values()])
    return values


def from_sktime(
    frame: Any, target: str | None = None, panel: Any = None, series_id: str = "series", freq: str | None = None
) -> pd.DataFrame:
    """Return a panel or a forecast table from sktime's data.

    The last level of the index is time. With three levels or more the names before it are joined by "/", and totals
    that sktime added ("__total") stay series. The quantiles of ``predict_quantiles`` become a forecast table.

    Parameters
    ----------
    frame : pandas DataFrame or Series
        ``pd-multiindex``, ``pd_multiindex_hier``, a single ``pd.DataFrame`` or ``pd.Series``, or quantiles.
    target : str, optional
        The column of values, which a panel calls ``close``; needed if there are several.
    panel : polars or pandas DataFrame, optional
        The panel that was forecast, for quantiles: each series' last row is the origin.
    series_id : str, default="series"
        Name of a single series.
    freq : str, optional
        For periods longer than a day: the day that stands for them, such as "ME".

    Returns
    -------
    pandas DataFrame

    Raises
    ------
    ValueError
        The index has no times, or the target is not clear.
    """
    import pandas as pd  # slow to import, and polars data does not need it

    table = frame.to_frame(frame.name if frame.name is not None else "close") if isinstance(frame, pd.Series) else frame
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"sktime's data must be a pandas DataFrame or Series, got {type(frame).__name__}.")
    columns = [_names(table.index, series_id), _times(table.index, freq)]
    keys = pl.DataFrame({column.name: column for column in columns})
    if table.columns.nlevels == 2:
        return _quantiles(table, keys, target, panel).to_pandas()
    if table.columns.nlevels > 2:
        raise ValueError(
            "Columns must be names, or (variable, level) of quantiles, found intervals. Ask for quantiles."
        )
    values = pandas_to_polars(table)
    if target is None:
        usual = [name for name in ("close", "y") if name in values.columns] or values.columns
        if len(usual) > 1 and usual == values.columns:
            raise ValueError(f"target must name the column of values, one of {shorten(values.columns)}.")
        target = usual[0]
    if target not in values.columns:
        raise ValueError(f"target must be a column, {target!r} is not in {shorten(values.columns)}.")
    others = [name for name in values.columns if name != target]
    made = pl.concat([keys, values.select(pl.col(target).alias("close"), *others)], how="horizontal")
    return made.with_columns(as_days(made["time"])).to_pandas()


def _parts(name: Any, levels: Sequence[str] | None) -> list[Any]:
    parts = [name] if levels is None else str(name).split(BETWEEN)
    if levels is not None and len(parts) != len(levels):
        raise ValueError(
            f"Names must have {counted(len(levels), 'part')} joined by {BETWEEN!r}, as levels has, found {name!r}."
        )
    return parts


def _names(index: Any, series_id: str) -> pl.Series:
    if index.nlevels == 1:
        return pl.Series("series_id", [series_id] * len(index))
    levels = [index.get_level_values(level) for level in range(index.nlevels - 1)]
    if len(levels) == 1:
        return pl.Series("series_id", levels[0].to_list())
    joined = [[str(name) for name in row] for row in zip(*levels, strict=True)]
    if odd := [name for row in joined for name in row if BETWEEN in name]:
        raise ValueError(f"Names of a hierarchy must not contain {BETWEEN!r}, which joins them, found {odd[0]!r}.")
    return pl.Series("series_id", [BETWEEN.join(row) for row in joined])


def _times(index: Any, freq: str | None) -> pl.Series:
    times = index if index.nlevels == 1 else index.get_level_values(-1)
    if str(times.dtype).startswith("period"):
        found = {period: times_from_period(period, 1, freq)[0] for period in times.unique()}
        return pl.Series("time", [found[period] for period in times])
    if times.dtype.kind != "M" and not str(times.dtype).startswith("datetime64"):
        raise ValueError(f"The last level of the index must hold times, found {times.dtype}. Set it to datetimes.")
    if getattr(times, "tz", None) is not None:
        raise ValueError(f"Times of sktime must have no zone, found {times.tz}. Convert them with .tz_localize(None).")
    return pl.Series("time", times.to_numpy().astype("datetime64[us]"))


def _quantiles(table: Any, keys: pl.DataFrame, target: str | None, panel: Any) -> pl.DataFrame:
    variables = list(dict.fromkeys(table.columns.get_level_values(0)))
    if target is None and len(variables) > 1:
        raise ValueError(f"target must name the variable, one of {shorten(variables)}.")
    chosen = variables[0] if target is None else target
    if chosen not in variables:
        raise ValueError(f"target must be one of {shorten(variables)}, got {target!r}.{meant(target, variables)}")
    found = table[chosen]
    levels = {f"level {level}": round(float(level), 10) for level in found.columns}
    values = pl.DataFrame({name: found.iloc[:, k].to_numpy() for k, name in enumerate(levels)})
    return forecasts_from(pl.concat([keys, values], how="horizontal"), levels, panel, "sktime")
