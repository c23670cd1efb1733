"""The base of all transformers of panels."""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import polars as pl
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from tidecast.features.docstrings import complete_docstring
from tidecast.features.frame_notes import note_of, with_note
from tidecast.features.frames import Frame, is_pandas, to_polars
from tidecast.features.panel import PanelSchema, check_columns, sorted_rows
from tidecast.features.segments import MAX_PAUSE, pauses, series_starts
from tidecast.features.transformers.streaming import Stream, TailStream, tail_of
from tidecast.features.volatility import with_segments

if TYPE_CHECKING:
    import pandas as pd

MADE = "made"
"""Name of the note on a frame that lists the columns that transformers added."""

BLOCK = 1 << 18
"""Rows, in whole series, that a thread computes at a time: bounds the memory next to the panel and its new columns."""


# scikit-learn has no types, so mypy does not know the keyword; it stops set_output from wrapping transform's result
class PanelTransformer(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Add columns to a panel; its rows and their order stay the same.

    A subclass says how many rows it needs (`min_history`) and gives one polars expression per column (`expressions`).
    Each expression is evaluated over one segment of a series at a time: the rows between two breaks, sorted by time,
    without those that have no target. Values that are not finite become null. So an expression is causal when it only
    looks backwards.

    Transformers are stateless: `fit` learns the names of columns and nothing else.

    Examples
    --------
    >>> class Gap(PanelTransformer):
    ...     '''Log of the open over the close before, as a decimal.'''
    ...
    ...     min_history = 2
    ...
    ...     def expressions(self) -> dict[str, pl.Expr]:
    ...         return {"gap": (pl.col("open") / pl.col("close").shift()).log()}
    >>> from datetime import date
    >>> rows = {"series_id": ["a", "a"], "time": [date(2024, 1, 2), date(2024, 1, 3)], "close": [2.0, 2.0]}
    >>> Gap().fit_transform(pl.DataFrame(rows | {"open": [1.0, 2.0]}))["gap"].to_list()
    [None, 0.0]
    """

    target: str = "close"
    positive: bool = True
    """Whether the target must be above zero."""

    per_series: bool = True
    """Whether a row's values depend on rows of its own series only."""

    needs_target: bool = True
    """Whether rows without a target get no values and are ignored."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_docstring(cls)

    @property
    @abstractmethod
    def min_history(self) -> int:
        """Rows of a series with a target, the newest included, that its newest values depend on."""

    def expressions(self) -> dict[str, pl.Expr]:
        """Return the added columns by name, each computed from a series' rows at or before its own."""
        raise NotImplementedError(f"{type(self).__name__} must have expressions() that returns its columns by name.")

    def shared(self) -> dict[str, pl.Expr]:
        """Return columns that `expressions` may start from, by names that begin with ``_``.

        They are computed once, also for a union of several transformers that share them, and dropped afterwards.
        """
        return {}

    @property
    def added_(self) -> list[str]:
        """Names of the columns that `transform` adds."""
        return list(self.expressions())

    @property
    def inputs_(self) -> list[str]:
        """Columns that are read besides ``series_id``, ``time`` and the target."""
        shared = self.shared()
        values = [*shared.values(), *self.expressions().values()]
        named = {name for value in values for name in value.meta.root_names()}
        return sorted(named - {"series_id", "time", self.target} - shared.keys())

    def _add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return sorted rows with a target and `__tidecast_segment`, with the columns of `added_`."""
        for columns in (self.shared(), self.expressions()):
            rows = rows.with_columns(**{name: value.over("__tidecast_segment") for name, value in columns.items()})
        return rows

    def _check_parameters(self) -> None:
        """Raise ValueError for impossible parameters."""

    # ------------------------------------------------------ fit, transform
    def fit(self, X: Frame, y: Any = None) -> Self:
        """Learn the names of the columns of a panel.

        Parameters
        ----------
        X : polars or pandas DataFrame
        y : ignored

        Raises
        ------
        TypeError, ValueError
            For impossible parameters, and for a missing column.
        """
        self._check_parameters()
        frame = to_polars(X)
        self.feature_names_in_ = np.array(frame.columns, dtype=object)
        self.n_features_in_ = len(frame.columns)
        check_columns(frame, ["series_id", "time", self.target, *self.inputs_])
        return self

    def transform(self, X: Frame) -> Frame:
        """Return the panel with the columns of `added_`; null (pandas: NaN) where there is no value.

        Parameters
        ----------
        X : polars or pandas DataFrame

        Raises
        ------
        ValueError
            As `check_panel`.
        """
        return self._finish(X, self._ready(X).compute(to_polars(X)))

    def transform_tail(self, X: Frame, since: Any) -> Frame:
        """Return the rows of `transform` from `since` on, computed from the last `min_history` rows before.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The panel with its history, or at least `min_history` rows of each series before `since`.
        since : date or datetime
            The first time that is new.

        Returns
        -------
        DataFrame
            Rows of `X` at or after `since`, in its order; equal to those of ``transform(X)`` up to rounding.
        """
        fitted, frame = self._ready(X), to_polars(X)
        new = pl.col("time") >= since
        if frame.filter(new).is_empty():
            return self._finish(frame.clear(), pl.DataFrame(schema=dict.fromkeys(fitted.added_, pl.Float64)))
        tail = tail_of(frame.select(fitted._reads(frame)), self.target, fitted.min_history, since)
        computed = fitted._compute_new(tail, tail.select(new).to_series())
        if is_pandas(X):
            return self._finish(cast("pd.DataFrame", X).loc[frame.select(new).to_series().to_numpy()], computed)
        return self._finish(frame.filter(new), computed)

    def compute(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the added columns alone, Float64, a row for each of the frame's, in its order.

        Parameters
        ----------
        frame : polars.DataFrame
        """
        rows, starts = self._checked(frame)
        _warn_of_breaks(rows, starts)
        rows = with_segments(rows, self.target, starts)
        cuts = block_cuts(starts, len(rows), BLOCK) if self.per_series else np.array([0, len(rows)])
        blocks = [rows.slice(start, end - start) for start, end in pairwise(cuts)]
        return in_order(pl.concat(_in_threads(self._computed, blocks)), frame.height)

    def _computed(self, block: pl.DataFrame) -> pl.DataFrame:
        """Return `__tidecast_row` and the added columns of a block of whole series."""
        rows = self._add(block).select("__tidecast_row", *(pl.col(name).cast(pl.Float64) for name in self.added_))
        return rows.with_columns(finite(rows[name]) for name in self.added_)

    def _compute_new(self, tail: pl.DataFrame, is_new: pl.Series) -> pl.DataFrame:
        """Return the added columns of the new rows of a tail, in its order."""
        return self.compute(tail).filter(is_new)

    def _checked(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray]:
        """Return the frame's rows, sorted, and where each series begins; without a target only if none is needed.

        `__tidecast_row` is the row's number in the frame.
        """
        read = frame.select(self._reads(frame))
        numbers = tuple(name for name in self.inputs_ if read.schema[name].is_numeric())
        schema = PanelSchema(positive=self.positive, covariates=numbers)
        rows, starts = sorted_rows(read.with_row_index("__tidecast_row"), schema, self.target)
        if self.needs_target and rows[self.target].null_count():
            rows = rows.filter(pl.col(self.target).is_not_null())
            starts = series_starts(rows)
        return rows, starts

    def _reads(self, frame: pl.DataFrame) -> list[str]:
        """Return the names of the frame's columns that are read."""
        named = ["series_id", "time", self.target, *self.inputs_]
        check_columns(frame, named)
        return [*named, "calendar"] if "calendar" in frame.columns and "calendar" not in named else named

    def _ready(self, X: Frame) -> Self:
        """Return this transformer if it is fitted, else a copy fitted to `X`."""
        self._check_parameters()
        return self if self.__sklearn_is_fitted__() else clone(self).fit(X)

    def _finish(self, X: Frame, computed: pl.DataFrame) -> Frame:
        kind = getattr(self, "_sklearn_output_config", {}).get("transform") or get_config()["transform_output"]
        if is_pandas(X) and kind != "polars":
            numbers = {name: computed[name].to_numpy() for name in computed.columns}
            return self._noted(cast("pd.DataFrame", X).assign(**numbers), X, computed.columns)
        frame = to_polars(X).with_columns(computed.get_columns())
        return self._noted(frame.to_pandas() if kind == "pandas" else frame, X, computed.columns)

    def _noted(self, frame: Frame, before: Frame, added: list[str]) -> Frame:
        """Return the frame, with a note of the added columns that no transformer has read since."""
        read = {*self.inputs_, self.target}
        earlier = [name for name in note_of(before, MADE, []) if name not in (*read, *added)]
        return with_note(frame, MADE, [*earlier, *added])

    # ------------------------------------------------------------- streams
    def stream(self, panel: Frame) -> Stream:
        """Return a stream that computes the columns of further rows, one row of each series at a time.

        Parameters
        ----------
        panel : polars or pandas DataFrame
            The history. ``stream(panel).push(rows)`` equals the last values of ``transform`` of both together.
        """
        fitted, frame = self._ready(panel), to_polars(panel)
        return TailStream(fitted, fitted.added_, frame.select(fitted._reads(frame)), self.target)

    def resume(self, state: dict[str, Any]) -> Stream:
        """Return the stream whose ``state()`` this is.

        Parameters
        ----------
        state : dict
        """
        fitted = self._ready(state["tail"])  # columns may depend on those of the panel
        return TailStream(fitted, fitted.added_, state["tail"], self.target)

    # ----------------------------------------------------- names and output
    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the columns of the input, then the added ones.

        Parameters
        ----------
        input_features : sequence of str, optional
            None: those seen in `fit`.
        """
        if input_features is None:
            check_is_fitted(self, "feature_names_in_")
            input_features = self.feature_names_in_
        before = [name for name in input_features if name not in self.added_]
        return np.array(before + self.added_, dtype=object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the frames that `transform` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, optional
            "default": the kind of the input. None changes nothing.

        Raises
        ------
        ValueError
            For another value.
        """
        if transform not in (None, "default", "pandas", "polars"):
            raise ValueError(f"transform must be 'default', 'pandas' or 'polars', got {transform!r}.")
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "feature_names_in_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags


def _warn_of_breaks(rows: pl.DataFrame, starts: np.ndarray) -> None:
    """Warn if most rows come after a pause and no column names a calendar: then hardly any can look back."""
    if "calendar" in rows.columns or len(rows) <= 2 * len(starts):
        return
    after = len(np.setdiff1d(pauses(rows), starts))
    if 2 * after > len(rows):
        warnings.warn(
            f"Rows of a series should lie within {MAX_PAUSE.days} days of each other, {after} of {len(rows)} do not: "
            "columns that look back are missing there. Name the calendar in a column 'calendar', such as "
            "'yearly last'.",
            UserWarning,
            stacklevel=4,
        )


def _in_threads(
    compute: Callable[[pl.DataFrame], pl.DataFrame], blocks: Sequence[pl.DataFrame]
) -> Iterable[pl.DataFrame]:
    """Return the result for each block, computed in threads because polars computes windows one after the other."""
    if len(blocks) == 1:
        return map(compute, blocks)
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
        return threads.map(compute, blocks)


def finite(values: pl.Series) -> pl.Series:
    """Return the values, null where one is not finite; copied only if one is not.

    Parameters
    ----------
    values : polars.Series
        Floating-point numbers.
    """
    return values if math.isfinite(values.sum()) else values.set(~values.is_finite(), None)


def block_cuts(starts: np.ndarray, n_rows: int, size: int) -> np.ndarray:
    """Return where to cut sorted rows into blocks of whole series with about `size` rows, from 0 to `n_rows`.

    Parameters
    ----------
    starts : ndarray
        First row of each series.
    n_rows : int
        Rows of all series together.
    size : int
        Rows of a block; a longer series is a block of its own.
    """
    cuts = starts[np.searchsorted(starts, np.arange(0, n_rows, size), side="right") - 1]
    return np.append(np.union1d(0, cuts), n_rows)


def in_order(computed: pl.DataFrame, height: int) -> pl.DataFrame:
    """Return the columns in the order of `__tidecast_row`, with a row for each number below `height`.

    A number that is missing has nulls.

    Parameters
    ----------
    computed : polars.DataFrame
        The added columns and `__tidecast_row`, the row's number in the input.
    height : int
        Rows of the input.
    """
    rows = computed["__tidecast_row"].to_numpy()
    values = computed.drop("__tidecast_row")
    if len(rows) == height and (rows[1:] > rows[:-1]).all():
        return values
    position = np.full(height, -1, dtype=np.int64)
    position[rows] = np.arange(len(rows))
    return values.select(pl.all().gather(pl.Series(position).replace(-1, None))) if len(rows) else values.clear(height)
