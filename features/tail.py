"""The newest rows of a panel and what they are computed from, instead of the whole history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl

from features.messages import shorten
from features.panel import is_sorted, series_starts

if TYPE_CHECKING:
    from features.transformer import PanelTransformer


def tail_of(panel: pl.DataFrame, target: str, rows: int, since: Any = None) -> pl.DataFrame:
    """Rows from `since` on, and per series the last `rows` with a target before it; in the order they had.

    Parameters
    ----------
    panel : polars.DataFrame
        ``series_id``, ``time``, the target; in any order.
    target : str
        Column whose missing values do not count.
    rows : int
        Rows with a target that are kept of each series before `since`.
    since : date or datetime, optional
        The first time that is new. None: no row is.
    """
    keys = ["series_id", "time"]
    new = pl.lit(False) if since is None else pl.col("time") >= since
    marks = panel.select(*keys, new=new, old=~new & pl.col(target).is_not_null())
    order = None
    if not is_sorted(marks):
        marks = marks.with_row_index("_row").sort(keys)
        order = marks["_row"].to_numpy()
    starts = series_starts(marks)
    so_far = marks["old"].cum_sum().to_numpy().astype(np.int64)
    ends = np.append(starts[1:], len(marks)) - 1
    left = np.repeat(so_far[ends], ends - starts + 1) - so_far
    keep = marks["new"].to_numpy() | (marks["old"].to_numpy() & (left < rows))
    if order is not None:
        in_order = np.empty_like(keep)
        in_order[order] = keep
        keep = in_order
    return panel.filter(pl.Series(keep))


class Stream(Protocol):
    """A transformer at the end of a panel, that takes one more row of each series at a time."""

    def push(self, rows: pl.DataFrame) -> np.ndarray:
        """The added columns of new rows, float64 of shape (n_rows, n_added), NaN where `transform` has null.

        Parameters
        ----------
        rows : polars.DataFrame
            At most one row of each series, sorted by ``series_id``, with the columns of the panel. Series may be new.
            Rows without a target have no values and change nothing.

        Raises
        ------
        ValueError
            When a row is not newer than the series' last.
        """
        ...

    def state(self) -> dict[str, Any]:
        """All that the stream knows, as polars frames and NumPy arrays; `PanelTransformer.resume` takes it."""
        ...


class TailStream:
    """The stream of any transformer: keeps the last `min_history` rows of each series and computes from them."""

    def __init__(self, transformer: PanelTransformer, tail: pl.DataFrame) -> None:
        self._transformer, self._tail = transformer, tail

    def push(self, rows: pl.DataFrame) -> np.ndarray:
        """See `Stream`."""
        transformer, target = self._transformer, self._transformer.target
        given = rows.select(pl.col(name).cast(kind) for name, kind in self._tail.schema.items())
        last = self._tail.group_by("series_id").agg(last=pl.col("time").max())
        refuse_old(given.join(last, on="series_id", how="left", maintain_order="left"))
        tail, rest = self._tail, self._tail.clear()
        if transformer.per_series:
            pushed = pl.col("series_id").is_in(given["series_id"].implode())
            tail, rest = tail.filter(pushed), tail.filter(~pushed)
        whole = pl.concat([tail, given])
        computed = transformer.compute(whole).tail(len(given))
        self._tail = pl.concat([rest, tail_of(whole, target, transformer.min_history)])
        return computed.select(pl.all().fill_null(float("nan"))).to_numpy()

    def state(self) -> dict[str, Any]:
        """See `Stream`."""
        return {"tail": self._tail}


def refuse_old(rows: pl.DataFrame) -> None:
    """Raise ValueError for rows whose ``time`` is not after ``last``, the series' last one."""
    not_newer = rows["time"] <= rows["last"]
    if not_newer.any():
        old = rows.filter(not_newer)
        raise ValueError(
            f"A pushed row must be newer than its series' last, found {len(old)} that are not "
            f"({shorten(old['series_id'].to_list())}), first {old['time'][0]} after {old['last'][0]}. "
            "Push new rows only; for a correction, stream the whole panel again."
        )
