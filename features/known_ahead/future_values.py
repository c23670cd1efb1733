"""Future covariates with vintages: each row of a panel gets the values of the next sessions as they were known at it.

Axes: N rows of the panel, M rows of the table, H horizon steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import counted, shorten
from tidecast.features.frames import Frame, FrameLike, is_pandas, like
from tidecast.features.known_ahead.instants import days_of
from tidecast.features.known_ahead.places import ROW, Origins, Places
from tidecast.features.known_ahead.table import as_column, blocks, lists_of, read_both
from tidecast.features.known_ahead.vintages import Array, Vintages, Whole
from tidecast.features.panel import AHEAD, PanelSchema, future_numbers

AVAILABLE = "available_at"
"""Column of the instants from which values were known."""


class NoSessionError(ValueError):
    """No row of the table is for a session of the panel's calendar."""


def with_future(
    panel: FrameLike, future: Any, horizon: int = 5, schema: PanelSchema | None = None, group: str | None = None
) -> FrameLike:
    """Return the panel with the future covariates of a table, as they were known at each row.

    Each covariate gives two columns: ``load``, the value of the row's own session, and ``load_ahead``, a list with
    those of the next `horizon` sessions. Both hold what was known when the row's session closed. A forecaster whose
    schema names ``load`` among its `future` covariates reads both. A value that is revised later therefore changes no
    forecast from an earlier row, in training, in a backtest or live.

    A row of the table is for one series (``series_id``), for a group of series (`group`), or, with neither, for all of
    them. Where several tell of a session, the series' own counts, then its group's. Of these, the newest one that was
    known counts. A missing value says nothing, so the one before it counts. Rows of days that are no session of a
    series are left out.

    Parameters
    ----------
    panel : polars or pandas DataFrame
        ``series_id`` and ``time``.
    future : polars or pandas DataFrame
        ``time``, the session that a value is for; the covariates; optional ``series_id``, the column `group`, and
        ``available_at``, the instant from which a row was known. A date counts from the close of its own session on.
        Times without a zone are UTC. Without ``available_at`` a value was always known.
    horizon : int, default=5
        Sessions ahead, at least as many as are forecast.
    schema : PanelSchema, optional
        Its `future` covariates are read. None, or without any: all numbers of the table. Its calendar is that of series
        without one of their own; name it where you can, because an inferred one may lack a holiday to come.
    group : str, optional
        A column of the panel and of the table, such as the market of a series.

    Returns
    -------
    DataFrame
        The same rows in the same order. A value that the panel has for a row's own session stays, because it is of
        that session; so do lists of an earlier table, where this one has no value.

    Raises
    ------
    TypeError, ValueError
        A column is missing or of another type, two rows contradict each other, or no row fits the panel.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.date_range(date(2024, 7, 1), date(2024, 7, 3), eager=True)
    >>> prices = pl.DataFrame({"series_id": "NP", "time": days, "close": [40.0, 41.0, 39.0]})
    >>> vintages = {"time": [days[2], days[2]], "load": [50.0, 55.0], "available_at": [days[0], days[1]]}
    >>> found = with_future(prices, pl.DataFrame(vintages), horizon=2, schema=PanelSchema(calendar="24/7"))
    >>> found["load_ahead"].to_list()
    [[nan, 50.0], [55.0, nan], [nan, nan]]
    """
    return cast("FrameLike", like(joined_future(panel, future, horizon, schema, group), panel))


def joined_future(
    panel: Frame, future: Any, horizon: int, schema: PanelSchema | None, group: str | None = None,
    calendar: PanelCalendar | None = None,
) -> pl.DataFrame:  # fmt: skip
    """Return the panel as `with_future` does, as polars.

    Parameters
    ----------
    panel, future, horizon, schema, group
        As for `with_future`.
    calendar : PanelCalendar, optional
        That of each series, where it is known; `time` of the panel is then as its sessions are written.

    Raises
    ------
    TypeError, ValueError
        As `with_future`.
    """
    try:
        joined = read_both(panel, future, ["time"], horizon, schema, group, calendar)
        names = _covariates(joined.table, schema, group)
        table = joined.table.with_columns(future_numbers(joined.table[name], is_pandas(future)) for name in names)
        for name in names:
            if table[name].is_infinite().any():
                raise ValueError(f"{name!r} must be finite, found infinite values. Drop them.")
        return joined.panel.with_columns(_columns(joined.panel, table, names, joined.places, horizon))
    except (TypeError, ValueError) as error:
        raise type(error)(f"future: {error}") from error


