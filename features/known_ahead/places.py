"""Whom a row of a table is for: one series, a group of series, or all of them.

Axes: N rows of the panel, M rows of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import shorten
from tidecast.features.known_ahead.instants import read_known
from tidecast.features.known_ahead.vintages import ALWAYS, Whole
from tidecast.features.panel import RESERVED

ROW, CODE, GROUP = f"{RESERVED}row", f"{RESERVED}code", f"{RESERVED}group"
"""Number of a row of the table; position of a series' calendar; name of its group."""


@dataclass(frozen=True)
class Origins:
    """The rows of a panel as origins: who, when, and since when their price is known.

    Attributes
    ----------
    is_session : ndarray of shape (N,), bool
        Other rows have no session, and no value.
    session_N : ndarray of shape (N,), int64
        Session numbers; 0 where there is none.
    instant_N : ndarray of shape (N,), int64
        Closing instants, microseconds since 1970, UTC.
    places : tuple of ndarray of shape (N,), int64
        Places of the row's series among the rows of tables: its own, its group's, that of all series.
    """

    is_session: np.ndarray
    session_N: Whole
    instant_N: Whole
    places: tuple[Whole, ...]


class Places:
    """Numbers for series, for groups of series with one calendar, and for all series with one calendar.

    Parameters
    ----------
    rows : polars.DataFrame
        The panel: ``series_id``, ``time`` as sessions are written, and the column of groups.
    calendar : PanelCalendar
        That of each series.
    group : str, optional
        The column of groups.
    """

    def __init__(self, rows: pl.DataFrame, calendar: PanelCalendar, group: str | None = None) -> None:
        self.calendar, self.group = calendar, group
        self._rows = rows
        self._calendars = calendar.calendars
        own = rows.select("series_id", *([pl.col(group).alias(GROUP)] if group else []))
        series = own.unique(maintain_order=True)
        if group is not None:
            series = _one_group(series, group)
        self._series = series.with_columns(self._codes(series).alias(CODE), own=pl.int_range(pl.len(), dtype=pl.Int64))
        n_series, groups = len(series), pl.DataFrame()
        if group is not None:
            groups = self._series.select(CODE, GROUP).drop_nulls().unique(maintain_order=True)
            groups = groups.with_columns(place=pl.int_range(pl.len(), dtype=pl.Int64) + n_series)
        self._groups = groups
        self._all = n_series + len(groups)

    def _codes(self, series: pl.DataFrame) -> pl.Series:
        code = np.zeros(len(series), dtype=np.int64)
        for calendar, at in self.calendar.groups(series.select("series_id")):
            code[at] = self._calendars.index(calendar)
        return pl.Series(code)

    def origins(self) -> Origins:
        """Return the rows of the panel as origins."""
        keys = self._rows.select("series_id", "time")
        inside = self.calendar.is_session(keys)
        session, instant = np.zeros(len(keys), dtype=np.int64), np.full(len(keys), ALWAYS)
        at = np.flatnonzero(inside)
        session[at] = self.calendar.numbers(keys[at])
        instant[at] = self.calendar.closes(keys[at]).to_physical().to_numpy()
        own = keys.join(self._series, on="series_id", how="left", maintain_order="left")
        places = [own["own"].to_numpy()]
        if self.group:
            found = own.join(self._groups, on=[CODE, GROUP], how="left", maintain_order="left")["place"]
            places.append(found.fill_null(-1).to_numpy())
        places.append(own[CODE].to_numpy() + self._all)
        return Origins(inside, session, instant, tuple(places))

    def of_table(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return `ROW`, ``place`` and `CODE` of the rows of a table, once for each place that a row is for.

        A row with a ``series_id`` is for that series, one with a group only for the series in it, one with neither for
        all. Rows of series and groups that the panel lacks are left out.

        Parameters
        ----------
        table : polars.DataFrame

        Raises
        ------
        ValueError
            No row is for a series of the panel.
        """
        names = {"series_id": "series_id"} | ({self.group: GROUP} if self.group else {})
        keys = table.select(
            self._like_panel(table[name], name).alias(ours) for name, ours in names.items() if name in table.columns
        )
        keys = (keys if keys.width else pl.DataFrame({"__tidecast_all": [True] * len(table)})).with_row_index(ROW)
        left, parts = keys, []
        if "series_id" in keys.columns:
            own = keys.drop_nulls("series_id").join(self._series, on="series_id")
            parts.append(own.select(ROW, pl.col("own").alias("place"), CODE))
            left = keys.filter(pl.col("series_id").is_null())
        if GROUP in keys.columns:
            parts.append(left.drop_nulls(GROUP).join(self._groups, on=GROUP).select(ROW, "place", CODE))
            left = left.filter(pl.col(GROUP).is_null())
        code = self._series[CODE].unique().sort()
        every = pl.DataFrame({CODE: code, "place": code + self._all})
        parts.append(left.select(ROW).join(every, how="cross").select(ROW, "place", CODE))
        found = pl.concat(parts)
        if len(table) and found.is_empty():
            raise ValueError(
                f"A row must be for a series of the panel, found {shorten(self._whom(table))} in the table and "
                f"{shorten(self._series['series_id'].to_list())} in the panel. Correct the names; a row for all series "
                "has none."
            )
        return found.sort(ROW, "place")

    def _whom(self, table: pl.DataFrame) -> list[object]:
        names = [name for name in ("series_id", self.group) if name and name in table.columns]
        return pl.concat([table[name].drop_nulls().cast(pl.String) for name in names]).unique().sort().to_list()

    def _like_panel(self, values: pl.Series, name: str) -> pl.Series:
        """Return names in the panel's type."""
        kind = self._rows.schema[name]
        if values.dtype in (pl.Categorical, pl.Enum):
            values = values.cast(pl.String)
        try:
            return values.cast(kind)
        except pl.exceptions.PolarsError:
            raise ValueError(f"{name!r} must hold {kind} as in the panel, got {values.dtype}. Cast it.") from None

    def by_calendar(self, rows: pl.DataFrame) -> Iterator[tuple[Calendar, Whole]]:
        """Yield each calendar of the rows of `of_table`, with the positions of its rows.

        Parameters
        ----------
        rows : polars.DataFrame
        """
        for code, calendar in enumerate(self._calendars):
            at = (rows[CODE] == code).arg_true().to_numpy()
            if len(at):
                yield calendar, at

    def numbers(self, rows: pl.DataFrame, ask: Callable[[Calendar, Whole], Whole]) -> Whole:
        """Return an answer for each row of `of_table`, asked calendar by calendar.

        Parameters
        ----------
        rows : polars.DataFrame
        ask : callable
            From a calendar and positions of rows to their numbers.
        """
        found = np.zeros(len(rows), dtype=np.int64)
        for calendar, at in self.by_calendar(rows):
            found[at] = ask(calendar, at)
        return found

    def known(self, table: pl.DataFrame, column: str) -> Whole:
        """Return the instants from which the rows of a table were known.

        Parameters
        ----------
        table : polars.DataFrame
        column : str
        """
        return read_known(table, column, self.calendar.intraday)


def _one_group(series: pl.DataFrame, group: str) -> pl.DataFrame:
    """The group of each series; raise ValueError for a series in several."""
    series = series.group_by("series_id", maintain_order=True).agg(pl.col(GROUP).drop_nulls().unique())
    several = series.filter(pl.col(GROUP).list.len() > 1)
    if len(several):
        raise ValueError(
            f"Each series must be in one group, found {shorten(several[GROUP][0].to_list())} in {group!r} of "
            f"{several['series_id'][0]!r}. Correct the column, or name another one."
        )
    return series.with_columns(pl.col(GROUP).list.first())
