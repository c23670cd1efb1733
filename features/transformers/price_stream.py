"""The columns of PriceFeatures for one more row of each series, in NumPy and constant time.

Axes: N series, M of them pushed, k rows of a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tidecast.features.panel import check_columns
from tidecast.features.segments import MAX_PAUSE, at_places, longest_gaps, pauses, places_of, series_starts
from tidecast.features.transformers.price_expressions import range_square
from tidecast.features.transformers.streaming import refuse_old
from tidecast.features.volatility import DECAY

if TYPE_CHECKING:
    from tidecast.features.transformers.price_features import PriceFeatures


class PriceStream:
    """See `Stream`. Keeps of each series a ring for every window, and what the volatility has added up.

    Sums and extremes do not ask for order, so a window is read as it lies in its ring; sums are added up anew each
    time, as a running one would carry the rounding of a jump for ever.

    Parameters
    ----------
    features : PriceFeatures
    state : dict
        ``last``: frame of ``series_id`` and ``time`` of each series' last row. Rings, where change number c of a
        stretch, from 0, lies at place c % k, and 0 where there is none yet: ``changes`` (N, k) and, of the other
        volatility windows, ``squares_k`` (N, k). ``levels`` (N, k): that of row number c at c % k, the stretch's first
        where there is none yet; likewise ``ranges_k`` (N, k), squared, NaN where not known. ``count`` (N,): changes of
        the stretch so far; ``weighted`` (N,): Σ λⁱ r²; ``still`` (N,): rows since the last change that was not 0.
    """

    def __init__(self, features: PriceFeatures, state: dict[str, Any]) -> None:
        self._features, self._last = features, state["last"]
        self._arrays = {name: np.array(values) for name, values in state.items() if name != "last"}
        self._undo: list[tuple[np.ndarray, Any, np.ndarray]] | None = None  # what was written over: where, and what

    @classmethod
    def after(cls, features: PriceFeatures, rows: pl.DataFrame, left_out: pl.Series | None = None) -> PriceStream:
        """The stream that goes on where `rows` end.

        Parameters
        ----------
        features : PriceFeatures
            Fitted.
        rows : polars.DataFrame
            Sorted, a target in each; the last `min_history` of each series are enough.
        left_out : polars.Series, optional
            Of each row whether it is yet to come; then all later ones of its series are. None: no row is.
        """
        first, newest = _last_stretches(rows, left_out)
        count = newest - first
        level = rows[features.target].to_numpy()
        level = np.log(level) if features.positive else level
        change = np.diff(level, prepend=np.nan)

        def last(values: np.ndarray, k: int, n_there: np.ndarray, empty: Any) -> np.ndarray:
            """The last k of `values` by age, the newest first; `empty` beyond the `n_there` of the last stretch."""
            age = np.arange(k)
            return np.where(age < n_there[:, None], values[np.maximum(newest[:, None] - age, 0)], empty)

        state: dict[str, Any] = {"last": rows[newest].select("series_id", "time"), "count": count}
        state["weighted"] = _weighted(change**2, newest, count)
        recent = last(change, max(features.rings.values()), count, 0.0)
        ranges = rows.select(range_square(features.positive)).to_series().to_numpy() if features.has_ranges else level
        for name, k in features.rings.items():
            if name == "levels":
                state[name] = _ring(last(level, k, count + 1, level[first, None]), count + 1)
            elif name.startswith("ranges"):
                state[name] = _ring(last(ranges, k, count + 1, np.nan), count + 1)
            else:
                state[name] = _ring(recent[:, :k] if name == "changes" else recent[:, :k] ** 2, count)
        moved = np.column_stack([recent != 0, np.ones(len(count), dtype=bool)])
        state["still"] = np.minimum(moved.argmax(1), count)
        return cls(features, state)

    @classmethod
    def joined(cls, streams: Sequence[PriceStream]) -> PriceStream:
        """One stream of the series of several, in their order."""
        states = [stream.state() for stream in streams]
        rings = {name: np.concatenate([state[name] for state in states]) for name in states[0] if name != "last"}
        return cls(streams[0]._features, {"last": pl.concat([state["last"] for state in states]), **rings})

    def state(self) -> dict[str, Any]:
        """See `Stream`."""
        return {"last": self._last, **self._arrays}

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """See `Stream`; to note what is written over is a tenth of the work of a copy."""
        last, arrays, self._undo = self._last, self._arrays, []
        try:
            yield
        except BaseException:
            for array, at, before in reversed(self._undo):
                array[at] = before
            self._last, self._arrays = last, arrays
            raise
        finally:
            self._undo = None

    def _write(self, array: np.ndarray, at: Any, values: Any) -> None:
        if self._undo is not None:
            self._undo.append((array, at, array[at]))
        array[at] = values

    def push(self, rows: pl.DataFrame) -> np.ndarray:
        """See `Stream`."""
        features, kinds = self._features, self._last.schema
        check_columns(rows, ["series_id", "time", features.target, *features.inputs_])
        columns = [
            rows["series_id"].cast(kinds["series_id"]),
            rows["time"].cast(kinds["time"]),
            rows[features.target].cast(pl.Float64).fill_nan(None).alias("price"),
        ]
        if "calendar" in rows.columns:
            columns.append(rows["calendar"])
        if features.has_ranges:
            columns.append(rows.select(range=range_square(features.positive)).to_series())
        given = pl.DataFrame(columns, orient="col")
        features.check_prices(given)
        known = given["price"].is_not_null()
        if known.all():
            return self._advance(given)
        values = np.full((len(given), len(features.added_)), np.nan)
        if known.any():
            values[known.to_numpy()] = self._advance(given.filter(known))
        return values

    def _advance(self, rows: pl.DataFrame) -> np.ndarray:
        at, fresh = self._places(rows)
        arrays = self._arrays
        price = rows["price"].to_numpy()
        level = np.log(price) if self._features.positive else price
        count = np.where(fresh, 0, arrays["count"][at] + 1)
        newest = arrays["levels"][at, (count - 1) % arrays["levels"].shape[1]]
        change = np.where(fresh, 0.0, level - newest)
        weighted = np.where(fresh, 0.0, DECAY * arrays["weighted"][at] + change**2)
        still = np.where(fresh | (change != 0), 0, arrays["still"][at] + 1)
        for name, ring in arrays.items():
            if ring.ndim == 1:
                continue
            number, new, empty = count - 1, change if name == "changes" else change**2, np.zeros(1)
            if name == "levels":
                number, new, empty = count, level, level[fresh, None]
            elif name.startswith("ranges"):
                number, new, empty = count, rows["range"].to_numpy(), np.full(1, np.nan)
            if fresh.any():
                self._write(ring, at[fresh], empty)
            self._write(ring, (at, number % ring.shape[1]), new)
        for name, value in (("count", count), ("weighted", weighted), ("still", still)):
            self._write(arrays[name], at, value)
        weights = (1 - DECAY ** np.maximum(count, 1)) / (1 - DECAY)
        here: Any = slice(None) if len(at) == len(self._last) and (at[1:] > at[:-1]).all() else at
        rings = {name: ring[here] for name, ring in arrays.items() if ring.ndim == 2}
        return self._features.from_rings(rings, count, still, np.sqrt(weighted / weights))

    def _places(self, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Where each row's series stands in the arrays, and whether a stretch begins with the row."""
        at = places_of(rows["series_id"], self._last["series_id"])
        new, last = at < 0, at_places(self._last["time"], at)
        refuse_old(rows.with_columns(last=last))
        if new.any():
            at[new] = len(self._last) + np.arange(new.sum())
            unknown = rows.filter(pl.Series(new)).select("series_id", "time")
            self._last = pl.concat([self._last, unknown])
            self._arrays = {name: np.concatenate([a, np.zeros((len(unknown), *a.shape[1:]), a.dtype)])
                            for name, a in self._arrays.items()}  # fmt: skip
        longest = longest_gaps(rows)
        fresh = (rows["time"] - last > (MAX_PAUSE if longest is None else longest)).fill_null(True).to_numpy()
        self._last = self._last.with_columns(time=self._last["time"].scatter(at, rows["time"]))
        return at, fresh


