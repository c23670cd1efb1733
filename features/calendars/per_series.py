"""The calendars of a panel's series: one for all, or one for each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.calendars.base import CLOSING, Calendar
from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.calendars.infer import infer_panel
from tidecast.features.calendars.odd_series import infer_contradicting, report_inferred, warn_of_named
from tidecast.features.calendars.periodic import is_of_periods
from tidecast.features.error_text import counted, shorten
from tidecast.features.segments import MAX_PAUSE, longest_gap, pauses, series_starts


class PanelCalendar:
    """The calendar of each series of a panel: the one that column `calendar` names, else one for all.

    Session numbers of different calendars cannot be compared: XNYS has some 252 sessions a year, 24/7 has 365. Cut by
    time first, then ask for numbers (`through`).

    Parameters
    ----------
    default : Calendar or None
        Calendar of the series without one of their own.
    own : mapping of series_id to Calendar, optional
        Calendars of single series.
    inferred : collection of series_id, default=()
        Series of `own` whose calendar was inferred; that of the others was named.
    default_inferred : bool, default=False
        Whether `default` was inferred.
    unproven : collection of series_id, default=()
        Series whose rows came a few at a time, too few to show whether `default` is their calendar.

    Attributes
    ----------
    default, own, inferred, default_inferred, unproven
        The parameters.

    Raises
    ------
    ValueError
        When some calendars are of days and some of bars within the day.

    Examples
    --------
    >>> rows = {"series_id": ["AAPL", "7203"], "time": [date(2024, 7, 3)] * 2, "calendar": ["XNYS", "XTKS"]}
    >>> calendar = PanelCalendar.of(pl.DataFrame(rows))
    >>> calendar.times(pl.Series(["AAPL", "7203"]), calendar.numbers(pl.DataFrame(rows)) + 1).to_list()
    [datetime.date(2024, 7, 5), datetime.date(2024, 7, 4)]
    """

    def __init__(
        self, default: Calendar | None, own: Mapping[Any, Calendar] | None = None,
        inferred: Collection[Any] = (), default_inferred: bool = False, unproven: Collection[Any] = (),
    ) -> None:  # fmt: skip
        self.default, self.own = default, dict(own or {})
        self.inferred, self.default_inferred = frozenset(inferred), default_inferred
        self.unproven = frozenset(unproven) - self.own.keys()
        if len({calendar.intraday for calendar in self.calendars}) > 1:
            raise ValueError(
                f"The calendars of a panel must all be of days or all of bars within the day, found {self.name}. "
                "Make them two panels."
            )

    @classmethod
    def named(cls, panel: pl.DataFrame, default: str | None = None) -> PanelCalendar:
        """Return the calendars that are named; other series have none.

        Parameters
        ----------
        panel : polars.DataFrame
            `series_id` and, optionally, `calendar`.
        default : str, optional
            Name of the calendar of series without one of their own.

        Raises
        ------
        ValueError
            When a series has two calendars, or one that does not exist.
        """
        return cls(get_calendar(default) if default is not None else None, _own_calendars(panel))

    @classmethod
    def of(cls, panel: pl.DataFrame, default: str | None = None) -> PanelCalendar:
        """Return the calendars of a panel: those that are named, else inferred from the times.

        Parameters
        ----------
        panel : polars.DataFrame
            `series_id`, `time` and, optionally, `calendar`: a name per series, on all of its rows or on some.
        default : str, optional
            Name of the calendar of series without one of their own. None: infer the calendar of each of them from its
            times; the one that most have becomes `default`.

        Raises
        ------
        ValueError
            When a series has two calendars, or one that does not exist, and when bars show no calendar.

        Warns
        -----
        UserWarning
            When another calendar than the inferred one may be right.
        """
        named = cls.named(panel, default)
        if default is not None:
            return named
        rows = panel.filter(~pl.col("series_id").is_in(list(named.own))) if named.own else panel
        if named.own and rows.is_empty():
            return named
        usual, *others = infer_panel(rows)
        report_inferred([usual, *others])
        own = {series_id: one.found.calendar for one in others for series_id in one.series}
        return cls(usual.found.calendar, named.own | own, own, default_inferred=True)

    @property
    def calendars(self) -> tuple[Calendar, ...]:
        """The distinct calendars, `default` first."""
        return tuple(dict.fromkeys(calendar for calendar in (self.default, *self.own.values()) if calendar))

    @property
    def name(self) -> str:
        """Names of the calendars, joined by commas."""
        return ", ".join(calendar.name for calendar in self.calendars)

    @property
    def intraday(self) -> bool:
        """Whether sessions are bars within the day."""
        return self.calendars[0].intraday

    @cached_property
    def days(self) -> Calendar:
        """The sessions of the panel: times that are a session of at least one calendar."""
        return get_calendar(" | ".join(sorted(calendar.name for calendar in self.calendars)))

    def calendar_of(self, series_id: Any) -> Calendar:
        """Return the calendar of one series.

        Parameters
        ----------
        series_id : str or int

        Raises
        ------
        ValueError
            When neither the series nor the panel has one.
        """
        found = self.own.get(series_id, self.default)
        if found is None:
            raise ValueError(
                f"Every series must have a calendar, {series_id!r} has none. Name it in the column "
                "'calendar', or one for all in the schema: PanelSchema(calendar=...)."
            )
        return found

    def was_inferred(self, series_ids: pl.Series) -> np.ndarray:
        """Whether the calendar of each row's series was inferred, bool of shape (n_rows,).

        Parameters
        ----------
        series_ids : Series of length n_rows
        """
        if not self.default_inferred and not self.inferred:
            return np.zeros(len(series_ids), dtype=bool)
        if not self.own:
            return np.ones(len(series_ids), dtype=bool)
        other = list(self.own.keys() - self.inferred) if self.default_inferred else list(self.inferred)
        return (series_ids.is_in(other) ^ self.default_inferred).to_numpy()

    def with_unproven(self, series_ids: Collection[Any]) -> PanelCalendar:
        """Return a copy with further `unproven` series.

        Parameters
        ----------
        series_ids : collection of series_id
        """
        if not len(series_ids):
            return self
        return PanelCalendar(
            self.default, self.own, self.inferred, self.default_inferred, self.unproven.union(series_ids)
        )

    def meeting(self, panel: pl.DataFrame, known: pl.Series | None = None) -> PanelCalendar:
        """Return the calendars for a panel that may have new series.

        New series have the calendar that the column names. When a new series without one contradicts `default`, its
        calendar is inferred if `default` was inferred; if `default` was named, a warning names series that have one
        row a week or less.

        Parameters
        ----------
        panel : polars.DataFrame
            `series_id`, `time` and, optionally, `calendar`.
        known : Series of series_id, optional
            Series that keep their calendar.

        Raises
        ------
        ValueError
            When a series has another calendar than before.
        """
        joined = self.joined(panel) if "calendar" in panel.columns else self
        if joined.default is None:
            return joined
        rows = panel.select("series_id", "time")
        if joined.own:
            rows = rows.filter(~pl.col("series_id").is_in(list(joined.own)))
        if known is not None:
            rows = rows.filter(~pl.col("series_id").is_in(known.implode()))
        found = infer_contradicting(rows, joined.default)
        if not found:
            return joined
        if not joined.default_inferred:
            warn_of_named([one for one in found if is_of_periods(one.found.calendar)], joined.default)
            return joined
        report_inferred(found)
        own = {series_id: one.found.calendar for one in found for series_id in one.series}
        return PanelCalendar(joined.default, joined.own | own, joined.inferred | own.keys(), True, joined.unproven)

    def joined(self, panel: pl.DataFrame) -> PanelCalendar:
        """Return a copy with the calendars that a panel's column names for new series.

        Parameters
        ----------
        panel : polars.DataFrame
            `series_id` and, optionally, `calendar`.

        Raises
        ------
        ValueError
            When a series has another calendar than before.
        """
        new = _own_calendars(panel)
        for series_id, calendar in new.items():
            before = self.own.get(series_id, calendar)
            if before != calendar:
                raise ValueError(
                    f"A series must keep its calendar, {series_id!r} had {before.name!r} and has {calendar.name!r} "
                    "now. Correct the column 'calendar', or fit anew."
                )
        if new.items() <= self.own.items():
            return self
        return PanelCalendar(self.default, self.own | new, self.inferred, self.default_inferred, self.unproven)

    def numbers(self, frame: pl.DataFrame) -> np.ndarray:
        """Session number of each row in its series' calendar, int64 of shape (n_rows,).

        Parameters
        ----------
        frame : polars.DataFrame
            `series_id` and `time`; `calendar` of new series.

        Raises
        ------
        ValueError
            For times that are not sessions, naming their series, and for a series without a calendar.
        """
        return self._by_calendar(frame, _numbers, np.int64)

    def is_session(self, frame: pl.DataFrame) -> np.ndarray:
        """Whether each row's time is a session of its series, bool of shape (n_rows,).

        Parameters
        ----------
        frame : polars.DataFrame
            `series_id` and `time`; `calendar` of new series.
        """
        return self._by_calendar(frame, lambda calendar, rows: calendar.is_session(rows["time"]), np.bool_)

    def is_half_day(self, frame: pl.DataFrame) -> np.ndarray:
        """Whether each row's session closes earlier than usual, bool of shape (n_rows,).

        Parameters
        ----------
        frame : polars.DataFrame
            `series_id` and `time`; `calendar` of new series.
        """
        return self._by_calendar(frame, lambda calendar, rows: calendar.is_half_day(rows["time"]), np.bool_)

    def closes(self, frame: pl.DataFrame) -> pl.Series:
        """Return the instant at which each row's session closes and its price becomes known, Datetime in UTC.

        A row may use the rows whose closing instant is not after its own.

        Parameters
        ----------
        frame : polars.DataFrame
            `series_id` and `time`; `calendar` of new series.
        """
        found = self._by_calendar(
            frame, lambda calendar, rows: calendar.closes(rows["time"]).to_physical().to_numpy(), np.int64
        )
        return pl.Series("closes", found).cast(CLOSING)

    def times(self, series_ids: pl.Series, numbers: np.ndarray) -> pl.Series:
        """Return the sessions with these numbers: Date, or Datetime for bars within the day.

        Parameters
        ----------
        series_ids : Series of length n
        numbers : ndarray of int64, shape (n,)
            Each in the calendar of its series.
        """
        numbers = np.asarray(numbers, dtype=np.int64)
        frame = pl.DataFrame({"series_id": series_ids, "number": numbers})

        def physical(calendar: Calendar, rows: pl.DataFrame) -> np.ndarray:
            return calendar.times(rows["number"].to_numpy()).to_physical().to_numpy()

        kind = pl.Datetime("us") if self.intraday else pl.Date()
        found = self._by_calendar(frame, physical, np.int64)
        return pl.Series("time", found).cast(pl.Int64 if self.intraday else pl.Int32).cast(kind)

    def through(self, series_ids: pl.Series, day: date) -> np.ndarray:
        """Return the number of the last session at or before a day in each series' calendar, int64 of shape (n,).

        Parameters
        ----------
        series_ids : Series of length n
        day : date or datetime
        """
        frame = pl.DataFrame({"series_id": series_ids})
        return self._by_calendar(frame, lambda calendar, rows: np.full(rows.height, calendar.number_at(day)), np.int64)

    def marked(self, panel: pl.DataFrame) -> pl.DataFrame:
        """Return the panel, with the column `calendar` if a series has long periods, because its pauses are longer.

        Parameters
        ----------
        panel : polars.DataFrame
        """
        if all(longest_gap(calendar.name) == MAX_PAUSE for calendar in self.calendars):
            return panel
        names = {series_id: calendar.name for series_id, calendar in self.own.items()}
        usual = self.default.name if self.default else None
        own = panel["series_id"].replace_strict(names, default=usual, return_dtype=pl.String)
        return panel.with_columns(own.alias("calendar"))

    def describe(self) -> dict[str, Any]:
        """Return a description that JSON can hold; `described` is the inverse."""
        own: dict[str, list[Any]] = {}
        for series_id, calendar in self.own.items():
            own.setdefault(calendar.name, []).append(series_id)
        return {
            "default": self.default.name if self.default else None,
            "own": own,
            "inferred": sorted(self.inferred),
            "default_inferred": self.default_inferred,
            "unproven": sorted(self.unproven),
        }

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> PanelCalendar:
        """Return the calendars of a description, see `describe`.

        Parameters
        ----------
        description : mapping
        """
        own = {series: get_calendar(name) for name, all_of in description["own"].items() for series in all_of}
        default = get_calendar(description["default"]) if description["default"] else None
        inferred, of_all = description.get("inferred", ()), description.get("default_inferred", False)
        return cls(default, own, inferred, of_all, description.get("unproven", ()))  # older models lack these three

    def __repr__(self) -> str:
        return f"<PanelCalendar {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PanelCalendar) and (other.default, other.own) == (self.default, self.own)

    def __hash__(self) -> int:
        return hash((self.default, frozenset(self.own.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return PanelCalendar, (self.default, self.own, self.inferred, self.default_inferred, self.unproven)

    def groups(self, frame: pl.DataFrame) -> Iterator[tuple[Calendar, np.ndarray]]:
        """Yield each calendar that rows of the frame have, with the positions of those rows, int64 and rising.

        Parameters
        ----------
        frame : polars.DataFrame
            `series_id`; `calendar` of new series.
        """
        known = self.joined(frame) if "calendar" in frame.columns else self
        if known.default is not None and not known.own:
            yield known.default, np.arange(frame.height)
            return
        code = known._codes(frame["series_id"])
        for position, calendar in enumerate(known.calendars):
            if len(at := np.flatnonzero(code == position)):
                yield calendar, at

    def _by_calendar(self, frame: pl.DataFrame, ask: Any, kind: type) -> np.ndarray:
        """Return the answers of `ask(calendar, rows)` for the rows of each calendar, in the order of the frame."""
        answer: np.ndarray = np.zeros(frame.height, dtype=kind)
        for calendar, at in self.groups(frame):
            answer[at] = ask(calendar, frame if len(at) == frame.height else frame[at])
        return answer

    def _codes(self, series_ids: pl.Series) -> np.ndarray:
        """Position of each row's calendar in `calendars`."""
        runs = series_ids.rle().struct.unnest()  # a sorted panel has one run a series; comparing names is slow
        series = runs["value"].unique()
        position = {calendar: index for index, calendar in enumerate(self.calendars)}
        codes = [position[self.calendar_of(value)] for value in series]
        code = runs["value"].replace_strict(series, pl.Series(codes, dtype=pl.Int64), return_dtype=pl.Int64)
        return np.repeat(code.to_numpy(), runs["len"].to_numpy())


