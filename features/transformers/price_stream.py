"""The columns of PriceFeatures for one more row of each series, in NumPy and constant time.

Axes: N series, M of them pushed, k rows of a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl

from tidecast.features.panel import PanelSchema, check_columns, check_rows
from tidecast.features.segments import MAX_PAUSE, at_places, longest_gaps, pauses, places_of, series_starts
from tidecast.features.transformers.price_definitions import (
    RANGE_WINDOWS,
    RETURN_STEPS,
    SHAPE_WINDOW,
    VOLATILITY_WINDOWS,
    PriceSettings,
)
from tidecast.features.transformers.price_expressions import range_square
from tidecast.features.transformers.streaming import refuse_old
from tidecast.features.volatility import DECAY


def ring_lengths(ranges: bool) -> dict[str, int]:
    """Return the rows of each window that a `PriceStream` keeps, by name: the kind, and the length of some.

    Parameters
    ----------
    ranges : bool
        Whether the stream reads ``high`` and ``low``.
    """
    squares = {f"squares_{k}": k for k in VOLATILITY_WINDOWS if k != SHAPE_WINDOW}
    of_ranges = {f"ranges_{k}": k for k in RANGE_WINDOWS if ranges}
    return {"changes": SHAPE_WINDOW, **squares, "levels": max(RETURN_STEPS) + 1, **of_ranges}


class PriceStream:
    """See `Stream`. Keeps a ring of each series for every window, and the running sum of the volatility.

    Sums and extremes do not depend on order, so a window is read as it lies in its ring. Sums are computed anew each
    time, because a running sum would keep the rounding error of a jump.

    Parameters
    ----------
    settings : PriceSettings
    state : dict
        ``last``: frame of ``series_id`` and ``time`` of each series' last row. Rings, where change number c of a
        segment, from 0, lies at position c % k, and 0 where there is none yet: ``changes`` (N, k) and, of the other
        volatility windows, ``squares_k`` (N, k). ``levels`` (N, k): that of row number c at c % k, the segment's first
        where there is none yet; likewise ``ranges_k`` (N, k), squared, NaN where not known. ``count`` (N,): changes of
        the segment so far; ``weighted`` (N,): Σ λⁱ r²; ``still`` (N,): rows since the last change that was not 0.
    """

    def __init__(self, settings: PriceSettings, state: dict[str, Any]) -> None:
        self._settings, self._last = settings, state["last"]
        self._arrays = {name: np.array(values) for name, values in state.items() if name != "last"}
        self._undo: list[tuple[np.ndarray, Any, np.ndarray]] | None = None  # overwritten values: array, where, what

    @classmethod
    def after(cls, settings: PriceSettings, rows: pl.DataFrame, left_out: pl.Series | None = None) -> PriceStream:
        """Return the stream that continues where `rows` end.

        Parameters
        ----------
        settings : PriceSettings
        rows : polars.DataFrame
            Sorted, a target in each; the last `min_history` of each series are enough.
        left_out : polars.Series, optional
            Whether each row is yet to come; then all later ones of its series are. None: no row is.
        """
        first, newest = _last_segments(rows, left_out)
        count = newest - first
        level = rows[settings.target].to_numpy()
        level = np.log(level) if settings.positive else level
        change = np.diff(level, prepend=np.nan)
        lengths = ring_lengths(settings.ranges)

        def last(values: np.ndarray, k: int, n_there: np.ndarray, empty: Any) -> np.ndarray:
            """The last k of `values` by age, the newest first; `empty` beyond the `n_there` of the last segment."""
            age = np.arange(k)
            return np.where(age < n_there[:, None], values[np.maximum(newest[:, None] - age, 0)], empty)

        state: dict[str, Any] = {"last": rows[newest].select("series_id", "time"), "count": count}
        state["weighted"] = _weighted(change**2, newest, count)
        recent = last(change, max(lengths.values()), count, 0.0)
        ranges = rows.select(range_square(settings.positive)).to_series().to_numpy() if settings.ranges else level
        for name, k in lengths.items():
            kind = name.partition("_")[0]
            if kind == "levels":
                state[name] = _ring(last(level, k, count + 1, level[first, None]), count + 1)
            elif kind == "ranges":
                state[name] = _ring(last(ranges, k, count + 1, np.nan), count + 1)
            else:
                state[name] = _ring(recent[:, :k] if kind == "changes" else recent[:, :k] ** 2, count)
        has_moved = np.column_stack([recent != 0, np.ones(len(count), dtype=bool)])
        state["still"] = np.minimum(has_moved.argmax(1), count)
        return cls(settings, state)

    @classmethod
    def joined(cls, streams: Sequence[PriceStream]) -> PriceStream:
        """Return one stream of the series of several, in their order.

        Parameters
        ----------
        streams : sequence of PriceStream
            Streams with the same settings, of different series.
        """
        states = [stream.state() for stream in streams]
        rings = {name: np.concatenate([state[name] for state in states]) for name in states[0] if name != "last"}
        return cls(streams[0]._settings, {"last": pl.concat([state["last"] for state in states]), **rings})

    def state(self) -> dict[str, Any]:
        """See `Stream`."""
        return {"last": self._last, **self._arrays}

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """See `Stream`. Noting overwritten values is a tenth of the work of a copy."""
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
        """See `Stream`.

        Parameters
        ----------
        rows : polars.DataFrame
            At most one row of each series, newer than its last.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            The columns of `PriceFeatures` for these rows.
        """
        settings, kinds = self._settings, self._last.schema
        check_columns(rows, ["series_id", "time", settings.target, *settings.inputs])
        columns = [
            rows["series_id"].cast(kinds["series_id"]),
            rows["time"].cast(kinds["time"]),
            rows[settings.target].cast(pl.Float64).fill_nan(None).alias("price"),
        ]
        if "calendar" in rows.columns:
            columns.append(rows["calendar"])
        if settings.ranges:
            columns.append(rows.select(range=range_square(settings.positive)).to_series())
        new = pl.DataFrame(columns, orient="col")
        _check_prices(new, settings.positive)
        has_price = new["price"].is_not_null()
        if has_price.all():
            return self._advance(new)
        values = np.full((len(new), len(settings.names)), np.nan)
        if has_price.any():
            values[has_price.to_numpy()] = self._advance(new.filter(has_price))
        return values

    def _advance(self, rows: pl.DataFrame) -> np.ndarray:
        """Take in a row with a price of each of M series, and return its columns, shape (M, n_added)."""
        at, fresh = self._places(rows)
        arrays = self._arrays
        price = rows["price"].to_numpy()
        level = np.log(price) if self._settings.positive else price
        count = np.where(fresh, 0, arrays["count"][at] + 1)
        newest = arrays["levels"][at, (count - 1) % arrays["levels"].shape[1]]
        change = np.where(fresh, 0.0, level - newest)
        weighted = np.where(fresh, 0.0, DECAY * arrays["weighted"][at] + change**2)
        still = np.where(fresh | (change != 0), 0, arrays["still"][at] + 1)
        entries: dict[str, tuple[np.ndarray, Any, np.ndarray]] = {  # number in the segment, empty entry, new entry
            "changes": (count - 1, 0.0, change),
            "squares": (count - 1, 0.0, change**2),
            "levels": (count, level[fresh, None], level),
        }
        if self._settings.ranges:
            entries["ranges"] = (count, np.nan, rows["range"].to_numpy())
        for name, ring in self._rings.items():
            number, empty, new = entries[name.partition("_")[0]]
            if fresh.any():
                self._write(ring, at[fresh], empty)
            self._write(ring, (at, number % ring.shape[1]), new)
        for name, value in (("count", count), ("weighted", weighted), ("still", still)):
            self._write(arrays[name], at, value)
        weights = (1 - DECAY ** np.maximum(count, 1)) / (1 - DECAY)
        pushed: Any = slice(None) if len(at) == len(self._last) and (at[1:] > at[:-1]).all() else at
        quantities = RingQuantities(
            {name: ring[pushed] for name, ring in self._rings.items()}, count, np.sqrt(weighted / weights)
        )
        values = _columns(self._settings, quantities)
        values[(count == 0) | (still >= np.minimum(count, max(VOLATILITY_WINDOWS)))] = np.nan
        return values

    @property
    def _rings(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self._arrays.items() if array.ndim == 2}

    def _places(self, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the position of each row's series in the arrays, and whether a segment begins with the row."""
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


