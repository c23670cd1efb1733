"""A volatility break of the whole panel: its moves are larger than any of the last two years."""

from __future__ import annotations

from datetime import date

import polars as pl

from tidecast.features.error_text import counted
from tidecast.features.volatility import with_volatility
from tidecast.flows.watch.finding import Finding
from tidecast.flows.watch.known import Known

WINDOWS = (1, 3)
"""Sessions over which moves are averaged."""

HISTORY, LEAST_HISTORY = 504, 250
"""Sessions before that show what is usual, and the fewest that do."""

MARGIN = 1.25
"""A move must exceed the largest one before by this factor."""

SHOWN = 5
"""Sessions for which a break is reported. The track record counts the 60 sessions after it apart."""


def moves(prices: pl.DataFrame, window: int, positive: bool) -> pl.DataFrame:
    """Return the mean absolute move of each session, in units of the volatility before it.

    Parameters
    ----------
    prices : polars.DataFrame
        Sorted by series_id and time.
    window : int
        Sessions to average over.
    positive : bool
        Whether prices move by log returns rather than differences.

    Returns
    -------
    polars.DataFrame
        time, move; the mean over the series that moved. Sessions with fewer than half of the usual number of series are
        left out.
    """
    rows = with_volatility(prices, positive=positive).with_columns(
        before=pl.col("volatility").shift(window).over("series_id"),
        size=pl.col("change").abs().rolling_mean(window).over("series_id"),
    )
    rows = rows.filter(~pl.col("pegged"), pl.col("before") > 0, pl.col("size").is_not_null())
    days = rows.group_by("time").agg(n=pl.len(), move=(pl.col("size") / pl.col("before")).mean()).sort("time")
    return days.filter(pl.col("n") >= 0.5 * pl.col("n").median()).drop("n")


def volatility_break(known: Known) -> list[Finding]:
    """Return whether the panel's moves of the last sessions exceed all of two years by a quarter.

    Parameters
    ----------
    known : Known
    """
    first = known.sessions.tail(HISTORY + 100).min()
    prices = known.prices.filter(pl.col("time") >= first)
    found = []
    for window in WINDOWS:
        days = moves(prices, window, known.positive)
        for back in range(SHOWN, 0, -1):
            past, now = days.head(len(days) - back).tail(HISTORY), days.slice(len(days) - back, 1)
            if len(past) < LEAST_HISTORY or now.is_empty():
                continue
            largest = float(past["move"].max())  # type: ignore[arg-type]  # numbers, and not empty
            move = float(now["move"][0])
            if move > MARGIN * largest:
                found.append((now["time"][0], window, move, largest, len(past)))
                break
    if not found:
        return []
    since, window, move, largest, n = min(found)
    return [_finding(since, window, move, largest, n)]


def _finding(since: date, window: int, move: float, largest: float, n: int) -> Finding:
    over = "" if window == 1 else f" over {counted(window, 'session')}"
    return Finding(
        "volatility_break", f"Volatility broke on {since}: prices move far more than the intervals expect.", since,
        f"the mean move{over} is {move:.1f} times the volatility before; the largest of {counted(n, 'session')} "
        f"before was {largest:.1f} times",
        "Expect wide intervals and low coverage for some sessions; the track record counts 60 sessions after it apart.",
    )  # fmt: skip
