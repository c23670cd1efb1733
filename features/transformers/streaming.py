"""Features of new rows from the rows that they depend on, instead of the whole history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast

import numpy as np
import polars as pl
from sklearn.pipeline import Pipeline

from tidecast.features.error_text import shorten
from tidecast.features.frames import to_polars
from tidecast.features.panel import is_missing
from tidecast.features.segments import series_starts, starts_if_sorted


def tail_of(panel: pl.DataFrame, target: str | None, rows: int, since: Any = None) -> pl.DataFrame:
    """Return the rows from `since` on, and of each series the last `rows` with a target before; in the panel's order.

    Parameters
    ----------
    panel : polars.DataFrame
        ``series_id``, ``time``, the target; in any order.
    target : str, optional
        Rows without it are left out before `since`. None: every row counts.
    rows : int
        Rows of each series before `since`.
    since : date or datetime, optional
        The first time that is new. None: no row is new.
    """
    new = pl.lit(False) if since is None else pl.col("time") >= since
    if target is not None and (missing := is_missing(panel[target])).any():
        panel = panel.filter(new | ~missing)
    keys, order = panel.select("series_id", "time"), None
    starts = starts_if_sorted(keys)
    if starts is None:
        keys = keys.with_row_index("__tidecast_row").sort("series_id", "time")
        order, starts = keys["__tidecast_row"].to_numpy(), series_starts(keys)
    ends = np.append(starts[1:], len(keys))
    n_new: int | np.ndarray = 0
    if since is not None:
        n_new = np.diff(np.searchsorted(keys.select(new).to_series().arg_true(), np.append(starts, len(keys))))
    begins = np.maximum(starts, ends - n_new - rows)
    is_tail = np.repeat(np.tile([False, True], len(starts)), np.column_stack([begins - starts, ends - begins]).ravel())
    if order is not None:
        in_order = np.empty_like(is_tail)
        in_order[order] = is_tail
        is_tail = in_order
    return panel.filter(pl.Series(is_tail))


class Stream(Protocol):
    """A transformer at the end of a panel that takes in one more row of each series at a time."""

    def push(self, rows: pl.DataFrame) -> np.ndarray:
        """Return the added columns of new rows, float64 of shape (n_rows, n_added), NaN where `transform` has null.

        Parameters
        ----------
        rows : polars.DataFrame
            At most one row of each series, sorted by ``series_id``, with the columns of the panel. Series may be new.
            Rows without a target have no values and change nothing.

        Raises
        ------
        ValueError
            When a row is not newer than the series' last, or a series has several.
        """
        ...

    def atomic(self) -> AbstractContextManager[None]:
        """Return a context that restores the stream after an error inside."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the state of the stream as polars frames and NumPy arrays, for `PanelTransformer.resume`."""
        ...


class TailStream:
    """The stream of any transformer with a `min_history`: it keeps that many rows of each series and transforms them.

    Parameters
    ----------
    transformer : transformer
        Fitted, or a Pipeline of fitted ones.
    added : sequence of str
        The columns to return.
    panel : polars.DataFrame
        The history, or the ``tail`` of a state.
    target : str, optional
        Rows without it are left out. None: every row counts.
    """

    def __init__(self, transformer: Any, added: Sequence[str], panel: pl.DataFrame, target: str | None = None) -> None:
        self._transformer, self._added, self._target = transformer, list(added), target
        self._tail = self._newest(panel)

    def push(self, rows: pl.DataFrame) -> np.ndarray:
        """See `Stream`.

        Parameters
        ----------
        rows : polars.DataFrame
            At most one row of each series, newer than its last.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            The added columns for these rows. NaN is a missing value.
        """
        kinds = self._tail.schema
        new = rows.select(pl.col(name).cast(kind) for name, kind in kinds.items() if name in rows.columns)
        last = self._tail.group_by("series_id").agg(last=pl.col("time").max())
        refuse_old(new.join(last, on="series_id", how="left", maintain_order="left"))
        tail, rest, pushed = self._tail, self._tail.clear(), pl.col("series_id").is_in(new["series_id"].implode())
        if per_series(self._transformer):
            tail, rest = tail.filter(pushed), tail.filter(~pushed)
        whole = pl.concat([tail, new], how="diagonal").sort("series_id", "time")
        newest = to_polars(self._transformer.transform(whole)).group_by("series_id", maintain_order=True).last()
        self._tail = pl.concat([rest, self._newest(whole)])
        values = newest.filter(pushed).select(pl.col(self._added).cast(pl.Float64).fill_null(float("nan")))
        return values.to_numpy()

    def state(self) -> dict[str, Any]:
        """See `Stream`."""
        return {"tail": self._tail}

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """See `Stream`."""
        tail = self._tail
        try:
            yield
        except BaseException:
            self._tail = tail
            raise

    def _newest(self, panel: pl.DataFrame) -> pl.DataFrame:
        return tail_of(panel, self._target, cast("int", history_of(self._transformer)))


def history_of(transformer: Any) -> int | None:
    """Return the rows that the newest values depend on, the newest included; None for an unknown number.

    Parameters
    ----------
    transformer : transformer or Pipeline
    """
    if isinstance(transformer, Pipeline):
        steps = [history_of(step) for _, step in transformer.steps if step not in (None, "passthrough")]
        return None if None in steps else 1 + sum(history - 1 for history in cast("list[int]", steps))
    return getattr(transformer, "min_history", None)


def per_series(transformer: Any) -> bool:
    """Whether a transformer, or each step of a Pipeline, declares that it looks at one series at a time.

    Parameters
    ----------
    transformer : transformer or Pipeline
    """
    if isinstance(transformer, Pipeline):
        return all(per_series(step) for _, step in transformer.steps)
    return transformer in (None, "passthrough") or bool(getattr(transformer, "per_series", False))


def refuse_old(rows: pl.DataFrame) -> None:
    """Check that rows are newer than ``last``, the last time of their series, and of different series.

    Parameters
    ----------
    rows : polars.DataFrame
        With series_id, time and last.

    Raises
    ------
    ValueError
        For an older row, and for two rows of a series.
    """
    if rows["series_id"].n_unique() < len(rows):
        twice = rows.filter(~rows["series_id"].is_first_distinct())["series_id"].unique(maintain_order=True)
        raise ValueError(
            f"At most one row of each series may be pushed at a time, found more of {shorten(twice.to_list())}. "
            "Push one time after the other."
        )
    not_newer = rows["time"] <= rows["last"]
    if not_newer.any():
        old = rows.filter(not_newer)
        raise ValueError(
            f"A pushed row must be newer than its series' last, found {len(old)} that are not "
            f"({shorten(old['series_id'].to_list())}), first {old['time'][0]} after {old['last'][0]}. "
            "Push new rows only; for a correction, stream the whole panel again."
        )
