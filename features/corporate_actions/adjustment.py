"""Corporate actions undone: prices and volumes on the basis of each series' last row."""

from __future__ import annotations

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.frames import Frame, like, to_polars
from tidecast.features.panel import check_columns

PRICES = ("open", "high", "low")
"""Columns that move with the target."""

KEY = ["series_id", "time"]


def adjust(panel: Frame, actions: Frame, target: str = "close") -> Frame:
    """Return the panel on the basis of each series' last row, so that no return is a split or a dividend.

    Prices before an action are multiplied by the factors of all actions after them, ``factor[t] = factor[t+1] /
    (split[t+1] · (1 + dividend[t+1] / price[t+1]))``, with factor 1 on the last row; volumes are divided by the splits'
    part alone. So a return over an ex-date is the holder's total return,
    ``split · (price + dividend) / price before - 1`` (Center for Research in Security Prices; the factor is that of
    Quandl's WIKI prices), and prices from the last action on stay exactly as quoted.

    Every action is undone as reported. `shown_actions` leaves out those that the prices do not show, such as a split of
    prices that are already restated: undone again, it would be a return of its own size.

    Only actions up to a series' last row count. Given the panel and the actions as known on a day, the result uses
    nothing that was not known then. Actions after a day multiply all prices before it by one number, so scale-free
    features do not change.

    Parameters
    ----------
    panel : polars or pandas DataFrame
        ``series_id``, ``time``, the target as quoted; optional ``open``, ``high``, ``low``, ``volume``. In any order.
    actions : polars or pandas DataFrame
        ``series_id``, ``time`` (the ex-date: the first session without the right), ``split_ratio`` (new shares per old
        one: 2 for 2-for-1; null or 1: none), ``dividend`` (per share held from the ex-date on, in the unit of the
        price; null or 0: none). An ex-date without a row acts on the series' next row.
    target : str, default="close"
        The column of prices that dividends are compared with.

    Returns
    -------
    DataFrame
        The panel's rows and columns in their order; pandas or polars as `panel`.

    Raises
    ------
    ValueError
        When a column is missing, a split ratio is not above 0, a dividend is below 0 or not finite, or a dividend falls
        on a price at or below 0.

    Examples
    --------
    >>> from datetime import date
    >>> days = [date(2024, 1, day) for day in (2, 3, 4)]
    >>> panel = pl.DataFrame({"series_id": "a", "time": days, "close": [100.0, 51.0, 50.0]})
    >>> split = pl.DataFrame({"series_id": ["a"], "time": [days[1]], "split_ratio": [2.0], "dividend": [0.0]})
    >>> adjust(panel, split)["close"].to_list()
    [50.0, 51.0, 50.0]
    """
    frame = to_polars(panel)
    factors = action_factors(frame, actions, target)
    prices = [name for name in (target, *PRICES) if name in frame.columns]
    adjusted = frame.with_columns(pl.col(prices).cast(pl.Float64) * factors["price_factor"])
    if "volume" in frame.columns:
        adjusted = adjusted.with_columns(pl.col("volume").cast(pl.Float64) / factors["split_factor"])
    return like(adjusted, panel)


def action_factors(panel: Frame, actions: Frame, target: str = "close") -> pl.DataFrame:
    """Return the factor by which `adjust` multiplies each row's prices, and the splits' part of it.

    Parameters
    ----------
    panel, actions, target
        As for `adjust`.

    Returns
    -------
    polars.DataFrame
        ``price_factor`` and ``split_factor``, a row for each of the panel's, in its order; exactly 1 from a series'
        last action on.
    """
    frame = to_polars(panel)
    check_columns(frame, [*KEY, target])
    quoted = frame.select(*KEY, price=pl.col(target).cast(pl.Float64)).with_row_index("__tidecast_row")
    effects = _effects(checked_actions(to_polars(actions), quoted), quoted)
    rows = quoted.sort(KEY)
    found = rows.join_asof(
        effects, on="time", by="series_id", strategy="forward", allow_exact_matches=False, check_sortedness=False
    ).sort("__tidecast_row")
    return found.select(pl.col("price_factor", "split_factor").fill_null(1.0))


def checked_actions(actions: pl.DataFrame, quoted: pl.DataFrame) -> pl.DataFrame:
    """Return the actions that have an effect, in the panel's types.

    Parameters
    ----------
    actions : polars.DataFrame
        As for `adjust`.
    quoted : polars.DataFrame
        `series_id` and `time` of the panel.

    Raises
    ------
    ValueError
        As `adjust`.
    """
    if missing := [name for name in (*KEY, "split_ratio", "dividend") if name not in actions.columns]:
        raise ValueError(f"Actions must have series_id, time, split_ratio and dividend; {shorten(missing)} not found.")
    known = actions.select(
        pl.col("series_id").cast(quoted.schema["series_id"]),
        pl.col("time").cast(quoted.schema["time"]),
        split=pl.col("split_ratio").cast(pl.Float64).fill_nan(None).fill_null(1.0),
        dividend=pl.col("dividend").cast(pl.Float64).fill_nan(None).fill_null(0.0),
    )
    split, dividend = pl.col("split"), pl.col("dividend")
    valid = (split > 0) & split.is_finite() & (dividend >= 0) & dividend.is_finite()
    for row in known.filter(~valid).head(1).to_dicts():
        raise ValueError(
            f"A split ratio must be above 0 and a dividend at least 0, found {row['split']} and {row['dividend']} for "
            f"{row['series_id']!r} at {row['time']}. Correct the action, or leave it out."
        )
    return known.filter((split != 1) | (dividend != 0))


def _effects(actions: pl.DataFrame, quoted: pl.DataFrame) -> pl.DataFrame:
    """Return, for each row on which actions fall, the factors of the rows before it, back to the previous action."""
    rows = quoted.filter(pl.col("price").is_not_null()).select(*KEY, "price", at="time").sort(KEY)
    act = (
        actions.sort(KEY)
        .join_asof(rows, on="time", by="series_id", strategy="forward", check_sortedness=False)
        .drop_nulls("at")
        .group_by("series_id", time="at")
        .agg(pl.col("split").product(), pl.col("dividend").sum(), pl.col("price").first())
        .sort(KEY)
    )
    for row in act.filter((pl.col("dividend") > 0) & (pl.col("price") <= 0)).head(1).to_dicts():
        raise ValueError(
            f"A dividend must fall on a price above 0, found {row['price']} for {row['series_id']!r} at "
            f"{row['time']}. Leave the dividend out."
        )
    yielded = pl.when(pl.col("dividend") > 0).then(1 + pl.col("dividend") / pl.col("price")).otherwise(1.0)
    return act.select(
        *KEY,
        price_factor=(1 / (pl.col("split") * yielded)).cum_prod(reverse=True).over("series_id"),
        split_factor=(1 / pl.col("split")).cum_prod(reverse=True).over("series_id"),
    )
