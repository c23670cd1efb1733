"""Rolling-origin splits: train on the past, forecast the sessions after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
import polars as pl

from tidecast.features.error_text import check_whole, counted
from tidecast.features.frames import Frame, to_polars
from tidecast.features.panel import check_columns


@dataclass(frozen=True)
class Fold:
    """One split, by its times (dates, or datetimes of an intraday panel); all ends are included.

    Attributes
    ----------
    train_start, train_end : date or datetime
        Training rows.
    first_origin, last_origin : date or datetime
        Forecasts start here.
    end : date or datetime
        Session of the last origin's last step: the fold's last truth, and its last test row.
    """

    train_start: date | datetime
    train_end: date | datetime
    first_origin: date | datetime
    last_origin: date | datetime
    end: date | datetime


@dataclass(frozen=True)
class RollingOrigin:
    """Splitter for panels: train on the past, forecast from the next `stride` sessions, then train again.

    The newest fold ends with the panel; the folds' origins follow each other without a gap or an overlap. A fold's
    training rows end at its first origin (`gap` sessions before it): the origin's own price is known, its targets are
    not. So no model ever trains on a target after the cut: it is purged by construction.

    Test rows are *every* row up to the fold's end: history, origins, truths. The forecaster's ``fit_end_`` separates
    history from test, so ``GridSearchCV`` and ``cross_validate`` score the right origins, also over a ``Pipeline``
    whose transformers need history. ``cross_val_predict`` is not supported: use `backtest`.

    A forecaster has no score on its training rows, whose truths it has seen: with ``return_train_score=True`` it is
    NaN, with a warning. ``HalvingGridSearchCV`` asks for it by default: pass False, and ``resource="max_epochs"``,
    because by default it draws rows at random.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds.
    horizon : int, default=5
        Sessions that each origin forecasts; that of the forecasters.
    stride : int, default=21
        Origins (sessions) per fold. 21 is a month, a usual interval between trainings.
    window : {"expanding", "sliding"}, default="expanding"
        Train on everything before the cut, or on as many sessions as the first fold has. Use sliding when markets have
        changed for good.
    gap : int, default=0
        Sessions left empty between the last training row and the first origin, for prices that arrive late.

    Raises
    ------
    ValueError, TypeError
        A setting is impossible; from `split` and `folds`: the panel has too few sessions.

    Notes
    -----
    A session is a distinct time of the panel, of any series; where times with a clock are those of days (no series has
    two on one day), it is a day. With a gap, a search also scores the origins inside it (they lie after the training
    rows); `backtest` uses only the fold's own.

    Examples
    --------
    >>> import polars as pl
    >>> days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 10), eager=True)
    >>> panel = pl.DataFrame({"series_id": "a", "time": days, "close": 1.0})
    >>> for train, test in RollingOrigin(n_splits=2, horizon=1, stride=3).split(panel):
    ...     print(len(train), len(test))
    4 7
    7 10
    """

    n_splits: int = 5
    horizon: int = 5
    stride: int = 21
    window: Literal["expanding", "sliding"] = "expanding"
    gap: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_splits", 1), ("horizon", 1), ("stride", 1), ("gap", 0)):
            check_whole(name, getattr(self, name), at_least=least)
        if self.window not in ("expanding", "sliding"):
            raise ValueError(f'window must be "expanding" or "sliding", got {self.window!r}.')

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds.

        Parameters
        ----------
        X, y, groups : ignored
        """
        return self.n_splits

    def split(self, X: Frame, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions of each fold's training and test rows, in the panel's own order.

        Parameters
        ----------
        X : polars or pandas DataFrame
            The panel, sorted or not.
        y, groups : ignored

        Yields
        ------
        train, test : ndarray of int
        """
        time = _times(X)
        for fold in self.folds(X):
            train = time.is_between(fold.train_start, fold.train_end)
            yield np.flatnonzero(train.to_numpy()), np.flatnonzero((time <= fold.end).to_numpy())

    def folds(self, panel: Frame) -> list[Fold]:
        """Return the folds by their times, the oldest first.

        Parameters
        ----------
        panel : polars or pandas DataFrame

        Returns
        -------
        list of Fold

        Raises
        ------
        ValueError
            The panel has too few sessions: the first fold needs a training row with its whole horizon.
        """
        begin, close = _sessions(panel)
        n_sessions = len(begin)
        needed = self.n_splits * self.stride + 2 * self.horizon + self.gap
        if n_sessions < needed:
            raise ValueError(
                f"{counted(self.n_splits, 'fold')} of {counted(self.stride, 'origin')} need at least {needed} "
                f"sessions (n_splits · stride + 2 · horizon + gap), the panel has {n_sessions}. Lower n_splits or "
                "stride, or give more history."
            )
        folds = []
        for k in range(self.n_splits):
            end = n_sessions - 1 - (self.n_splits - 1 - k) * self.stride
            last_origin = end - self.horizon
            first_origin = last_origin - self.stride + 1
            start = k * self.stride if self.window == "sliding" else 0
            cut = close[first_origin - self.gap]
            folds.append(Fold(begin[start], cut, begin[first_origin], close[last_origin], close[end]))
        return folds


def _sessions(panel: Frame) -> tuple[list[Any], list[Any]]:
    """First and last time of each session, in order: markets that close at different hours share their days."""
    times = _times(panel)
    if not isinstance(times.dtype, pl.Datetime) or "series_id" not in panel.columns:
        sessions = times.unique().sort().to_list()
        return sessions, sessions
    rows = pl.DataFrame({"series_id": to_polars(panel)["series_id"], "time": times})
    rows = rows.unique().with_columns(day=pl.col("time").dt.replace_time_zone(None).dt.date())
    session = "time" if rows.select("series_id", "day").is_duplicated().any() else "day"
    ends = rows.group_by(session).agg(begin=pl.col("time").min(), close=pl.col("time").max()).sort("begin")
    return ends["begin"].to_list(), ends["close"].to_list()


def _times(panel: Frame) -> pl.Series:
    frame = to_polars(panel)
    check_columns(frame, ["time"])
    time = frame["time"]
    if time.null_count():
        raise ValueError(f"'time' must be known in every row, it is missing in {time.null_count()}. Drop these rows.")
    return time
