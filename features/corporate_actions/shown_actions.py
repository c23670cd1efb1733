"""Corporate actions as the prices show them: what can be undone without being undone twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.corporate_actions.adjustment import KEY, checked_actions
from tidecast.features.corporate_actions.price_steps import Steps, find_steps
from tidecast.features.frames import Frame, like, to_polars
from tidecast.features.panel import check_columns

LARGE_DIVIDEND = 0.02
"""Share of the price from which a dividend is looked for in it; a smaller one is less than a day's usual move."""


@dataclass(frozen=True)
class Shown:
    """What prices show of the actions that were told of them.

    Parameters
    ----------
    actions : polars.DataFrame
        series_id, time, split_ratio, dividend: what `features.adjust` may undo. An action that the prices show on its
        row is as it was told; a split whose step is on another row has that row's time, and one step back has the
        inverse ratio; what no price shows is not there.
    doubtful : polars.DataFrame
        series_id, time, split_ratio (null for a dividend): rows of the splits and dividends that their own row's price
        does not show, and rows near a split that are on another basis than those after it.
    """

    actions: pl.DataFrame
    doubtful: pl.DataFrame


def shown_actions(panel: Frame, actions: Frame, target: str = "close", restated: bool = False) -> Frame:
    """The actions that the prices of a panel show, each on the row where they show it.

    Give the result to `features.adjust`. A split that is told while prices are restated already, or not yet, is left
    out, because it would be undone twice. A split of 2 is told from none by a single return in all but the wildest
    shares; one of 1.05 is not, where a day's volatility is 2 per cent, and is taken as told.

    Parameters
    ----------
    panel : polars or pandas DataFrame
        ``series_id``, ``time`` and the target, as quoted. In any order.
    actions : polars or pandas DataFrame
        ``series_id``, ``time``, ``split_ratio``, ``dividend``, as for `features.adjust`.
    target : str, default="close"
        The column of prices.
    restated : bool, default=False
        Whether the source restates its prices after a split by convention. It decides small splits only.

    Returns
    -------
    DataFrame
        series_id, time, split_ratio, dividend; of the kind of `actions`.

    Raises
    ------
    ValueError
        As `features.adjust`.

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
    """As `shown_actions`, with the rows that are in doubt."""
    quoted = panel.select(*KEY, price=pl.col(target).cast(pl.Float64))
    known = checked_actions(actions, quoted)
    as_told = known.select(*KEY, split_ratio="split", dividend="dividend")
    rows = quoted.join(known.select("series_id").unique(), on="series_id", how="semi")
    rows = rows.filter(pl.col("price").is_not_null()).sort(KEY)
    placed = _placed(as_told, rows)
    asked = pl.concat([
        placed.filter(pl.col("split_ratio") != 1).select(
            "number", "at", size=pl.col("split_ratio").log(), movable=pl.lit(True)),
        placed.filter(pl.col("dividend") >= LARGE_DIVIDEND * pl.col("price"), pl.col("price") > 0).select(
            "number", "at", size=(pl.col("dividend") / pl.col("price")).log1p(), movable=pl.lit(False)),
    ])  # fmt: skip
    if asked.is_empty():
        return Shown(as_told, as_told.clear().drop("dividend"))
    starts = np.flatnonzero((rows["series_id"] != rows["series_id"].shift()).fill_null(True).to_numpy())
    steps = find_steps(
        rows["price"].to_numpy(), starts, _days(rows["time"]), asked["at"].to_numpy(), asked["size"].to_numpy(),
        asked["movable"].to_numpy(), restated,
    )  # fmt: skip
    return _as_shown(as_told, rows, asked, steps)


def _placed(actions: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """The actions that a row follows, by their `number`: `at`, that row's place, and its price."""
    places = rows.with_row_index("at").with_columns(pl.col("at").cast(pl.Int64))
    found = (
        actions.with_row_index("number")
        .sort(KEY)
        .join_asof(places.sort(KEY), on="time", by="series_id", strategy="forward", check_sortedness=False)
    )
    return found.drop_nulls("at").sort("number")


def _days(time: pl.Series) -> np.ndarray:
    """Times as days."""
    if time.dtype == pl.Date:
        return time.cast(pl.Int64).to_numpy()
    return time.cast(pl.Datetime("us")).cast(pl.Int64).to_numpy() / 86_400e6


def _as_shown(actions: pl.DataFrame, rows: pl.DataFrame, asked: pl.DataFrame, steps: Steps) -> Shown:
    unseen = asked.filter(pl.Series(~steps.told))
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
        split_ratio=pl.Series(_ratios(actions, asked, steps.action)) ** pl.Series(steps.power),
        dividend=pl.lit(0.0),
    )
    action = np.concatenate([np.flatnonzero(~steps.told), steps.off_action])
    at = np.concatenate([asked["at"].to_numpy()[~steps.told], steps.off])
    ratios = pl.Series(_ratios(actions, asked, action))
    doubtful = rows[at].select(*KEY, split_ratio=pl.when(pl.Series(asked["movable"].to_numpy()[action])).then(ratios))
    return Shown(pl.concat([kept, moved]).sort(KEY), doubtful.unique(maintain_order=True))


def _ratios(actions: pl.DataFrame, asked: pl.DataFrame, numbers: np.ndarray) -> np.ndarray:
    return actions["split_ratio"].to_numpy()[asked["number"].to_numpy()[numbers]]
