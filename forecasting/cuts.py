"""Training rows in three parts, one after the other in time: to train on, to stop on, to calibrate on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

VALIDATION_SHARE = 0.1
CALIBRATION_SHARE = 0.1
FEWEST_HORIZONS = 4  # the training part must span this many horizons, or nothing is kept back


@dataclass(frozen=True)
class Cuts:
    """The session that ends each part: the first origin of the next, so a part's targets do not pass its end.

    Attributes
    ----------
    train, validation, calibration : int
        Session numbers. All three are the last session where the history is too short to keep some of it back.
    """

    train: int
    validation: int
    calibration: int


def cut(sessions: Tensor, horizon: int) -> Cuts:
    """Cut the sessions of all origins (in any order, repeated or not) into 80, 10 and 10 per cent."""
    distinct = torch.unique(sessions)
    end = len(distinct) - 1
    validation = end - round(CALIBRATION_SHARE * len(distinct))
    train = validation - round(VALIDATION_SHARE * len(distinct))
    if train < FEWEST_HORIZONS * horizon:
        train = validation = end
    return Cuts(int(distinct[train]), int(distinct[validation]), int(distinct[end]))
