"""Read times that are days as dates in the time zone of each series' market."""

from __future__ import annotations

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import counted, shorten

DAILY = 0.8
"""With at least this share of days to rows, the rows of a panel are days, some of them twice, and not bars."""

LEAST_ROWS = 3
"""With fewer rows in every series, a panel does not show whether times with a clock are days."""


def read_sessions(frame: pl.DataFrame, calendar: PanelCalendar, pandas: bool = False) -> pl.Series:
    """Return the column `time` as Date where its times are days, else as Datetime in UTC without zone.

    Times are days if all are midnights, if a calendar of days is named, or if hardly any series has two on a day.
    Midnights keep the date they are written with. Other times get the date in their market's zone if a calendar names
    one, else in their own zone.

    Parameters
    ----------
    frame : polars.DataFrame
        `series_id` and `time`, without missing values.
    calendar : PanelCalendar
        The named calendars.
    pandas : bool, default=False
        Whether the panel came as pandas. Messages then give advice for pandas.

    Raises
    ------
    ValueError
        When `time` holds something else, when the days look like those of another zone, and when times are days and a
        series has several on one of them.
    """
    times = frame["time"]
    kind = times.dtype
    if kind == pl.Date:
        return times
    if not isinstance(kind, pl.Datetime):
        advice = "pd.to_datetime(frame['time'])" if pandas else ".str.to_date()"
        raise ValueError(f"'time' must hold dates or datetimes, got {kind}. Parse it, e.g. with {advice}.")
    instants = times
    if kind.time_zone is not None:
        instants = times.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    instants = instants.cast(pl.Datetime("us"))
    if calendar.calendars and calendar.intraday:
        return instants
    written = times.dt.replace_time_zone(None)
    if (written.dt.truncate("1d") == written).all():
        return written.cast(pl.Date)
    local = written if kind.time_zone is None else _wall_clock(frame, calendar)
    days = local.cast(pl.Date)
    rows = frame.select("series_id", time=days)
    twice = rows.is_duplicated()
    if not calendar.calendars:
        most = int(rows.group_by("series_id").len()["len"].to_numpy().max())
        if most < LEAST_ROWS or (twice.any() and rows.n_unique() < DAILY * len(rows)):
            return instants
    if twice.any() and (local.dt.truncate("1d") != local).any():
        _refuse_two_a_day(rows.with_columns(clock=local), calendar)
    refuse_other_zone(
        _without_open_weekends(rows, calendar),
        "Give dates; or give the times their zone, and name the market's calendar, such as "
        "PanelSchema(calendar='XTKS').",
    )
    return days


def _refuse_two_a_day(rows: pl.DataFrame, calendar: PanelCalendar) -> None:
    """Refuse days on which a series has rows with different clock times."""
    clocks = rows.group_by("series_id", "time").agg(pl.col("clock").dt.time().unique().sort())
    twice = clocks.filter(pl.col("clock").list.len() > 1).sort("series_id", "time")
    if twice.is_empty():
        return
    series_id, day, found = twice.row(0)
    more = f", and {counted(len(twice) - 1, 'more day is', 'more days are')} like it" if len(twice) > 1 else ""
    within = f" in the calendar {calendar.name!r}" if calendar.calendars else ""
    named = calendar.calendars[0].name if calendar.calendars else "XNYS"
    raise ValueError(
        f"A series must have one row a day{within}, {series_id!r} has {len(found)} on {day} "
        f"({shorten([str(clock) for clock in found], 3)}){more}. Keep one row a day; for bars within the day, name "
        f"their calendar, such as {named + ' 1h'!r}."
    )


def _without_open_weekends(rows: pl.DataFrame, calendar: PanelCalendar) -> pl.DataFrame:
    """Return the rows without those of weekends on which a named calendar has a session."""
    weekend = rows["time"].dt.weekday() >= 6
    if calendar.default is None:
        weekend &= rows["series_id"].is_in(list(calendar.own))
    at = weekend.arg_true().to_numpy()
    if not len(at):
        return rows
    is_open = np.zeros(len(rows), dtype=bool)
    is_open[at] = calendar.is_session(rows[at])
    return rows.filter(~pl.Series(is_open))


def _wall_clock(frame: pl.DataFrame, calendar: PanelCalendar) -> pl.Series:
    """Return the clock times of each series' market; without a named market, the times as written."""
    zones: dict[str, list[object]] = {}
    for series_id, own in calendar.own.items():
        zones.setdefault(own.market_zone or "", []).append(series_id)

    def shown(zone: str | None) -> pl.Expr:
        there = pl.col("time").dt.convert_time_zone(zone) if zone else pl.col("time")
        return there.dt.replace_time_zone(None)

    elsewhere = [pl.when(pl.col("series_id").is_in(ids)).then(shown(zone)) for zone, ids in zones.items()]
    usual = calendar.default.market_zone if calendar.default else None
    return frame.select(pl.coalesce(*elsewhere, shown(usual))).to_series()


def refuse_other_zone(rows: pl.DataFrame, advice: str) -> None:
    """Refuse days of times with a clock that look like days of another zone: many Sundays and hardly any Saturdays.

    Parameters
    ----------
    rows : polars.DataFrame
        `series_id` and `time`, as Date.
    advice : str
        What to do, the end of the message.

    Raises
    ------
    ValueError
        In a series of ten rows or more, one in twenty lies on one day of the weekend, and hardly any on the other.
    """
    weekday = pl.col("time").dt.weekday()
    counts = rows.group_by("series_id").agg(
        rows=pl.len(), first=pl.col("time").min(), sat=(weekday == 6).sum(), sun=(weekday == 7).sum()
    )
    most, least = pl.max_horizontal("sat", "sun"), pl.min_horizontal("sat", "sun")
    odd = counts.filter((pl.col("rows") >= 10) & (most >= 0.05 * pl.col("rows")) & (most > 4 * least)).sort("series_id")
    if odd.is_empty():
        return
    day = "Sundays" if odd["sun"][0] > odd["sat"][0] else "Saturdays"
    raise ValueError(
        f"Times with a clock must be dated by the clocks of their market, found {odd['sat'][0] + odd['sun'][0]} of "
        f"{counted(odd['rows'][0], 'row')} on {day} for {shorten(odd['series_id'].to_list(), 3)}, like midnights of "
        f"another zone. {advice}"
    )