def _covariates(table: pl.DataFrame, schema: PanelSchema | None, group: str | None) -> list[str]:
    """The columns of the table to read."""
    wanted = schema.future if schema else ()
    numbers = [name for name, kind in table.schema.items() if kind.is_numeric() or kind == pl.Boolean]
    others = {"series_id", "time", AVAILABLE, group}
    names = [name for name in wanted if name in table.columns] if wanted else [n for n in numbers if n not in others]
    if not names:
        needed = shorten(wanted) if wanted else "with numbers"
        raise ValueError(f"The table must have a column {needed}, found {shorten(table.columns)}. Add or rename one.")
    return names


def _columns(
    panel: pl.DataFrame, table: pl.DataFrame, names: Sequence[str], places: Places, horizon: int
) -> list[pl.Series]:
    """The two columns of each covariate."""
    found = places.of_table(table)
    days, inside = _sessions(table, places, found)
    found = found.filter(pl.Series(inside))
    if found.is_empty() and len(table):
        raise NoSessionError(
            f"Rows must be for sessions of the panel's calendar {places.calendar.name!r}, found "
            f"{shorten([str(time) for time in table['time'].unique().sort()], 3)}. Correct the times."
        )
    session, row = days[inside], found[ROW].to_numpy()
    known, origins = places.known(table, AVAILABLE)[row], places.origins()
    columns = []
    for name in names:
        values = table[name].to_numpy()[row]
        given = ~np.isnan(values)
        place = found["place"].to_numpy()
        _refuse_contradictions(name, table, row[given], (place[given], session[given], known[given]), values[given])
        vintages = Vintages.of(place[given], session[given], known[given], values[given])
        values_NH = _looked_up(vintages, origins, horizon)
        before_NH = _before(panel, name, horizon)
        values_NH = np.where(np.isnan(values_NH), before_NH, values_NH)
        values_NH[:, 0] = np.where(np.isnan(before_NH[:, 0]), values_NH[:, 0], before_NH[:, 0])
        columns += [as_column(name, values_NH[:, 0]), as_column(name + AHEAD, values_NH[:, 1:])]
    return columns


def _sessions(table: pl.DataFrame, places: Places, found: pl.DataFrame) -> tuple[Whole, np.ndarray]:
    """Session number of each row of `of_table`, and whether its time is a session of its calendar."""
    session, inside = np.zeros(len(found), dtype=np.int64), np.zeros(len(found), dtype=bool)
    row = found[ROW].to_numpy()
    for calendar, at in places.by_calendar(found):
        times = days_of(table["time"], calendar)[row[at]]
        there = calendar.is_session(times)
        inside[at] = there
        session[at[there]] = calendar.numbers(times.filter(pl.Series(there)))
    return session, inside


def _looked_up(vintages: Vintages, origins: Origins, horizon: int) -> Array:
    """Values of the row's own session and of the next ones, shape (N, 1 + H); NaN where none was known."""
    step = np.arange(horizon + 1)
    values = np.full((len(origins.session_N), horizon + 1), np.nan)
    for some in blocks(len(values)):
        session, instant = origins.session_N[some, None] + step, origins.instant_N[some, None]
        for place in origins.places:  # the series' own first
            found = vintages.newest(place[some, None], session, instant)
            values[some] = np.where(np.isnan(values[some]), found, values[some])
    values[~origins.is_session] = np.nan
    return values


def _before(panel: pl.DataFrame, name: str, horizon: int) -> Array:
    """What the panel holds of a covariate already, as `_looked_up` returns it."""
    values = np.full((len(panel), horizon + 1), np.nan)
    if name in panel.columns and (panel.schema[name].is_numeric() or panel.schema[name] == pl.Boolean):
        values[:, 0] = panel[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if name + AHEAD in panel.columns:
        lists_NH = lists_of(panel[name + AHEAD])[:, :horizon]
        values[:, 1 : 1 + lists_NH.shape[1]] = lists_NH
    return values


def _refuse_contradictions(
    name: str, table: pl.DataFrame, row: Whole, key: tuple[Whole, Whole, Whole], values: Array
) -> None:
    """Raise ValueError for two values of one session that were known from the same instant."""
    rows = pl.DataFrame({"place": key[0], "session": key[1], "known": key[2], "value": values, "row": row})
    several = rows.group_by("place", "session", "known").agg(pl.col("value").unique(), pl.col("row").min())
    several = several.filter(pl.col("value").list.len() > 1).sort("row")
    if several.is_empty():
        return
    first = table.row(several["row"][0], named=True)
    raise ValueError(
        f"A session must have one value of {name!r} from each instant, found {shorten(several['value'][0].to_list())} "
        f"at {first['time']}, available at {first.get(AVAILABLE)}; "
        f"{counted(len(several), 'session is', 'sessions are')} like it. Keep one row, or give the later one its own "
        "available_at."
    )
