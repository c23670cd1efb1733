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
from tidecast.features.error_text import shorten
from tidecast.features.segments import MAX_PAUSE, longest_gap


class PanelCalendar:
    """The calendar of each series of a panel: its column `calendar` where that names one, else one for all.

    Numbers of different calendars cannot be compared: XNYS has some 252 sessions a year, 24/7 has 365. Cut by time,
    then ask for numbers (`through`).

    Parameters
    ----------
    default : Calendar or None
        Of series that have none of their own.
    own : mapping of series_id to Calendar, optional
        Of those that have.
    inferred : collection of series_id, default=()
        Those of `own` whose calendar was inferred; that of the others was named.
    default_inferred : bool, default=False
        Whether `default` was inferred.
    unproven : collection of series_id, default=()
        Series that came a few rows at a time, so that nothing shows whether `default` is their calendar.

    Attributes
    ----------
    default, own, inferred, default_inferred, unproven
        As given.

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
        """As `of`, but nothing is inferred: series that nothing is named for have no calendar."""
        return cls(get_calendar(default) if default is not None else None, _own_calendars(panel))

    @classmethod
    def of(cls, panel: pl.DataFrame, default: str | None = None) -> PanelCalendar:
        """The calendar of a panel.

        Parameters
        ----------
        panel : polars.DataFrame
            `series_id`, `time` and, optionally, `calendar`: a name per series, on all of its rows or on some.
        default : str, optional
            Name of the calendar of series without one of their own. None: each of those has the calendar that its times
            suggest; that of most becomes `default`.

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
        found = infer_panel(rows)
        report_inferred(found)
        own = {series_id: one.found.calendar for one in found[1:] for series_id in one.series}
        return cls(found[0].found.calendar, named.own | own, own, default_inferred=True)

    @property
    def calendars(self) -> tuple[Calendar, ...]:
        """The distinct ones, that of all others first."""
        return tuple(dict.fromkeys(calendar for calendar in (self.default, *self.own.values()) if calendar))

    @property
    def name(self) -> str:
        """Names of the calendars, for people."""
        return ", ".join(calendar.name for calendar in self.calendars)

    @property
    def intraday(self) -> bool:
        """Whether sessions are bars within the day."""
        return self.calendars[0].intraday

    @cached_property
    def days(self) -> Calendar:
        """The panel's own sessions: the times that are a session of one calendar at least."""
        return get_calendar(" | ".join(sorted(calendar.name for calendar in self.calendars)))

    def calendar_of(self, series_id: Any) -> Calendar:
        """The calendar of one series.

        Raises
        ------
        ValueError
            When neither it nor the panel has one.
        """
        found = self.own.get(series_id, self.default)
        if found is None:
            raise ValueError(
                f"Every series must have a calendar, {series_id!r} has none. Name it in the column "
                "'calendar', or one for all in the schema: PanelSchema(calendar=...)."
            )
        return found

    def was_inferred(self, series_ids: pl.Series) -> np.ndarray:
        """Return whether the calendar of each row's series was inferred, bool of shape (n_rows,)."""
        if not self.default_inferred and not self.inferred:
            return np.zeros(len(series_ids), dtype=bool)
        if not self.own:
            return np.ones(len(series_ids), dtype=bool)
        other = list(self.own.keys() - self.inferred) if self.default_inferred else list(self.inferred)
        return (series_ids.is_in(other) ^ self.default_inferred).to_numpy()

    def with_unproven(self, series_ids: Collection[Any]) -> PanelCalendar:
        """Return this one with further series that came a few rows at a time."""
        if not len(series_ids):
            return self
        return PanelCalendar(
            self.default, self.own, self.inferred, self.default_inferred, self.unproven.union(series_ids)
        )

    def meeting(self, panel: pl.DataFrame, known: pl.Series | None = None) -> PanelCalendar:
        """Return this one for a panel that may have further series: those of the column, and those that stand out.

        A series without a calendar of its own whose rows contradict `default` has the calendar that they suggest, where
        `default` was inferred, too. Where it was named, a warning names series that have one row a week or less. Series
        that are `known` keep their calendar.

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
        """This one, with the calendars of series that it has not met, taken from the panel's column.

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
            `series_id` and `time`; `calendar` of series that are not known yet.

        Raises
        ------
        ValueError
            Naming times that are no sessions, or a series without a calendar.
        """
        return self._by_calendar(frame, lambda calendar, rows: calendar.numbers(rows["time"]), np.int64)

    def is_session(self, frame: pl.DataFrame) -> np.ndarray:
        """Whether each row's time is a session of its series, bool of shape (n_rows,)."""
        return self._by_calendar(frame, lambda calendar, rows: calendar.is_session(rows["time"]), np.bool_)

    def is_half_day(self, frame: pl.DataFrame) -> np.ndarray:
        """Whether each row's session closes earlier than usual, bool of shape (n_rows,)."""
        return self._by_calendar(frame, lambda calendar, rows: calendar.is_half_day(rows["time"]), np.bool_)

    def closes(self, frame: pl.DataFrame) -> pl.Series:
        """The instant at which each row's session closes and its price can be known, Datetime in UTC.

        What may be seen from a row are the rows whose closing instant is not after its own.
        """
        found = self._by_calendar(
            frame, lambda calendar, rows: calendar.closes(rows["time"]).to_physical().to_numpy(), np.int64
        )
        return pl.Series("closes", found).cast(CLOSING)

    def times(self, series_ids: pl.Series, numbers: np.ndarray) -> pl.Series:
        """The sessions with these numbers, each in its series' calendar: Date, or Datetime for bars within the day."""
        numbers = np.asarray(numbers, dtype=np.int64)
        frame = pl.DataFrame({"series_id": series_ids, "number": numbers})

        def physical(calendar: Calendar, rows: pl.DataFrame) -> np.ndarray:
            return calendar.times(rows["number"].to_numpy()).to_physical().to_numpy()

        kind = pl.Datetime("us") if self.intraday else pl.Date()
        found = self._by_calendar(frame, physical, np.int64)
        return pl.Series("time", found).cast(pl.Int64 if self.intraday else pl.Int32).cast(kind)

    def through(self, series_ids: pl.Series, day: date) -> np.ndarray:
        """Number of the last session at or before that day (or datetime) in each series' calendar, int64."""
        frame = pl.DataFrame({"series_id": series_ids})
        return self._by_calendar(frame, lambda calendar, rows: np.full(rows.height, calendar.number_at(day)), np.int64)

    def marked(self, panel: pl.DataFrame) -> pl.DataFrame:
        """Return the panel with the column `calendar` where some series has long periods: their pauses are longer."""
        if all(longest_gap(calendar.name) == MAX_PAUSE for calendar in self.calendars):
            return panel
        names = {series_id: calendar.name for series_id, calendar in self.own.items()}
        usual = self.default.name if self.default else None
        own = panel["series_id"].replace_strict(names, default=usual, return_dtype=pl.String)
        return panel.with_columns(own.alias("calendar"))

    def describe(self) -> dict[str, Any]:
        """What JSON can hold and `described` makes a calendar of again."""
        own: dict[str, list[Any]] = {}
        for series_id, calendar in self.own.items():
            own.setdefault(calendar.name, []).append(series_id)
        described = {"default": self.default.name if self.default else None, "own": own}
        told = {"inferred": sorted(self.inferred), "default_inferred": self.default_inferred}
        return described | told | {"unproven": sorted(self.unproven)}

    @classmethod
    def described(cls, description: Mapping[str, Any]) -> PanelCalendar:
        """The inverse of `describe`."""
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
        """Each calendar that rows of the frame have, with the places of those rows, int64 and rising."""
        known = self.joined(frame) if "calendar" in frame.columns else self
        if known.default is not None and not known.own:
            yield known.default, np.arange(frame.height)
            return
        code = known._codes(frame["series_id"])
        for position, calendar in enumerate(known.calendars):
            if len(at := np.flatnonzero(code == position)):
                yield calendar, at

    def _by_calendar(self, frame: pl.DataFrame, ask: Any, kind: type) -> np.ndarray:
        """What `ask` answers for the rows of each calendar, put together in their order."""
        answer: np.ndarray = np.zeros(frame.height, dtype=kind)
        for calendar, at in self.groups(frame):
            answer[at] = ask(calendar, frame if len(at) == frame.height else frame[at])
        return answer

    def _codes(self, series_ids: pl.Series) -> np.ndarray:
        """Position of each row's calendar in `calendars`."""
        runs = series_ids.rle().struct.unnest()  # a sorted panel has one a series, and names are slow to compare
        series = runs["value"].unique()
        position = {calendar: place for place, calendar in enumerate(self.calendars)}
        codes = [position[self.calendar_of(value)] for value in series]
        code = runs["value"].replace_strict(series, pl.Series(codes, dtype=pl.Int64), return_dtype=pl.Int64)
        return np.repeat(code.to_numpy(), runs["len"].to_numpy())


def _own_calendars(panel: pl.DataFrame) -> dict[Any, Calendar]:
    """The calendars that a panel's column `calendar` names, by series."""
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