class RingQuantities:
    """`Quantities` as arrays of shape (M,), read from rings.

    Parameters
    ----------
    rings : dict of ndarray, shape (M, k)
        Those of a `PriceStream`, for the pushed series.
    count : ndarray of int64, shape (M,)
        Changes of the segment so far.
    sigma : ndarray, shape (M,)
        Volatility of one change.
    """

    def __init__(self, rings: dict[str, np.ndarray], count: np.ndarray, sigma: np.ndarray) -> None:
        self.sigma = sigma
        self._rings, self._count, self._changes = rings, count, rings["changes"]
        self._total = np.einsum("nk,nk->n", self._changes, self._changes)

    @property
    def size(self) -> np.ndarray:
        return np.abs(self.change(1))

    @property
    def largest(self) -> np.ndarray:
        return np.maximum(self._changes.max(1), -self._changes.min(1))

    @property
    def downside_share(self) -> np.ndarray:
        down = np.minimum(self._changes, 0.0)
        return np.einsum("nk,nk->n", down, down) / self._total

    def change(self, k: int) -> np.ndarray:
        return self._level(0) - self._level(k)

    def root_count(self, k: int) -> np.ndarray:
        return np.sqrt(np.clip(self._count, 1, k))

    def root_mean_square(self, k: int) -> np.ndarray:
        total = self._total if k == SHAPE_WINDOW else self._rings[f"squares_{k}"].sum(1)
        return np.sqrt(total / np.clip(self._count, 1, k))

    def root_mean_range(self, k: int) -> np.ndarray:
        ranges = self._rings[f"ranges_{k}"]
        return np.sqrt(np.nansum(ranges, axis=1) / (~np.isnan(ranges)).sum(1))

    def log(self, values: np.ndarray) -> np.ndarray:
        return np.log(values)

    def _level(self, back: int) -> np.ndarray:
        levels = self._rings["levels"]
        return levels[np.arange(len(levels)), (self._count - back) % levels.shape[1]]


