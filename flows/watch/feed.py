"""The feed: whether prices arrive, whether they are new, and which series lack one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from tidecast.features.calendars.base import Calendar
from tidecast.features.error_text import counted
from tidecast.flows.watch.finding import Finding, named
from tidecast.flows.watch.known import Known

GRACE = timedelta(hours=6)
"""After a session's close, before its prices count as late."""

YEAR = 252
"""Sessions that show what is usual."""

LASTING = 63
"""Sessions after which a series without prices has ended."""

FEW = 3
"""Of series: with fewer, one repeated price says little. Of sessions: as often in a year, and repeating is usual."""

ALL = 0.9
"""Share of the series that move whose prices a frozen feed repeats."""

UNLIKELY = 1e-4
"""Probability, over all series, below which a series that repeats its price is named."""


def expected_session(days: Calendar, now: datetime, grace: timedelta = GRACE) -> date:
    """Return the newest session whose prices must have arrived.

    Parameters
    ----------
    days : Calendar
    now : datetime
        With a time zone.
    grace : timedelta
        After the close.
    """
    day = days.at_or_before(now.astimezone(UTC).date() + timedelta(days=1))
    while _due(days, day, grace) > now:
        day = days.at_or_before(day - timedelta(days=1))
    return day


def silence(known: Known, now: datetime) -> list[Finding]:
    """Return whether sessions have closed without a price: the feed is stale, or nobody asked it.

    The table `looks` says when the source was last asked.

    Parameters
    ----------
    known : Known
    now : datetime
        With a time zone.
    """
    days, newest = known.calendar.days, known.prices["time"].max()
    if not isinstance(newest, date):
        return []
    expected, found = expected_session(days, now), list[Finding]()
    if expected <= newest:
        return []
    last_look = _last_look(known)
    first = _next(days, newest)
    asked_for = None if last_look is None else expected_session(days, last_look)
    if asked_for is not None and asked_for > newest:
        behind = days.number_at(min(asked_for, expected)) - days.number_at(newest)
        found.append(Finding(
            "stale_feed", f"The feed has no price after {newest}: it is late, or frozen.", first,
            f"{counted(behind, 'session')} closed without a price; the source was last asked "
            f"{last_look:%Y-%m-%d %H:%M} UTC",
            "Ask who delivers the prices. Forecasts stand on old prices until then.",
        ))  # fmt: skip
    if asked_for is None or asked_for < expected:
        since = first if asked_for is None or asked_for <= newest else _next(days, asked_for)
        missed = days.number_at(expected) - days.number_at(since) + 1
        asked = "never" if last_look is None else f"last {last_look:%Y-%m-%d %H:%M} UTC"
        found.append(Finding(
            "run_missed", f"No run has asked for the prices of {since}"
            + ("." if since == expected else f" to {expected}."), since,
            f"{counted(missed, 'session')} closed since; the source was {asked} asked",
            "See that the schedule is alive, then: tidecast run",
        ))  # fmt: skip
    return found


def repeats(known: Known) -> list[Finding]:
    """Return whether the newest prices repeat those before: all of them, or those of some series.

    Pegged series, which rarely move, do not count. Repeated prices that were as usual in the year before, as on
    holidays that a feed fills up, are not named.

    Parameters
    ----------
    known : Known
    """
    rows = _recent(known).with_columns(same=pl.col("close") == pl.col("close").shift().over("series_id"))
    newest = rows["time"].max()
    moving = rows.group_by("series_id").agg(
        share=pl.col("same").mean(), rows=pl.len(), same_before=pl.col("same").sum(),
        run=pl.col("same").reverse().fill_null(False).cum_prod().sum(), last=pl.col("time").max(),
    ).filter(pl.col("share") < 0.5, pl.col("last") == newest)  # fmt: skip
    rows = rows.join(moving.select("series_id"), on="series_id", how="semi")
    by_day = rows.group_by("time").agg(n=pl.len(), share=pl.col("same").mean()).sort("time")
    frozen = by_day["share"].fill_null(0.0) >= ALL
    run = int(frozen.reverse().cast(pl.Int8).cum_prod().sum())
    usual = frozen.head(max(len(frozen) - run, 0)).sum()
    if run >= (1 if moving.height >= FEW else FEW) and usual < FEW and isinstance(newest, date):
        since = by_day["time"][len(by_day) - run]
        most = by_day.head(len(by_day) - run)["share"].max()
        return [Finding(
            "stale_feed", f"The feed repeats old prices: those of {newest} equal the ones before.", since,
            f"{100 * by_day['share'][-1]:.0f} % of {moving.height} moving series repeat their price for "
            f"{counted(run, 'session')}; before, {100 * float(most or 0):.0f} % at most",  # type: ignore[arg-type]  # a share
            "Ask who delivers the prices. Until new ones come, forecasts are too narrow or stand on old prices.",
        )]  # fmt: skip
    return _repeating_series(known, moving)


