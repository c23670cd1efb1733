"""Which of a panel's newest origins choose a candidate, and which test it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tidecast.features.segments import breaks
from tidecast.features.volatility import with_volatility
from tidecast.flows.config.settings import Settings
from tidecast.forecasting.evaluation.splits import RollingOrigin

FOLDS = 2  # each for selection and for the gate: every recipe is refit in each of them
SELECTION_ORIGINS = 504
GATE_SHARE = 1 / 3  # of the sessions that can be origins, at most; the rest is for selection and training


@dataclass(frozen=True)
class Plan:
    """Origins there are, and those for the gate and the selection before it; both 0 when there are too few."""

    possible: int
    gate: int
    selection: int


def plan_origins(panel: pl.DataFrame, settings: Settings) -> Plan:
    """How many of the newest sessions the gate and the selection look at.

    A session counts when some series can be learned from there: it has `lookback` rows and moves.
    """
    rows = with_volatility(panel.sort("series_id", "time"), positive=settings.positive)
    place = pl.int_range(pl.len()).over("series_id", breaks().over("series_id"))
    learnable = rows.filter(~pl.col("pegged") & (place >= settings.lookback - 1))
    possible = max(learnable["time"].n_unique() - 2 * settings.horizon, 0)
    gate = min(settings.gate.max_origins, int(possible * GATE_SHARE))
    if gate < settings.gate.min_origins:
        return Plan(possible, 0, 0)
    return Plan(possible, gate // FOLDS * FOLDS, min(SELECTION_ORIGINS, (possible - gate) // 2) // FOLDS * FOLDS)


def before_the_gate(panel: pl.DataFrame, plan: Plan, settings: Settings) -> pl.DataFrame:
    """The rows up to the first of the gate's origins: not one target in them is one of the gate's."""
    sessions = panel["time"].unique().sort()
    return panel.filter(pl.col("time") <= sessions[-plan.gate - settings.horizon])


def folds_of(origins: int, horizon: int, folds: int = FOLDS) -> RollingOrigin:
    """The newest origins of a panel in folds, in each of which every recipe is refit."""
    return RollingOrigin(n_splits=folds, horizon=horizon, stride=origins // folds)
