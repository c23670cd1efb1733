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

ROW = "__tidecast_row"
"""Number of a row of the table."""


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
        names = ["series_id", *([group] if group else [])]
        series = rows.select(names).unique(maintain_order=True)
        if group is not None:
            series = series.group_by("series_id", maintain_order=True).agg(pl.col(group).drop_nulls().unique())
            several = series.filter(pl.col(group).list.len() > 1)
            if len(several):
                raise ValueError(
                    f"Each series must be in one group, found {shorten(several[group][0].to_list())} in {group!r} of "
                    f"{several['series_id'][0]!r}. Correct the column, or name another one."
                )
            series = series.with_columns(pl.col(group).list.first())
        self._series = series.with_columns(calendar=self._codes(series), own=pl.int_range(pl.len(), dtype=pl.Int64))
        n_series = len(series)
        keys = ["calendar", *([group] if group else [])]
        groups = self._series.select(keys).drop_nulls().unique(maintain_order=True) if group else pl.DataFrame()
        self._groups = groups.with_columns(place=pl.int_range(pl.len(), dtype=pl.Int64) + n_series) if group else groups
        self._all = n_series + len(self._groups)

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
            found = own.join(self._groups, on=["calendar", self.group], how="left", maintain_order="left")["place"]
            places.append(found.fill_null(-1).to_numpy())
        places.append(own["calendar"].to_numpy() + self._all)
        return Origins(inside, session, instant, tuple(places))

    def of_table(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return ``ROW``, ``place`` and ``calendar`` of the rows of a table, once for each place that a row is for.

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
        given = table.with_row_index(ROW)
        group = self.group if self.group in table.columns else None
        names = [name for name in ("series_id", group) if name and name in table.columns]
        for name in names:
            given = given.with_columns(self._like_panel(given[name], name))
        keys = given.select(ROW, *names)
        left, parts = keys, []
        if "series_id" in names:
            own = keys.drop_nulls("series_id").join(self._series, on="series_id")
            parts.append(own.select(ROW, pl.col("own").alias("place"), "calendar"))
            left = keys.filter(pl.col("series_id").is_null())
        if group is not None:
            parts.append(left.drop_nulls(group).join(self._groups, on=group).select(ROW, "place", "calendar"))
            left = left.filter(pl.col(group).is_null())
        code = self._series["calendar"].unique().sort()
        every = pl.DataFrame({"calendar": code, "place": code + self._all})
        parts.append(left.select(ROW).join(every, how="cross").select(ROW, "place", "calendar"))
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
            at = (rows["calendar"] == code).arg_true().to_numpy()
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
