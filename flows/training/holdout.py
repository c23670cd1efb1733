"""Split a panel's newest origins: the older ones choose a candidate, the newest test it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from tidecast.features.calendars.per_series import mark_long_periods
from tidecast.features.segments import blocks_of, breaks, in_series_order, series_starts
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.settings import Settings
from tidecast.forecasting.evaluation.splits import RollingOrigin

FOLDS = 2
"""Of the selection, and of the gate, at least; every recipe is refit in each of them."""

LONGEST_FOLD = 420
"""Origins in a fold of the gate, at most: the longest gate refits a recipe three times."""

SELECTION_ORIGINS = 504

BLOCK = 1_000_000
"""Rows of whole series that are looked through at a time, about."""

GATE_SHARE = 1 / 3
"""Of the sessions that can be origins, at most; the others are for selection and training."""


@dataclass(frozen=True)
class Plan:
    """Numbers of origins.

    Attributes
    ----------
    possible : int
        Sessions that can be origins.
    gate, selection : int
        For the gate, and for the selection before it; both 0 when there are too few.
    """

    possible: int
    gate: int
    selection: int

    @property
    def gate_folds(self) -> int:
        """Folds of the gate."""
        return _gate_folds(self.gate)


def plan_origins(panel: pl.DataFrame, settings: Settings) -> Plan:
    """Return how many of the newest sessions the gate and the selection use.

    A session counts when at least one series can be learned from there: it has `lookback` rows and moves.

    Parameters
    ----------
    panel : polars.DataFrame
        ``series_id``, ``time``, ``close``.
    settings : Settings

    Returns
    -------
    Plan
    """
    panel = panel.select("series_id", "time", "close", pl.selectors.by_name("calendar", require_all=False))
    panel = mark_long_periods(in_series_order(panel), settings.calendar)
    bounds = np.append(series_starts(panel), panel.height)
    learnable = pl.concat([_learnable(panel[block], settings) for block in blocks_of(bounds, BLOCK)])
    possible = max(learnable.n_unique() - 2 * settings.horizon, 0)
    gate = min(settings.gate.max_origins, int(possible * GATE_SHARE))
    if gate < settings.gate.min_origins:
        return Plan(possible, 0, 0)
    folds = _gate_folds(gate)
    return Plan(possible, gate // folds * folds, min(SELECTION_ORIGINS, (possible - gate) // 2) // FOLDS * FOLDS)


def _learnable(panel: pl.DataFrame, settings: Settings) -> pl.Series:
    """Times at which one of these series can be learned from."""
    rows = with_volatility(panel, positive=settings.positive)
    position = pl.int_range(pl.len()).over("series_id", breaks(panel).over("series_id"))
    return rows.filter(~pl.col("pegged") & (position >= settings.lookback - 1))["time"].unique()


def _gate_folds(origins: int) -> int:
    return max(FOLDS, -(-origins // LONGEST_FOLD))


def last_before_gate(panel: pl.DataFrame, plan: Plan, settings: Settings) -> date:
    """Return the first session of the gate's origins: no target in the rows up to it is one of the gate's.

    Parameters
    ----------
    panel : polars.DataFrame
        With at least as many sessions as the plan needs.
    plan : Plan
        Its number of origins at the gate.
    settings : Settings
    """
    session = panel["time"].unique().sort()[-plan.gate - settings.horizon]
    assert isinstance(session, date)
    return session


def folds_of(origins: int, horizon: int, folds: int = FOLDS) -> RollingOrigin:
    """Return the splitter of a panel's newest origins into folds; every recipe is refit in each fold.

    Parameters
    ----------
    origins : int
    horizon : int
        Sessions.
    folds : int, default=FOLDS
        A remainder of `origins` is left out.
    """
    return RollingOrigin(n_splits=folds, horizon=horizon, stride=origins // folds)
