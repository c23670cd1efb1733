"""The default inputs of the networks: scale-free columns of one price."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from sklearn.base import clone

from tidecast.features.frames import Frame, to_polars
from tidecast.features.panel import PanelSchema, check_rows, is_missing
from tidecast.features.segments import series_starts, starts_if_sorted
from tidecast.features.transformers.base import PanelTransformer, block_cuts, in_order
from tidecast.features.transformers.price_expressions import (
    RANGE,
    RANGE_WINDOWS,
    RETURN_STEPS,
    SHAPE_WINDOW,
    VOLATILITY_WINDOWS,
    WIDEST_RATIO,
    price_columns,
)
from tidecast.features.transformers.price_stream import PriceStream
from tidecast.features.transformers.streaming import Stream, tail_of
from tidecast.features.volatility import EWMA_ROWS

TAIL_BLOCK = 1 << 14
"""Rows of a history that a stream is opened from at a time."""

MOST_PUSHED = 63
"""New sessions that are pushed one by one rather than computed with their tail; that pays up to some hundred."""


class PriceFeatures(PanelTransformer):
    """Scale-free columns of a price, on the yardstick of its own volatility: what a network sees by default.

    With r a change (log return, or difference when not `positive`) and σ the volatility of `with_volatility`, both at
    the row itself:

    - `scaled_return_1`, `_5`, `_21`: sum of the last k changes / (σ √k);
    - `absolute_return_1`: |r| / σ;
    - `volatility_ratio_5`, `_21`, `_63`, `_252`: log(root mean square of the last k changes / σ), within ±3;
    - `largest_return_63`: largest |r| of the last 63 / σ, as a log, within ±3;
    - `downside_share_63`: share of the negative changes in the sum of squares of the last 63, in [0, 1], null when
      those are all 0;
    - `range_ratio_2`, `_5`, where the panel has columns ``high`` and ``low``: log(Parkinson's volatility of the last k
      sessions / σ), within ±3. A session without both, or with a low above its high, counts as missing; null where all
      k are.

    Multiplying a series' prices by a number changes nothing. Windows start short: values appear with the second row
    and stand for the rows there are. All are null on a series' first row, after a break, where nothing moved in the
    last 252 changes (a peg has no yardstick), and where the target is missing.

    Parameters
    ----------
    target : str, default="close"
        Column of prices.
    positive : bool, default=True
        Whether prices move by log returns rather than differences.
    ranges : bool, optional
        Whether to add the range ratios. None: when the panel that is given to `fit` has ``high`` and ``low``.

    References
    ----------
    `with_volatility` has the source of σ, `ParkinsonVolatility` that of the ranges.

    Examples
    --------
    >>> from datetime import date
    >>> rows = {"series_id": ["a"] * 3, "time": [date(2024, 1, day) for day in (2, 3, 4)], "close": [1.0, 2.0, 4.0]}
    >>> PriceFeatures().fit_transform(pl.DataFrame(rows))["scaled_return_1"].round(6).to_list()
    [None, 1.0, 1.0]
    """

    def __init__(self, target: str = "close", positive: bool = True, ranges: bool | None = None) -> None:
        self.target = target
        self.positive = positive
        self.ranges = ranges

    @property
    def has_ranges(self) -> bool:
        """Whether the range ratios are added; before `fit`, whether they were asked for."""
        return set(RANGE) <= set(getattr(self, "feature_names_in_", ())) if self.ranges is None else self.ranges

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return [
            *(f"scaled_return_{k}" for k in RETURN_STEPS),
            "absolute_return_1",
            *(f"volatility_ratio_{k}" for k in VOLATILITY_WINDOWS),
            f"largest_return_{SHAPE_WINDOW}",
            f"downside_share_{SHAPE_WINDOW}",
            *(f"range_ratio_{k}" for k in RANGE_WINDOWS if self.has_ranges),
        ]

    @property
    def min_history(self) -> int:
        """The longest window, the changes that the volatility remembers, and the row before them; values appear with
        the second row."""
        return max(VOLATILITY_WINDOWS) + EWMA_ROWS + 1

    @property
    def inputs_(self) -> list[str]:
        """Columns that it reads beside the target."""
        return [*RANGE] if self.has_ranges else []

    @property
    def rings(self) -> dict[str, int]:
        """Rows of each window that a `PriceStream` keeps."""
        squares = {f"squares_{k}": k for k in VOLATILITY_WINDOWS if k != SHAPE_WINDOW}
        ranges = {f"ranges_{k}": k for k in RANGE_WINDOWS if self.has_ranges}
        return {"changes": SHAPE_WINDOW, **squares, "levels": max(RETURN_STEPS) + 1, **ranges}

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        for columns in price_columns(self.target, self.positive, self.has_ranges):
            rows = rows.with_columns(**columns)
        return rows

    # ------------------------------------------------------------- streams
    def stream(self, panel: Frame) -> Stream:
        """As of every transformer, but in NumPy and constant time a row."""
        fitted, frame = self._ready(panel), to_polars(panel)
        frame = frame.select(fitted._reads(frame))
        if starts_if_sorted(frame) is None or is_missing(frame[self.target]).any():
            frame = fitted._checked(frame)[0].drop("_row")
        cuts = block_cuts(series_starts(frame), len(frame), TAIL_BLOCK)
        blocks = (frame.slice(start, end - start) for start, end in pairwise(cuts))
        tails = (tail_of(block, self.target, self.min_history) for block in blocks)
        return PriceStream.joined([PriceStream.after(fitted, fitted._checked(tail)[0]) for tail in tails])

    def _compute_new(self, tail: pl.DataFrame, is_new: pl.Series) -> pl.DataFrame:
        if tail["time"].filter(is_new).n_unique() > MOST_PUSHED:
            return super()._compute_new(tail, is_new)
        rows, _ = self._checked(tail)
        of_new = is_new.gather(rows["_row"])
        stream = PriceStream.after(self, rows, of_new)
        days = rows.filter(of_new).sort("time", maintain_order=True)
        pushed = [stream.push(day) for day in days.partition_by("time", maintain_order=True)]
        values = np.concatenate([np.empty((0, len(self.added_))), *pushed])
        number = is_new.cum_sum().gather(days["_row"]) - 1
        return in_order(
            pl.DataFrame(values, schema=self.added_, orient="row").fill_nan(None).with_columns(_row=number),
            int(is_new.sum()),
        )

    def resume(self, state: dict[str, Any]) -> Stream:
        """The stream whose ``state()`` this is."""
        has_ranges = f"ranges_{RANGE_WINDOWS[0]}" in state
        return PriceStream(clone(self).set_params(ranges=has_ranges), state)

    def check_prices(self, rows: pl.DataFrame) -> None:
        """Raise ValueError where the column `price` has what a panel's target may not have."""
        price = rows["price"].to_numpy()
        if np.isinf(price).any() or (self.positive and (price <= 0).any()):
            check_rows(rows, PanelSchema(self.positive), "price")  # which says where

    def from_rings(
        self, rings: dict[str, np.ndarray], count: np.ndarray, still: np.ndarray, sigma: np.ndarray
    ) -> np.ndarray:
        """The added columns, shape (M, n_added), of M series; arguments as in `PriceStream`, but of these series."""
        changes, levels = rings["changes"], rings["levels"]
        down = np.minimum(changes, 0.0)
        row, total = np.arange(len(count)), np.einsum("nk,nk->n", changes, changes)
        level, newest = (levels[row, (count - back) % levels.shape[1]] for back in (0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = []
            for k in RETURN_STEPS:
                before = levels[row, (count - k) % levels.shape[1]]
                columns.append((level - before) / (sigma * np.sqrt(np.clip(count, 1, k))))
            columns.append(np.abs(level - newest) / sigma)
            for k in VOLATILITY_WINDOWS:
                whole = total if k == SHAPE_WINDOW else rings[f"squares_{k}"].sum(1)
                columns.append(_log_ratio(np.sqrt(whole / np.clip(count, 1, k)), sigma))
            columns.append(_log_ratio(np.maximum(changes.max(1), -changes.min(1)), sigma))
            columns.append(np.einsum("nk,nk->n", down, down) / total)
            for ranges in (rings[f"ranges_{k}"] for k in RANGE_WINDOWS if self.has_ranges):
                n_known = (~np.isnan(ranges)).sum(1)
                columns.append(_log_ratio(np.sqrt(np.nansum(ranges, axis=1) / n_known), sigma))
        values = np.column_stack(columns)
        values[(count == 0) | (still >= np.minimum(count, max(VOLATILITY_WINDOWS)))] = np.nan
        return values


def _log_ratio(value: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    return np.clip(np.log(value / sigma), -WIDEST_RATIO, WIDEST_RATIO)
