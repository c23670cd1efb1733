"""The columns of PriceFeatures for one more row of each series, in NumPy and constant time.

Axes: N series, M of them pushed, W rows of the longest window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from features.panel import MAX_PAUSE
from features.tail import refuse_old
from features.volatility import DECAY

if TYPE_CHECKING:
    from features.price_features import PriceFeatures

ARRAYS = ("changes", "level", "count", "weighted", "still")


class PriceStream:
    """See `Stream`. Keeps each series' last 252 changes in a ring, and what the volatility has added up.

    Parameters
    ----------
    features : PriceFeatures
    state : dict
        ``last``: frame of ``series_id`` and ``time`` of each series' last row. ``changes`` (N, W): change number c of a
        stretch, from 0, at place c % W; 0 where there is none. ``level`` (N,); ``count`` (N,): changes of the stretch
        so far; ``weighted`` (N,): Σ λⁱ r²; ``still`` (N,): rows since the last change that was not 0.
    """

    def __init__(self, features: PriceFeatures, state: dict[str, Any]) -> None:
        self._features, self._last = features, state["last"]
        self._arrays = {name: np.array(state[name]) for name in ARRAYS}

    def state(self) -> dict[str, Any]:
        """See `Stream`."""
        return {"last": self._last, **self._arrays}

    def push(self, rows: pl.DataFrame) -> np.ndarray:
        """See `Stream`."""
        target = self._features.target
        kinds = self._last.schema
        given = rows.select(
            pl.col("series_id").cast(kinds["series_id"]),
            pl.col("time").cast(kinds["time"]),
            price=pl.col(target).cast(pl.Float64).fill_nan(None),
        )
        self._features.check_prices(given)
        values = np.full((len(given), len(self._features.added_)), np.nan)
        known = given["price"].is_not_null()
        if known.any():
            values[known.to_numpy()] = self._advance(given.filter(known))
        return values

    def _advance(self, rows: pl.DataFrame) -> np.ndarray:
        at, fresh = self._places(rows)
        kept, width = self._arrays, self._arrays["changes"].shape[1]
        price = rows["price"].to_numpy()
        level = np.log(price) if self._features.positive else price
        count = np.where(fresh, 0, kept["count"][at] + 1)
        change = np.where(fresh, 0.0, level - kept["level"][at])
        kept["changes"][at[fresh]] = 0.0
        place = (count - 1) % width
        kept["changes"][at[~fresh], place[~fresh]] = change[~fresh]
        weighted = np.where(fresh, 0.0, DECAY * kept["weighted"][at] + change**2)
        still = np.where(fresh | (change != 0), 0, kept["still"][at] + 1)
        for name, value in (("level", level), ("count", count), ("weighted", weighted), ("still", still)):
            kept[name][at] = value
        weights = (1 - DECAY ** np.maximum(count, 1)) / (1 - DECAY)
        values = self._features.from_changes(kept["changes"], at, count, np.sqrt(weighted / weights))
        values[(count == 0) | (still >= np.minimum(count, width))] = np.nan
        return values

    def _places(self, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Where each row's series stands in the arrays, and whether a stretch begins with the row."""
        last = self._last.with_row_index("at").rename({"time": "last"})
        found = rows.join(last, on="series_id", how="left", maintain_order="left")
        refuse_old(found)
        fresh = found.select((pl.col("time") - pl.col("last") > MAX_PAUSE).fill_null(True)).to_series().to_numpy()
        if new := found["at"].null_count():
            size = len(self._last)
            numbers = pl.when(pl.col("at").is_null()).then(size + pl.col("at").is_null().cum_sum() - 1).otherwise("at")
            unknown = found.filter(pl.col("at").is_null()).select("series_id", "time")
            found = found.with_columns(at=numbers)
            self._last = pl.concat([self._last, unknown])
            self._arrays = {name: np.concatenate([a, np.zeros((new, *a.shape[1:]), a.dtype)])
                            for name, a in self._arrays.items()}  # fmt: skip
        at = found["at"].cast(pl.Int64).to_numpy()
        times = self._last["time"].to_physical().to_numpy().copy()
        times[at] = found["time"].to_physical().to_numpy()
        self._last = self._last.with_columns(time=pl.Series(times).cast(self._last.schema["time"]))
        return at, fresh
