"""Final checks of a forecast table: every value is finite, and quantiles rise with their levels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import polars as pl

from tidecast.features.error_text import counted, shorten
from tidecast.forecasting.tables.quantiles import level_of

ROUNDING = 1e-9  # relative amount by which two quantiles may cross: both are roundings of one value


def quantiles_by_level(columns: Sequence[str]) -> list[str]:
    """Columns of a forecast table that hold quantiles, including ``forecast``, in rising order of their levels.

    Parameters
    ----------
    columns : sequence of str

    Returns
    -------
    list of str

    Examples
    --------
    >>> quantiles_by_level(["series_id", "forecast", "q0.05", "q0.9"])
    ['q0.05', 'forecast', 'q0.9']
    """
    levels: dict[str, float] = {}
    for column in columns:
        try:
            levels[column] = level_of(column)
        except ValueError:
            continue
    return sorted(levels, key=levels.__getitem__)


def check_forecasts(table: pl.DataFrame, maker: str = "The model") -> pl.DataFrame:
    """Return the forecast table unchanged, if it passes the checks.

    Parameters
    ----------
    table : polars.DataFrame
        A forecast table: ``series_id``, ``origin``, ``step``, and columns of quantiles.
    maker : str, default="The model"
        Name of its maker, which begins a message.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    ValueError
        A value is missing or not finite, or quantiles cross.
    """
    names = quantiles_by_level(table.columns)
    check_finite(table, names, maker)
    check_order(table, names, maker)
    return table


def check_finite(table: pl.DataFrame, names: Sequence[str], maker: str = "The model") -> pl.DataFrame:
    """Return the table unchanged, if these columns hold finite numbers only.

    Parameters
    ----------
    table : polars.DataFrame
    names : sequence of str
    maker : str, default="The model"

    Raises
    ------
    ValueError
        Naming the first row whose value is missing, NaN or infinite.
    """
    not_finite = table.filter(~pl.all_horizontal(pl.col(list(names)).is_finite().fill_null(False)))
    if len(not_finite):
        first = not_finite.row(0, named=True)
        name = next(name for name in names if first[name] is None or not abs(first[name]) < float("inf"))
        series = shorten(not_finite["series_id"].unique(maintain_order=True).to_list())
        raise ValueError(
            f"{maker} must give forecasts that are finite; those of {series} are not: {len(not_finite)} of "
            f"{counted(len(table), 'row')}, {_where(first)}, {name} = {first[name]}. Check the prices of these "
            "series for jumps by orders of magnitude, or fit again at a lower learning_rate."
        )
    return table


def check_order(table: pl.DataFrame, names: Sequence[str], maker: str = "The model") -> pl.DataFrame:
    """Return the table unchanged, if no column is above the next one by more than rounding.

    A value that is missing or not finite is ignored.

    Parameters
    ----------
    table : polars.DataFrame
    names : sequence of str
        Columns of quantiles, in rising order of their levels.
    maker : str, default="The model"

    Raises
    ------
    ValueError
        Naming the first row and the two columns that cross.
    """
    crossed = [_crossed(low, high).alias(f"{low} {high}") for low, high in pairwise(names)]
    where = table.select(crossed) if crossed else table.select(pl.lit(False))
    rows = where.select(pl.any_horizontal(pl.all())).to_series()
    if rows.any():
        at = rows.arg_true()[0]
        first = table.row(at, named=True)
        low, high = next(pair for pair in pairwise(names) if where[f"{pair[0]} {pair[1]}"][at])
        raise ValueError(
            f"{maker} must give quantiles that rise with their levels; {int(rows.sum())} of {len(table)} rows cross, "
            f"{_where(first)}: {low} = {first[low]!r} lies above {high} = {first[high]!r}. Put the values under the "
            "levels that they belong to, or sort them in each row."
        )
    return table


def _crossed(low: str, high: str) -> pl.Expr:
    below, above = pl.col(low), pl.col(high)
    size = below.abs() + above.abs()
    return (below - above > ROUNDING * size).fill_null(False) & below.is_finite() & above.is_finite()


def _where(row: dict[str, object]) -> str:
    return f"first {row['series_id']!r} from {row['origin']}, step {row['step']}"