def mark_long_periods(panel: pl.DataFrame, default: str | None = None) -> pl.DataFrame:
    """Return the panel, with the column `calendar` if a series has long periods, because its pauses are longer.

    Parameters
    ----------
    panel : polars.DataFrame
        Sorted: `series_id`, `time` and, optionally, `calendar`.
    default : str, optional
        Name of the calendar of series without one of their own. None: inferred where days are far apart.
    """
    if default is not None:
        return PanelCalendar.named(panel, default).marked(panel)
    if panel.schema["time"] != pl.Date or not len(np.setdiff1d(pauses(panel), series_starts(panel))):
        return panel
    own = _own_calendars(panel)
    rows = panel.select("series_id", "time").filter(~pl.col("series_id").is_in(list(own)))
    for one in infer_panel(rows) if len(rows) else ():
        own |= dict.fromkeys(one.series, one.found.calendar)
    return PanelCalendar(None, own).marked(panel)


def _own_calendars(panel: pl.DataFrame) -> dict[Any, Calendar]:
    """Return the calendars that a panel's column `calendar` names, by series."""
    if "calendar" not in panel.columns:
        return {}
    kind = panel["calendar"].dtype
    if kind not in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        raise ValueError(f"'calendar' must hold names of calendars, got {kind}. Cast it to text, or rename it.")
    named = panel.select("series_id", pl.col("calendar").cast(pl.String)).drop_nulls().unique()
    twice = named.filter(pl.col("series_id").is_duplicated()).sort("series_id", "calendar")
    if not twice.is_empty():
        series_id = twice["series_id"][0]
        found = shorten(twice.filter(pl.col("series_id") == series_id)["calendar"].to_list())
        raise ValueError(
            f"A series must have one calendar, {series_id!r} has {found}. Correct the column 'calendar', or give the "
            "series two names."
        )
    return {series_id: get_calendar(name) for series_id, name in named.sort("series_id").iter_rows()}


def _numbers(calendar: Calendar, rows: pl.DataFrame) -> np.ndarray:
    try:
        return calendar.numbers(rows["time"])
    except ValueError as error:
        odd = rows.filter(pl.Series(~calendar.is_session(rows["time"])))
        if odd.is_empty():
            raise
        names = shorten(odd["series_id"].unique(maintain_order=True).to_list())
        raise ValueError(f"{error} Found in {counted(odd.height, 'row')} of {names}.") from None