def _last_stretches(rows: pl.DataFrame, left_out: pl.Series | None) -> tuple[np.ndarray, np.ndarray]:
    """First and last row of each series' last stretch, of the series that have a row which is not left out."""
    starts = series_starts(rows)
    newest = np.append(starts, len(rows))[1:] - 1
    if left_out is not None:
        newest -= np.diff(np.searchsorted(left_out.arg_true(), np.append(starts, len(rows))))
        begun = newest >= starts
        starts, newest = starts[begun], newest[begun]
    breaks = np.append(0, pauses(rows))
    return np.maximum(starts, breaks[np.searchsorted(breaks, newest, side="right") - 1]), newest


def _weighted(square: np.ndarray, newest: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Σ λⁱ r² over the `count` changes up to each of the rows `newest`."""
    weight = DECAY ** np.arange(count.max(initial=0))[::-1]
    sums = [square[end - n + 1 : end + 1] @ weight[len(weight) - n :] for end, n in zip(newest, count, strict=True)]
    return np.array(sums)


def _ring(by_age: np.ndarray, n_there: np.ndarray) -> np.ndarray:
    """A ring of values given by age, the newest first: number c of the `n_there` at place c % k."""
    k = by_age.shape[1]
    kept = np.empty_like(by_age)
    np.put_along_axis(kept, (n_there[:, None] - 1 - np.arange(k)) % k, by_age, axis=1)
    return kept
