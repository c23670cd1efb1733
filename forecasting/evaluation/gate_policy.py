"""Thresholds of the gate. Settings hold them, so this file imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from tidecast.features.error_text import check_whole

FEWEST_ORIGINS = 120
"""With fewer there is no p-value: too little history."""


@dataclass(frozen=True)
class GatePolicy:
    """Thresholds of the gate; impossible values are refused.

    Parameters
    ----------
    level : float, default=0.01
        p-values must be below this. A gate every quarter at 0.01 promotes an equal model within a year in about 5 % of
        cases; every week at 0.05, in a third.
    max_origins : int, default=1260
        Newest origins to test on, at most: five years. A gain of two standard errors on two years has three on five.
    min_origins : int, default=252
        With fewer the random walk stays.
    median_limit : float, default=1.002
        MAE of the median ÷ the random walk's must not be above this: the median does no harm.
    worst_decile : float, default=-0.02
        The 10th percentile over series of CRPS skill must be above this, so that a few good series do not make up for
        bad ones.
    every : int, default=63
        Sessions between two gates.
    stay_level : float, default=0.1
        A champion stays while its own p-value against the random walk is below this, or below `level` if that is
        larger. A network that is truly better by three standard errors fails 0.01 at one gate in four, 0.1 at one in
        twenty.
    """

    level: float = 0.01
    max_origins: int = 1260
    min_origins: int = 252
    median_limit: float = 1.002
    worst_decile: float = -0.02
    every: int = 63
    stay_level: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("max_origins", 1), ("min_origins", FEWEST_ORIGINS), ("every", 1)):
            check_whole(name, getattr(self, name), at_least=least)
        if self.max_origins < self.min_origins:
            raise ValueError(f"max_origins must be at least min_origins = {self.min_origins}, got {self.max_origins}.")
        if not 0 < self.level <= 0.5:
            raise ValueError(f"level must be above 0 and at most 0.5, got {self.level!r}.")
        if not 0 < self.stay_level <= 0.5:
            raise ValueError(f"stay_level must be above 0 and at most 0.5, got {self.stay_level!r}.")
        if not 1 <= self.median_limit < 2:
            raise ValueError(f"median_limit must be at least 1 (as good) and below 2, got {self.median_limit!r}.")
        if not -1 < self.worst_decile <= 0:
            raise ValueError(f"worst_decile must be above -1 and at most 0, got {self.worst_decile!r}.")
