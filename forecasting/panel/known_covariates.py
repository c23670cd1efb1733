"""Future covariates: values known ahead, for the panel's rows and for the sessions after it.

Axes: S series, M rows with future covariates, N origins, H horizon steps, Z future covariates.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidecast.features.calendars.per_series import PanelCalendar
from tidecast.features.error_text import shorten
from tidecast.features.frames import is_pandas, like, to_polars
from tidecast.features.known_ahead.vintages import pair_keys
from tidecast.features.panel import PanelSchema, as_seen, check_columns, check_rows, future_numbers
from tidecast.features.segments import places_of
from tidecast.forecasting.panel.scaling import InputScaler


class CovariatesAhead(ABC):
    """Future covariates of origins, wherever they come from.

    Attributes
    ----------
    names : tuple of str
        The covariates, in the order of `values`.
    """

    names: tuple[str, ...]

    @abstractmethod
    def values(self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int) -> NDArray[np.float64]:
        """Return the values of the sessions after each origin, shape (N, H, Z); NaN where they are missing.

        Parameters
        ----------
        series_N, session_N : ndarray of shape (N,)
            Places of the series, and session numbers, of the origins.
        horizon : int
            Sessions.
        """

    def scaled(
        self, scaler: InputScaler, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int
    ) -> NDArray[np.float32]:
        """As `values`, standardised; 0 where they are missing.

        Parameters
        ----------
        scaler : InputScaler
            Fitted to these covariates.
        series_N, session_N : ndarray of shape (N,)
            As of `values`.
        horizon : int
            Sessions.
        """
        values = self.values(series_N, session_N, horizon)
        return scaler.transform(values.reshape(-1, len(self.names))).reshape(values.shape)

    @abstractmethod
    def check(self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int) -> None:
        """Refuse origins, or warn of them, where what forecasts need is missing.

        Parameters
        ----------
        series_N, session_N : ndarray of shape (N,)
            As of `values`.
        horizon : int
            Sessions.
        """

    @property
    @abstractmethod
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What the values depend on, to tell one panel from another."""


@dataclass(frozen=True)
class KnownCovariates(CovariatesAhead):
    """Future covariates, looked up by series and session.

    Attributes
    ----------
    names : tuple of str
    series_id : Series of shape (S,)
    calendar : PanelCalendar
    until_S : ndarray of shape (S,), int64
        Up to this session a missing row counts as missing values; after it every row is required.
    keys_M : ndarray of shape (M,), int64
        Series and session in one number, rising.
    values_MZ : ndarray of shape (M, Z), float64
        Unscaled; NaN for missing.
    """

    names: tuple[str, ...]
    series_id: pl.Series
    calendar: PanelCalendar
    until_S: NDArray[np.int64]
    keys_M: NDArray[np.int64]
    values_MZ: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        table: pl.DataFrame,
        names: Sequence[str],
        series_id: pl.Series,
        calendar: PanelCalendar,
        until_S: NDArray[np.int64],
    ) -> KnownCovariates:
        """Take them from a table with ``series_id``, ``time`` and the covariates; of duplicates the last row counts.

        Parameters
        ----------
        table : polars.DataFrame
            Rows of other series are left out.
        names : sequence of str
            The covariates.
        series_id : polars.Series
            The panel's series, sorted.
        calendar : PanelCalendar
            That of each series.
        until_S : ndarray of shape (S,)
            Session up to which rows of each series may lack covariates.

        Raises
        ------
        ValueError
            A row is not a session of the calendar.
        """
        known = table.filter(table["series_id"].is_in(series_id.implode()))
        known = known.unique(["series_id", "time"], keep="last", maintain_order=True)
        session = calendar.numbers(known.select("series_id", "time"))
        keys = pair_keys(places_of(known["series_id"], series_id), session)
        order = np.argsort(keys)
        values = known.select(pl.col(list(names)).fill_null(float("nan"))).to_numpy()
        return cls(tuple(names), series_id, calendar, until_S, keys[order], values[order])

    def values(self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int) -> NDArray[np.float64]:
        """Covariates of the `horizon` sessions after these, shape (N, H, Z) for any N; NaN where they are missing.

        Parameters
        ----------
        series_N : ndarray of shape (N,)
            Places of the series among `series_id`.
        session_N : ndarray of shape (N,)
            Session numbers of the origins.
        horizon : int
            Sessions.
        """
        row, found = self._rows_after(series_N, session_N, horizon)
        values = np.full((*found.shape, len(self.names)), np.nan)
        values[found] = self.values_MZ[row[found]]
        return values

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Keys and values."""
        return self.keys_M, self.values_MZ

    def check(self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int) -> None:
        """Refuse origins that lack a required row among the next `horizon` sessions.

        Parameters
        ----------
        series_N, session_N : ndarray of shape (N,)
            As of `values`.
        horizon : int
            Sessions.

        Raises
        ------
        ValueError
            Naming the first such origin.

        Warns
        -----
        UserWarning
            Such a row exists, but a value in it is missing: the network then sees the mean of training.
        """
        row_NH, found_NH = self._rows_after(series_N, session_N, horizon)
        session_NH = session_N[:, None] + np.arange(1, horizon + 1)
        beyond_NH = session_NH > self.until_S[series_N][:, None]
        lacking_NH = ~found_NH & beyond_NH
        if not lacking_NH.any():
            if len(self.keys_M):
                self._warn_of_missing(row_NH, found_NH & beyond_NH, series_N, session_NH)
            return
        n, h = np.argwhere(lacking_NH)[0]
        who = self.series_id[int(series_N[n])]
        time = self._time(series_N[n], session_NH[n, h])
        n_series = len(np.unique(series_N[lacking_NH.any(1)]))
        raise ValueError(
            f"The future covariates {shorten(self.names)} must be given for each of the {horizon} sessions after an "
            f"origin, found no row for series {who!r} at {time} ({n_series} series lack rows). Give "
            "future=, a frame with series_id, time and these columns."
        )

    def _warn_of_missing(
        self,
        row_NH: NDArray[np.int64],
        given_NH: NDArray[np.bool_],
        series_N: NDArray[np.int64],
        session_NH: NDArray[np.int64],
    ) -> None:
        """Name the first missing value in the rows of sessions ahead."""
        unknown_NHZ = np.isnan(self.values_MZ[row_NH]) & given_NH[..., None]
        if unknown_NHZ.any():
            n, h, z = np.argwhere(unknown_NHZ)[0]
            warnings.warn(
                f"The future covariate {self.names[z]!r} should be known for each session after an origin, found a "
                f"missing value for series {self.series_id[int(series_N[n])]!r} at "
                f"{self._time(series_N[n], session_NH[n, h])} ({int(unknown_NHZ.sum())} in all). The mean of the "
                "training rows is used instead; fill it in for a better forecast.",
                stacklevel=2,
            )

    def _time(self, series: np.int64, session: np.int64) -> Any:
        return self.calendar.times(self.series_id[[int(series)]], np.array([session]))[0]

    def _rows_after(
        self, series_N: NDArray[np.int64], session_N: NDArray[np.int64], horizon: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows of the `horizon` sessions after these, shape (N, H), and whether each exists."""
        keys = pair_keys(series_N, session_N)[..., None] + np.arange(1, horizon + 1)
        row = np.searchsorted(self.keys_M, keys)
        inside = row < len(self.keys_M)
        row = np.where(inside, row, 0)
        found = inside & (self.keys_M[row] == keys) if len(self.keys_M) else inside
        return row, found


