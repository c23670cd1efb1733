"""Usual names of a panel's columns, and the columns of a frame with each meaning."""

from __future__ import annotations

import polars as pl

SERIES = (
    "series_id", "unique_id", "item_id", "ticker", "tickers", "symbol", "instances", "instrument", "asset", "isin",
    "series", "currency", "id",
)  # fmt: skip
TIMES = ("time", "ds", "date", "datetime", "timestamp", "timepoints", "day")
TARGETS = ("close", "y", "target", "value", "price", "adj close", "adj_close")
PRICES = {"open", "high", "low", "close", "adj close", "adj_close"}
FIELDS = PRICES | {"volume", "dividends", "stock splits", "capital gains"}
"""Names of price fields; columns with these names are not series of a wide table."""


def find_columns(
    table: pl.DataFrame, series_id: str | None = None, time: str | None = None, target: str | None = None
) -> dict[str, str | None]:
    """Return the columns of names, times and values: the given ones, else the recognised ones, else None.

    A usual name is recognised if it is the only one of its kind. Without one, the only column of times is the time,
    and the only column of text holds the names of series.

    Parameters
    ----------
    table : polars.DataFrame
    series_id, time, target : str, optional
        Given columns.

    Returns
    -------
    dict
        By `series_id`, `time` and `target`.
    """
    free = [name for name in table.columns if name not in (series_id, time, target)]
    if time is None:
        time = _usual(free, TIMES) or _only(free, [name for name in free if table.schema[name].is_temporal()])
        free = [name for name in free if name != time]
    if series_id is None:
        text = [name for name in free if table.schema[name] in (pl.String, pl.Categorical, pl.Enum)]
        named = _usual(free, SERIES)
        series_id = named if named is not None and not _one_of_many(table, named, time) else None
        if series_id is None and named is None and time is not None and table[time].is_duplicated().any():
            series_id = _only(free, text)
        free = [name for name in free if name != series_id]
    if target is None:
        target = "y" if time == "ds" and "y" in free else _usual(free, TARGETS)  # Nixtla's and Prophet's names
        numbers = [name for name in free if table.schema[name].is_numeric()]
        if target is None and series_id is not None:
            target = _only(free, [name for name in numbers if name.lower() not in FIELDS])
    return {"series_id": series_id, "time": time, "target": target}


def _one_of_many(table: pl.DataFrame, name: str, time: str | None) -> bool:
    """Whether a column with a usual name for names of series is one of values, as in a wide table."""
    return bool(table.schema[name].is_float()) and time is not None


def _usual(names: list[str], usual: tuple[str, ...]) -> str | None:
    """Return the column with a usual name, the panel's own name first; None for several others."""
    if usual[0] in names:
        return usual[0]
    found = [name for name in names if name in usual or (len(name) > 1 and name.lower() in usual)]
    first = [name for name in found if name.lower() == usual[0]]
    if usual is TARGETS and not first:  # adjusted prices are meant only without others
        found = [name for name in found if not name.lower().startswith("adj")] or found
    return _only(names, first or found)


def _only(names: list[str], found: list[str]) -> str | None:
    return found[0] if len(found) == 1 else None


def line_for(table: pl.DataFrame, always: bool = False) -> str | None:
    """Return the call of `panel_from` that makes this table a panel; None if nothing is recognised.

    Parameters
    ----------
    table : polars.DataFrame
    always : bool, default=False
        Return a line with ``...`` for what is not recognised.
    """
    found = find_columns(table)
    if not always and (found["time"] is None or found["target"] is None):
        numbers = [name for name in table.columns if name != found["time"]]
        wide = found["time"] is not None and found["series_id"] is None and len(numbers) > 0
        known = FIELDS | set(TARGETS)
        plain = all(table.schema[name].is_numeric() and name.lower() not in known for name in numbers)
        return "panel_from(frame)" if wide and plain and not table[str(found["time"])].is_duplicated().any() else None
    if not always and found["series_id"] is None and table[str(found["time"])].is_duplicated().any():
        return None
    parts = [
        f'{argument}="{name}"' if name is not None else f"{argument}=..."
        for argument, name in found.items()
        if name is not None or (always and argument != "series_id")
    ]
    if always and found["series_id"] is None:
        parts.insert(0, "series_id=...")
    return f"panel_from(frame, {', '.join(parts)})"
