"""Corporate actions that the prices show, so that none is undone twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.corporate_actions.adjustment import KEY, checked_actions
from tidecast.features.corporate_actions.price_steps import Steps, find_steps
from tidecast.features.frames import Frame, like, to_polars
from tidecast.features.panel import check_columns

LARGE_DIVIDEND = 0.02
"""Share of the price from which a dividend is searched for in prices; a smaller one is less than a usual move."""


@dataclass(frozen=True)
class Shown:
    """Reported actions as the prices show them.

    Attributes
    ----------
    actions : polars.DataFrame
        series_id, time, split_ratio, dividend: the actions that `adjust` may undo. An action that the prices show on
        its row is as reported. A split whose step is on another row has that row's time; a step back has the inverse
        ratio. An action that no price shows is left out.
    doubtful : polars.DataFrame
        series_id, time, split_ratio (null for a dividend): rows of splits and dividends that the price of their own row
        does not show, and rows near a split on another basis than those after it.
    """

    actions: pl.DataFrame
    doubtful: pl.DataFrame


def shown_actions(panel: Frame, actions: Frame, target: str = "close", restated: bool = False) -> Frame:
    """Return the actions that the prices of a panel show, each on the row where they show it.

    Give the result to `adjust`. A split is left out when prices are already restated, because it would be undone twice.
    A single return shows a split of 2 in all but the most volatile shares. It does not show a split of 1.05 where a
    day's volatility is 2 per cent; such a split is taken as reported.

    Parameters
    ----------
    panel : polars or pandas DataFrame
        ``series_id``, ``time`` and the target, as quoted. In any order.
    actions : polars or pandas DataFrame
        ``series_id``, ``time``, ``split_ratio``, ``dividend``, as for `adjust`.
    target : str, default="close"
        The column of prices.
    restated : bool, default=False
        Whether the source restates its prices after a split by convention. It decides small splits only.

    Returns
    -------
    DataFrame
        series_id, time, split_ratio, dividend; pandas or polars as `actions`.

    Raises
    ------
    ValueError
        As `adjust`.

    Examples
    --------
    >>> from datetime import date
    >>> days = [date(2024, 1, day) for day in (2, 3, 4)]
    >>> panel = pl.DataFrame({"series_id": "a", "time": days, "close": [50.0, 51.0, 50.0]})
    >>> split = pl.DataFrame({"series_id": ["a"], "time": [days[1]], "split_ratio": [2.0], "dividend": [0.0]})
    >>> shown_actions(panel, split).height
    0
    """
    frame = to_polars(panel)
    check_columns(frame, [*KEY, target])
    return like(look_for(frame, to_polars(actions), target, restated).actions, actions)


def look_for(panel: pl.DataFrame, actions: pl.DataFrame, target: str = "close", restated: bool = False) -> Shown:
    """Return the shown actions and the rows that are in doubt; parameters are those of `shown_actions`.

    Parameters
    ----------
    panel, actions : polars.DataFrame
    target : str, default="close"
    restated : bool, default=False

    Returns
    -------
    Shown
    """
    quoted = panel.select(*KEY, price=pl.col(target).cast(pl.Float64))
    known = checked_actions(actions, quoted)
    reported = known.select(*KEY, split_ratio="split", dividend="dividend")
    rows = quoted.join(known.select("series_id").unique(), on="series_id", how="semi")
    rows = rows.filter(pl.col("price").is_not_null()).sort(KEY)
    placed = _placed(reported, rows)
    searched = pl.concat([
        placed.filter(pl.col("split_ratio") != 1).select(
            "number", "at", size=pl.col("split_ratio").log(), movable=pl.lit(True)),
        placed.filter(pl.col("dividend") >= LARGE_DIVIDEND * pl.col("price"), pl.col("price") > 0).select(
            "number", "at", size=(pl.col("dividend") / pl.col("price")).log1p(), movable=pl.lit(False)),
    ])  # fmt: skip
    if searched.is_empty():
        return Shown(reported, reported.clear().drop("dividend"))
    starts = np.flatnonzero((rows["series_id"] != rows["series_id"].shift()).fill_null(True).to_numpy())
    steps = find_steps(
        rows["price"].to_numpy(), starts, _days(rows["time"]), searched["at"].to_numpy(), searched["size"].to_numpy(),
        searched["movable"].to_numpy(), restated,
    )  # fmt: skip
    return _as_shown(reported, rows, searched, steps)


def _placed(actions: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the actions at or before a row, by `number`, with the row's position `at` and its price."""
    positions = rows.with_row_index("at").with_columns(pl.col("at").cast(pl.Int64))
    found = (
        actions.with_row_index("number")
        .sort(KEY)
        .join_asof(positions.sort(KEY), on="time", by="series_id", strategy="forward", check_sortedness=False)
    )
    return found.drop_nulls("at").sort("number")


def _days(time: pl.Series) -> np.ndarray:
    """Return times as days since 1970."""
    if time.dtype == pl.Date:
        return time.cast(pl.Int64).to_numpy()
    return time.cast(pl.Datetime("us")).cast(pl.Int64).to_numpy() / 86_400e6


def _as_shown(actions: pl.DataFrame, rows: pl.DataFrame, searched: pl.DataFrame, steps: Steps) -> Shown:
    """Return the reported actions as the steps show them."""
    unseen = searched.filter(pl.Series(~steps.on_own_row))
    no_split = pl.col("number").is_in(unseen.filter("movable")["number"].implode())
    no_dividend = pl.col("number").is_in(unseen.filter(~pl.col("movable"))["number"].implode())
    kept = (
        actions.with_row_index("number")
        .select(
            *KEY,
            split_ratio=pl.when(no_split).then(1.0).otherwise("split_ratio"),
            dividend=pl.when(no_dividend).then(0.0).otherwise("dividend"),
        )
        .filter((pl.col("split_ratio") != 1) | (pl.col("dividend") != 0))
    )
    moved = rows[steps.row].select(
        *KEY,
        split_ratio=pl.Series(_ratios(actions, searched, steps.action)) ** pl.Series(steps.power),
        dividend=pl.lit(0.0),
    )
    action = np.concatenate([np.flatnonzero(~steps.on_own_row), steps.doubtful_action])
    at = np.concatenate([searched["at"].to_numpy()[~steps.on_own_row], steps.doubtful_row])
    ratios = pl.Series(_ratios(actions, searched, action))
    doubtful = rows[at].select(
        *KEY, split_ratio=pl.when(pl.Series(searched["movable"].to_numpy()[action])).then(ratios)
    )
    return Shown(pl.concat([kept, moved]).sort(KEY), doubtful.unique(maintain_order=True))


def _ratios(actions: pl.DataFrame, searched: pl.DataFrame, numbers: np.ndarray) -> np.ndarray:
    return actions["split_ratio"].to_numpy()[searched["number"].to_numpy()[numbers]]
