"""Equally spaced times, as darts and GluonTS need them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import pandas as pd

WEEKLY = tuple(f"W-{day}" for day in ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"))
ALIASES = ("D", "B", *WEEKLY, "ME", "MS", "BME", "BMS", "QE-DEC", "QS-JAN", "BQE-DEC", "YE-DEC", "YS-JAN", "BYE-DEC")
LONGEST = np.timedelta64(1, "D")


def index_of(times: pl.Series) -> pd.DatetimeIndex:
    """Return times as a pandas index.

    Parameters
    ----------
    times : Series of Date or Datetime
    """
    import pandas as pd  # slow to import, and polars data does not need it

    return pd.DatetimeIndex(times.to_numpy()).as_unit("ns")


def common_frequency(times: Mapping[Any, pd.DatetimeIndex], freq: str | None, library: str) -> str:
    """Return the frequency at which the times of every series lie; without `freq`, with none of them missing.

    Parameters
    ----------
    times : mapping
        By series, or series and origin; rising.
    freq : str, optional
        A pandas alias: times may be missing, but all must lie on it.
    library : str
        For messages.

    Raises
    ------
    ValueError
        There is no such frequency.
    """
    if freq is not None:
        for name, index in times.items():
            off = index.difference(grid(index, freq))
            if len(off):
                raise ValueError(
                    f"Times must lie on freq={freq!r}, {len(off)} of {_shown(name)} do not, first {off[0]}. Choose "
                    "another."
                )
        return freq
    for alias in (*ALIASES, *_steps(times)):
        if all(grid(index, alias).equals(index) for index in times.values()):
            return alias
    name, first, second = _gap(times)
    raise ValueError(
        f"Times must be equally spaced for {library}, but no frequency fits: {_shown(name)} has {first} and then "
        f"{second}. Pass freq, such as freq='B': times missing on it become NaN, and the library's steps count them, "
        "while Tidecast's steps count sessions."
    )


def grid(index: pd.DatetimeIndex, freq: str) -> pd.DatetimeIndex:
    """Return every time of a frequency from the first to the last of an index.

    Parameters
    ----------
    index : DatetimeIndex
        Rising.
    freq : str
    """
    import pandas as pd  # slow to import, and polars data does not need it

    return pd.date_range(index[0], index[-1], freq=freq).as_unit("ns")


def laid_out(index: pd.DatetimeIndex, values: np.ndarray, freq: str) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Return all times of the grid, and the values there, NaN where one is missing.

    Parameters
    ----------
    index : DatetimeIndex
    values : ndarray of shape (n, columns)
    freq : str
    """
    times = grid(index, freq)
    laid = np.full((len(times), values.shape[1]), np.nan)
    laid[times.get_indexer(index)] = values
    return times, laid


def period_at(time: Any, freq: str) -> Any:
    """Return the pandas period of a frequency that a time lies in.

    Parameters
    ----------
    time : Timestamp
    freq : str
    """
    import pandas as pd  # slow to import, and polars data does not need it

    with warnings.catch_warnings():  # pandas warns of periods of business days, which GluonTS uses
        warnings.simplefilter("ignore", FutureWarning)
        return pd.date_range(time, periods=1, freq=freq).to_period()[0]


def times_from_period(start: Any, n: int, freq: str | None) -> pl.Series:
    """Return the times of n periods; those of a period of up to a day are its first instants.

    Parameters
    ----------
    start : Period
        The first.
    n : int
    freq : str, optional
        The day that stands for a longer period: "ME" for the last of a month, "MS" for its first.

    Raises
    ------
    ValueError
        Periods are longer than a day, and `freq` is not given.
    """
    import pandas as pd  # slow to import, and polars data does not need it

    with warnings.catch_warnings():  # as in `period_at`
        warnings.simplefilter("ignore", FutureWarning)
        begin, alias = start.start_time, start.freqstr
        if freq is None and start.end_time - begin >= pd.Timedelta(LONGEST) and alias != "B":
            raise ValueError(
                f"Periods of {alias!r} must be given a day, because values are known on one day only. Pass freq, such "
                "as freq='ME' for the last day of the month or 'W-FRI' for Fridays."
            )
        index = pd.date_range(begin, periods=n, freq=start.freq if freq is None else freq)
    return pl.Series("time", index.to_numpy().astype("datetime64[us]"))


def _shown(key: tuple[Any, ...]) -> str:
    """Name of a series, and its origin if it has one."""
    return f"{key[0]!r}" if len(key) == 1 else f"{key[0]!r} from {key[1]}"


def _steps(times: Mapping[Any, pd.DatetimeIndex]) -> list[str]:
    """The one distance between times, if there is one."""
    steps = {int(step) for index in times.values() for step in np.unique(np.diff(index.asi8))}
    if len(steps) != 1:
        return []
    step = steps.pop()
    for unit, size in (("h", 3_600_000_000_000), ("min", 60_000_000_000), ("s", 1_000_000_000), ("ns", 1)):
        if step % size == 0:
            return [f"{step // size}{unit}"]
    return []


def _gap(times: Mapping[Any, pd.DatetimeIndex]) -> tuple[Any, Any, Any]:
    """The longest distance between two neighbouring times: series, and both."""
    widest = max((int(np.diff(index.asi8).max(initial=0)), name) for name, index in times.items())[1]
    index = times[widest]
    at = int(np.diff(index.asi8).argmax()) if len(index) > 1 else 0
    return widest, index[at], index[min(at + 1, len(index) - 1)]
