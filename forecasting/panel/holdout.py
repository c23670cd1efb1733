"""Training rows in three parts, one after the other in time: to train on, to stop on, to calibrate on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

VALIDATION_SHARE = 0.1
CALIBRATION_SHARE = 0.1
FEWEST_HORIZONS = 4  # the training part must span this many horizons, or nothing is kept back


@dataclass(frozen=True)
class Holdout:
    """The time that ends each part: the first origin of the next, so a part's targets do not pass its end.

    Times, not session numbers: those of different calendars cannot be compared.

    Attributes
    ----------
    train, validation, calibration : date or datetime
        All three are the last origin where the history is too short to keep some of it back.
    """

    train: date | datetime
    validation: date | datetime
    calibration: date | datetime


def cut(times: pl.Series, horizon: int) -> Holdout:
    """Cut the times of all origins (in any order, repeated or not) into 80, 10 and 10 per cent."""
    distinct = times.unique().sort()
    end = len(distinct) - 1
    validation = end - round(CALIBRATION_SHARE * len(distinct))
    train = validation - round(VALIDATION_SHARE * len(distinct))
    if train < FEWEST_HORIZONS * horizon:
        train = validation = end
    return Holdout(distinct[train], distinct[validation], distinct[end])
