"""The default inputs of the networks: scale-free columns of one price."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.frames import Frame, to_polars
from tidecast.features.panel import is_missing
from tidecast.features.segments import series_starts, starts_if_sorted
from tidecast.features.transformers.base import PanelTransformer, block_cuts, in_order
from tidecast.features.transformers.price_definitions import RANGE, RANGE_WINDOWS, VOLATILITY_WINDOWS, PriceSettings
from tidecast.features.transformers.price_expressions import price_columns
from tidecast.features.transformers.price_stream import PriceStream
from tidecast.features.transformers.streaming import Stream, tail_of
from tidecast.features.volatility import EWMA_ROWS

TAIL_BLOCK = 1 << 14
"""Rows of a history that a stream reads at a time when it is opened."""

MOST_PUSHED = 63
"""Up to so many new sessions are pushed one by one instead of computed with their tail, which is faster up to some
hundred."""


class PriceFeatures(PanelTransformer):
    """Scale-free columns of a price, in units of its own volatility: the default inputs of the networks.

    r is a change (log return, or difference when not `positive`) and σ the volatility of `with_volatility`, both at
    the row itself:

    - `scaled_return_1`, `_5`, `_21`: sum of the last k changes / (σ √k);
    - `absolute_return_1`: |r| / σ;
    - `volatility_ratio_5`, `_21`, `_63`, `_252`: log(root mean square of the last k changes / σ), within ±3;
    - `largest_return_63`: largest |r| of the last 63 / σ, as a log, within ±3;
    - `downside_share_63`: share of the negative changes in the sum of squares of the last 63, in [0, 1]; null when
      those are all 0;
    - `range_ratio_2`, `_5`, where the panel has columns ``high`` and ``low``: log(Parkinson's volatility of the last k
      sessions / σ), within ±3. A session without both, or with a low above its high, counts as missing; null where all
      k are missing.

    Multiplying a series' prices by a number changes nothing. Windows start short: values appear with the second row
    and stand for the rows there are. All are null on a series' first row, after a break, when the price has not
    changed in the last 252 changes (a pegged price has no volatility), and where the target is missing.

    Parameters
    ----------
    target : str, default="close"
        Column of prices.
    positive : bool, default=True
        Whether prices move by log returns rather than differences.
    ranges : bool, optional
        Whether to add the range ratios. None: when the panel in `fit` has ``high`` and ``low``.

    References
    ----------
    `with_volatility` names the source of σ, `ParkinsonVolatility` that of the ranges.

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
        """Whether the range ratios are added; before `fit`, whether they were requested."""
        return set(RANGE) <= set(getattr(self, "feature_names_in_", ())) if self.ranges is None else self.ranges

    @property
    def settings(self) -> PriceSettings:
        """The settings with the columns that the panel has."""
        return PriceSettings(self.target, self.positive, self.has_ranges)

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return self.settings.names

    @property
    def min_history(self) -> int:
        """Rows of the longest window and of the changes that the volatility remembers, and the row before them.

        Values appear with the second row.
        """
        return max(VOLATILITY_WINDOWS) + EWMA_ROWS + 1

    @property
    def inputs_(self) -> list[str]:
        """Columns that are read besides ``series_id``, ``time`` and the target."""
        return self.settings.inputs

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        for columns in price_columns(self.settings):
            rows = rows.with_columns(**columns)
        return rows

    # ------------------------------------------------------------- streams
    def stream(self, panel: Frame) -> Stream:
        """Return the stream of these columns, in NumPy and in constant time per row.

        Parameters
        ----------
        panel : polars or pandas DataFrame
            The history.
        """
        fitted, frame = self._ready(panel), to_polars(panel)
        frame = frame.select(fitted._reads(frame))
        if starts_if_sorted(frame) is None or is_missing(frame[self.target]).any():
            frame = fitted._checked(frame)[0].drop("__tidecast_row")
        cuts = block_cuts(series_starts(frame), len(frame), TAIL_BLOCK)
        blocks = (frame.slice(start, end - start) for start, end in pairwise(cuts))
        tails = (tail_of(block, self.target, self.min_history) for block in blocks)
        return PriceStream.joined([PriceStream.after(fitted.settings, fitted._checked(tail)[0]) for tail in tails])

    def _compute_new(self, tail: pl.DataFrame, is_new: pl.Series) -> pl.DataFrame:
        if tail["time"].filter(is_new).n_unique() > MOST_PUSHED:
            return super()._compute_new(tail, is_new)
        rows, _ = self._checked(tail)
        of_new = is_new.gather(rows["__tidecast_row"])
        stream = PriceStream.after(self.settings, rows, of_new)
        days = rows.filter(of_new).sort("time", maintain_order=True)
        pushed = [stream.push(day) for day in days.partition_by("time", maintain_order=True)]
        values = np.concatenate([np.empty((0, len(self.added_))), *pushed])
        number = is_new.cum_sum().gather(days["__tidecast_row"]) - 1
        return in_order(
            pl.DataFrame(values, schema=self.added_, orient="row").fill_nan(None).with_columns(__tidecast_row=number),
            int(is_new.sum()),
        )

    def resume(self, state: dict[str, Any]) -> Stream:
        """Return the stream whose ``state()`` this is.

        Parameters
        ----------
        state : dict
        """
        has_ranges = f"ranges_{RANGE_WINDOWS[0]}" in state
        return PriceStream(PriceSettings(self.target, self.positive, has_ranges), state)