def check_future(future: Any, schema: PanelSchema, kinds: pl.DataFrame) -> pl.DataFrame:
    """Check the frame passed to `predict` as `future`.

    Parameters
    ----------
    future : polars or pandas DataFrame
    schema : PanelSchema
    kinds : DataFrame
        Its columns ``series_id`` and ``time`` have the types wanted.

    Returns
    -------
    polars.DataFrame
        ``series_id``, ``time`` and the covariates.

    Raises
    ------
    TypeError, ValueError
        As `check_panel`, for a frame without a target.
    """
    first, *others = schema.future
    own = replace(schema, positive=False, covariates=(), static=(), future=tuple(others))
    try:
        frame = to_polars(future)
        check_columns(frame, schema.future)
        frame = frame.with_columns(future_numbers(frame[name], is_pandas(future)) for name in schema.future)
        rows = as_seen(check_rows(like(frame, future), own, first), kinds)
    except (TypeError, ValueError) as error:
        raise type(error)(f"future: {error}") from error
    return rows.select("series_id", "time", *schema.future)


def covariates_of_panel(
    series_id: pl.Series,
    calendar: PanelCalendar,
    panel: Any,
    future: Any,
    schema: PanelSchema,
    schema_of_rows: PanelSchema,
    target: str,
) -> KnownCovariates:
    """Future covariates of a panel's series: from its rows, with or without a target, and from `future`, if any.

    Parameters
    ----------
    series_id : Series of shape (S,)
        The series of the checked panel.
    calendar : PanelCalendar
    panel, future : polars or pandas DataFrame
        As the user passed them.
    schema, schema_of_rows : PanelSchema
        That of the panel; the same with a calendar, where `future` needs one to be read.
    target : str

    Raises
    ------
    TypeError, ValueError
        As `check_future`.
    """
    names = schema.future
    known = check_rows(panel, schema, target).filter(pl.col("series_id").is_in(series_id.implode()))
    newest: Any = known["time"].max()
    known = known.select("series_id", "time", *names)
    sessions = calendar.is_session(known.select("series_id", "time"))
    known = known.filter(pl.Series(sessions))  # rows without a target may lie on any day
    if future is not None:
        known = pl.concat([known, check_future(future, schema_of_rows, known.select("series_id", "time"))])
    return KnownCovariates.of(known, names, series_id, calendar, calendar.through(series_id, newest))


def covariates_of_future(
    future: Any, seen: pl.DataFrame, session_S: NDArray[np.int64], calendar: PanelCalendar, schema: PanelSchema
) -> KnownCovariates:
    """Future covariates from `future` alone; none without it.

    Parameters
    ----------
    future : polars or pandas DataFrame, optional
        As the user passed it.
    seen : DataFrame
        ``series_id`` and newest ``time`` of each series.
    session_S : ndarray of shape (S,), int64
        Sessions of these times.
    calendar : PanelCalendar
    schema : PanelSchema

    Raises
    ------
    TypeError, ValueError
        As `check_future`.
    """
    kinds: Any = {**seen.schema, **dict.fromkeys(schema.future, pl.Float64)}
    known = pl.DataFrame(schema=kinds) if future is None else check_future(future, schema, seen)
    return KnownCovariates.of(known, schema.future, seen["series_id"], calendar, session_S)