def _columns(settings: PriceSettings, quantities: RingQuantities) -> np.ndarray:
    """Return the defined columns, shape (M, n_added)."""
    columns = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for column in settings.definitions:
            values = column.formula(quantities)
            columns.append(np.clip(values, *column.bounds) if column.bounds else values)
    return np.column_stack(columns)


def _check_prices(rows: pl.DataFrame, positive: bool) -> None:
    """Raise ValueError where the column `price` has a value that a panel's target may not have."""
    price = rows["price"].to_numpy()
    if np.isinf(price).any() or (positive and (price <= 0).any()):
        check_rows(rows, PanelSchema(positive), "price")  # whose message names the rows


def _last_segments(rows: pl.DataFrame, left_out: pl.Series | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last row of each series' last segment, of series with a row that is not left out."""
    starts = series_starts(rows)
    newest = np.append(starts, len(rows))[1:] - 1
    if left_out is not None:
        newest -= np.diff(np.searchsorted(left_out.arg_true(), np.append(starts, len(rows))))
        begun = newest >= starts
        starts, newest = starts[begun], newest[begun]
    breaks = np.append(0, pauses(rows))
    return np.maximum(starts, breaks[np.searchsorted(breaks, newest, side="right") - 1]), newest


def _weighted(square: np.ndarray, newest: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return Σ λⁱ r² over the `count` changes up to each of the rows `newest`."""
    weight = DECAY ** np.arange(count.max(initial=0))[::-1]
    sums = [square[end - n + 1 : end + 1] @ weight[len(weight) - n :] for end, n in zip(newest, count, strict=True)]
    return np.array(sums)


def _ring(by_age: np.ndarray, n_there: np.ndarray) -> np.ndarray:
    """Return a ring of values sorted by age, the newest first: number c of the `n_there` at position c % k."""
    k = by_age.shape[1]
    ring = np.empty_like(by_age)
    np.put_along_axis(ring, (n_there[:, None] - 1 - np.arange(k)) % k, by_age, axis=1)
    return ring
