"""Windows of panels: arrays for regressors, without a copy per window."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.lib.mixins import NDArrayOperatorsMixin

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import check_whole, shorten
from tidecast.features.frames import Frame, to_polars
from tidecast.features.panel import PanelSchema, check_panel
from tidecast.features.stray_rows import settle
from tidecast.features.transformers.price_features import PriceFeatures
from tidecast.features.volatility import with_segments

SESSIONS = 1 << 32  # more than any calendar has: segment × SESSIONS + session is unique and sorted


class WindowArray(NDArrayOperatorsMixin):
    """Windows over consecutive rows: an array of shape (n_windows, lookback, n_features).

    ``windows[i]`` is a view. A slice, a mask or positions copy the windows they select; NumPy functions copy all.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, n_features)
        Contiguous, row by row.
    starts : ndarray of shape (n_windows,), int64
        The first row of each window.
    lookback : int
        Rows of a window.
    """

    def __init__(self, rows: np.ndarray, starts: np.ndarray, lookback: int) -> None:
        self.rows, self.starts, self.lookback = rows, starts, lookback

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_windows, lookback, n_features)."""
        return len(self.starts), self.lookback, self.rows.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the rows."""
        return self.rows.dtype

    @property
    def ndim(self) -> int:
        """Number of axes, 3."""
        return 3

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, item: Any) -> Any:
        first, *inner = item if isinstance(item, tuple) else (item,)
        if isinstance(first, int | np.integer):
            start = self.starts[first]
            return self.rows[start : start + self.lookback][tuple(inner)]
        if first is Ellipsis or first is None:
            return np.asarray(self)[item]
        starts = self.starts[first]
        return self.rows[starts[:, None] + np.arange(self.lookback)][(slice(None), *inner)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("Windows overlap: as one array they must be copied. Ask for copy=None or True.")
        return np.asarray(self[:], dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        arrays = [np.asarray(one) if isinstance(one, WindowArray) else one for one in inputs]
        return getattr(ufunc, method)(*arrays, **settings)

    def __repr__(self) -> str:
        return f"<WindowArray of shape {self.shape}>"


class Windows(NamedTuple):
    """Windows of a panel, from `make_windows`.

    Attributes
    ----------
    X : WindowArray of shape (n_windows, lookback, n_features)
    y : ndarray of shape (n_windows, horizon), float64
        Log returns from the origin, cumulated over the steps (differences where prices need not be positive).
    series_id, origin : polars.Series of length n_windows
        The series of each window, and the time of its last row.
    """

    X: WindowArray
    y: np.ndarray
    series_id: pl.Series
    origin: pl.Series


def make_windows(
    panel: Frame,
    lookback: int,
    horizon: int,
    features: Any = None,
    target: str = "close",
    schema: PanelSchema | None = None,
    missing: bool = False,
) -> Windows:
    """Return all windows of a panel whose whole horizon is in it, for regressors.

    A window is `lookback` rows of one series without a break between them; rows without a target are dropped first.
    Step k is the k-th session of the series' calendar after the origin. A window with a step that has no row is left
    out, because a missing session has no truth.

    Parameters
    ----------
    panel : polars or pandas DataFrame
    lookback, horizon : int
        Rows of X and steps of y.
    features : transformer, optional
        Its added columns are the features, followed by the schema's covariates. None: ``PriceFeatures()``.
    target : str, default="close"
    schema : PanelSchema, optional
        Without future and static covariates: windows hold values of rows up to the origin.
    missing : bool, default=False
        Whether to keep windows with missing features, as NaN. Tidecast's regressors take NaN; most others refuse it.
        The first row of a series has no `PriceFeatures`, so its first window is left out by default.

    Returns
    -------
    Windows
        ``X, y, series_id, origin``, sorted by series and origin. `y` holds log returns from the origin to each step,
        ``log(price at the step) − log(price at the origin)``, cumulated and not scaled; where the schema says
        ``positive=False``, differences of the prices. Neighbouring windows overlap: split them in time with a gap of
        `horizon`.

    Raises
    ------
    TypeError, ValueError
        As `check_panel`, and for impossible numbers; when the features return other rows than they got, or columns that
        are not numbers; when no window is left.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.date_range(date(2024, 1, 1), date(2024, 1, 5), eager=True)
    >>> panel = pl.DataFrame({"series_id": "a", "time": days, "close": [1.0, 2.0, 4.0, 2.0, 2.0]})
    >>> windows = make_windows(panel, lookback=2, horizon=1)
    >>> windows.X.shape, windows.y.round(3).tolist()
    ((2, 2, 10), [[-0.693], [0.0]])
    """
    check_whole("lookback", lookback, 1)
    check_whole("horizon", horizon, 1)
    schema = schema or PanelSchema()
    _check_past_only(schema)
    frame = check_panel(panel, schema, target)
    calendar = PanelCalendar.of(frame, schema.calendar)
    frame = calendar.marked(settle(frame, calendar)[0])
    segment = with_segments(frame, target)["__tidecast_segment"].to_numpy().astype(np.int64)
    session = calendar.numbers(frame)
    if _longest_span(segment, session) < lookback - 1 + horizon:  # before arrays of that many steps are made
        raise ValueError(_no_window(lookback, horizon, len(frame)))
    features = PriceFeatures(target=target, positive=schema.positive) if features is None else features
    table = _same_rows(to_polars(features.fit(frame).transform(frame)), frame, features)
    names = [*(name for name in table.columns if name not in frame.columns), *schema.covariates]
    _check_numbers(table, names, features)
    rows = np.ascontiguousarray(table.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy())

    end = np.arange(len(frame))
    begin = np.maximum(end - lookback + 1, 0)
    whole = (end >= lookback - 1) & (segment[begin] == segment)
    if not missing:
        holes = np.concatenate([[0], np.isnan(rows).any(axis=1).cumsum()])
        whole &= holes[end + 1] == holes[begin]
    y = _changes(frame[target].to_numpy(), segment * SESSIONS + session, horizon, schema.positive)
    last = np.flatnonzero(whole & ~np.isnan(y).any(axis=1))
    if not len(last):
        raise ValueError(_no_window(lookback, horizon, len(frame)))
    return Windows(
        WindowArray(rows, last - lookback + 1, lookback), y[last], frame["series_id"][last], frame["time"][last]
    )


def _check_past_only(schema: PanelSchema) -> None:
    """Raise ValueError for covariates that windows have no place for."""
    for group in ("future", "static"):
        if names := getattr(schema, group):
            raise ValueError(
                f"Windows hold features and past covariates only, got the {group} covariates {shorten(names)} in the "
                "schema. Take them out of it and join them to X by series_id and origin, or use a forecaster."
            )


def _longest_span(segment: np.ndarray, session: np.ndarray) -> int:
    """Most sessions from the first to the last row of a segment."""
    first = np.flatnonzero(np.diff(segment, prepend=-1))
    return int((session[np.append(first[1:], len(segment)) - 1] - session[first]).max())


def _no_window(lookback: int, horizon: int, n_rows: int) -> str:
    return (
        f"A window needs lookback + horizon = {lookback} + {horizon} rows of a series without a break, with features "
        f"in the first {lookback} and a price in each session after; none of the {n_rows} rows begins one. Give more "
        "history, a calendar with its sessions, or missing=True for windows with NaN."
    )


def _same_rows(table: pl.DataFrame, frame: pl.DataFrame, features: Any) -> pl.DataFrame:
    """Return the table; raise ValueError unless its rows are those of the frame, in their order."""
    keys = frame.select("series_id", "time")
    if not set(keys.columns) <= set(table.columns) or not table.select(keys.columns).cast(keys.schema).equals(keys):
        raise ValueError(
            f"features must return the rows they were given, in their order; {type(features).__name__} did not. "
            "Let transform add columns, and do nothing else."
        )
    return table


def _check_numbers(table: pl.DataFrame, names: list[str], features: Any) -> None:
    """Raise ValueError for features that are not numbers, and without any."""
    others = [name for name in names if not (table.schema[name].is_numeric() or table.schema[name] == pl.Boolean)]
    if others or not names:
        found = f"{shorten(others)} hold none" if others else f"{type(features).__name__} added no column"
        raise ValueError(f"X must hold numbers; {found}. Give features that add columns of numbers, or covariates.")


def _changes(prices: np.ndarray, position: np.ndarray, horizon: int, positive: bool) -> np.ndarray:
    """Changes of the level until 1…horizon sessions later, shape (n_rows, horizon); NaN where that has no row.

    `position` is unique to each segment and session, and rises by 1 from a session to the next.
    """
    level = np.log(prices) if positive else prices
    wanted = position[:, None] + np.arange(1, horizon + 1)
    found = np.minimum(np.searchsorted(position, wanted), len(position) - 1)
    return np.where(position[found] == wanted, level[found] - level[:, None], np.nan)
