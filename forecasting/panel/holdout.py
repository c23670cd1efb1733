"""Training rows in three parts, in order of time: to train on, to stop training on, to calibrate on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

VALIDATION_SHARE = 0.1
CALIBRATION_SHARE = 0.1
FEWEST_HORIZONS = 4  # the training part must span this many horizons, or nothing is held out


@dataclass(frozen=True)
class Holdout:
    """The time that ends each part: the first origin of the next, so no target of a part lies after its end.

    Times, not session numbers, because session numbers of different calendars cannot be compared.

    Attributes
    ----------
    train, validation, calibration : date or datetime
        All three are the last origin if the history is too short to hold any of it out.
    """

    train: date | datetime
    validation: date | datetime
    calibration: date | datetime


def holdout_of(times: pl.Series, horizon: int) -> Holdout:
    """Split the times of all origins into 80, 10 and 10 per cent.

    Parameters
    ----------
    times : Series of dates or datetimes
        In any order, repeated or not.
    horizon : int

    Returns
    -------
    Holdout
    """
    distinct = times.unique().sort()
    end = len(distinct) - 1
    validation = end - round(CALIBRATION_SHARE * len(distinct))
    train = validation - round(VALIDATION_SHARE * len(distinct))
    if train < FEWEST_HORIZONS * horizon:
        train = validation = end
    return Holdout(distinct[train], distinct[validation], distinct[end])