def _repeating_series(known: Known, moving: pl.DataFrame) -> list[Finding]:
    """Series that repeat their price longer than chance explains."""
    chance = (pl.col("same_before") - pl.col("run") + 1) / (pl.col("rows") - pl.col("run") + 1)
    odd = moving.filter(pl.col("run") >= 2, chance.pow(pl.col("run")) < UNLIKELY / max(moving.height, 1))
    if odd.is_empty():
        return []
    longest = int(odd["run"].max())  # type: ignore[arg-type]  # whole numbers, and not empty
    series = tuple(odd["series_id"].sort().to_list())
    return [Finding(
        "missing_series",
        f"{counted(len(series), 'series repeats its', 'series repeat their')} last price: {named(series)}.",
        known.sessions[-longest],
        f"up to {counted(longest, 'session')} without a move; by chance less than once in 10,000 cases",
        "Ask who delivers them. If a series was suspended, nothing is wrong.", series,
    )]  # fmt: skip


def missing_series(known: Known) -> list[Finding]:
    """Return the series without a price of the newest session, where they never paused so long in the year before.

    Parameters
    ----------
    known : Known
    """
    newest = known.prices["time"].max()
    if not isinstance(newest, date):
        return []
    rows = _recent(known).select("series_id", "time")
    rows = rows.filter(pl.Series(known.calendar.is_session(rows)))  # a calendar may have been changed by hand
    rows = rows.with_columns(session=pl.Series(known.calendar.numbers(rows)))
    gaps = rows.group_by("series_id", maintain_order=True).agg(
        rows=pl.len(), last=pl.col("session").max(), last_time=pl.col("time").max(),
        longest=pl.col("session").diff().max() - 1,
    )  # fmt: skip
    behind = pl.Series(known.calendar.through(gaps["series_id"], newest)) - gaps["last"]
    late = gaps.with_columns(behind=behind).filter(
        pl.col("behind").is_between(1, LASTING), pl.col("behind") > pl.col("longest"), pl.col("rows") >= LASTING
    )
    if late.is_empty():
        return []
    series = tuple(late["series_id"].sort().to_list())
    first: date = late["last_time"].min()  # type: ignore[assignment]  # days, and not empty
    most = int(late["behind"].max())  # type: ignore[arg-type]  # whole numbers, and not empty
    return [Finding(
        "missing_series", f"{len(series)} of {gaps.height} series without a price of {newest}: {named(series)}.",
        _next(known.calendar.days, first),
        f"up to {counted(most, 'session')} without a price; never as many in the year before",
        "Ask who delivers them. A series that has ended needs nothing.", series,
    )]  # fmt: skip


def _recent(known: Known) -> pl.DataFrame:
    """Prices of about the last year of sessions."""
    first = known.sessions.tail(YEAR + 1).min()
    return known.prices.filter(pl.col("time") >= first, pl.col("close").is_not_null()).sort("series_id", "time")


def _last_look(known: Known) -> datetime | None:
    """When the source was last asked: a look, or the end of a run of an earlier version of Tidecast."""
    moments = (known.looks["at"].max(), known.runs["finished"].max())
    return max((moment for moment in moments if isinstance(moment, datetime)), default=None)


def _due(days: Calendar, day: date, grace: timedelta) -> datetime:
    closes: datetime = days.closes(pl.Series([day], dtype=pl.Date))[0]
    return closes + grace


def _next(days: Calendar, day: date) -> date:
    following: date = days.times(np.array([days.number_at(day) + 1]))[0]
    return following
