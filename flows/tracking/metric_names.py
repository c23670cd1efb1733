"""The names of metrics in MLflow: one table for trainings, candidates, trials and logged models.

A name says where a number comes from, what it is, and its unit: ``gate/skill_percent``. MLflow draws a section for each
group. Equal names are of equal origins, so runs can be compared by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

GATE = "gate"
"""Group of the newest origins, on which a gate tests."""

SELECTION = "selection"
"""Group of the older origins, on which candidates and trials are compared."""

Point = tuple[str, int, float]
"""Name, step and value."""


@dataclass(frozen=True)
class PooledMetric:
    """A number of one model, pooled over series.

    Attributes
    ----------
    column : str
        In ``evaluate(...).summary``.
    name : str
        After the group and a slash.
    factor : float
        100 for shares, which are logged in per cent.
    """

    column: str
    name: str
    factor: float = 1.0


POOLED_METRICS = (
    PooledMetric("skill", "skill_percent", 100.0),
    PooledMetric("skill_low", "skill_low_percent", 100.0),
    PooledMetric("skill_high", "skill_high_percent", 100.0),
    PooledMetric("p", "p_value"),
    PooledMetric("ae_skill", "median_skill_percent", 100.0),
    PooledMetric("ae_skill_low", "median_skill_low_percent", 100.0),
    PooledMetric("ae_skill_high", "median_skill_high_percent", 100.0),
    PooledMetric("crps", "crps"),
    PooledMetric("pinball", "pinball"),
    PooledMetric("mae", "mae"),
    PooledMetric("mase", "mase"),
    PooledMetric("coverage", "coverage_percent", 100.0),
)
"""Metrics with one value, of a gate, a selection or a trial. A loss is `pinball` with other than default quantiles."""

STEP_METRICS = (
    PooledMetric("skill", "skill_by_step_percent", 100.0),
    PooledMetric("coverage", "coverage_by_step_percent", 100.0),
)
"""Metrics of a gate with a value for each step ahead: MLflow's step is the forecast's."""

SKILL_BY_FOLD = f"{SELECTION}/skill_by_fold_percent"
"""Of a trial: skill on the folds up to each one. MLflow's step is the fold."""

TRAIN_LOSS, VALIDATION_LOSS = "fit/train_loss", "fit/validation_loss"
"""Of a network fitted on all rows, by epoch."""

VALIDATION_SKILL = "fit/validation_skill_percent"
"""Of a trial, by epoch: best validation loss so far, as a skill against the untrained network."""

TRIALS, TRIALS_PRUNED, TRIALS_FAILED = "search/trials", "search/trials_pruned", "search/trials_failed"


def pooled_metrics(group: str, row: Mapping[str, Any]) -> dict[str, float]:
    """Return the pooled numbers of one model under their names in MLflow, without missing ones.

    Parameters
    ----------
    group : {"gate", "selection"}
    row : mapping
        Columns of ``evaluate(...).summary``, shares as decimals.
    """
    found = ((f"{group}/{each.name}", scaled(row.get(each.column), each.factor)) for each in POOLED_METRICS)
    return {name: value for name, value in found if value is not None}


def step_metrics(group: str, rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Return the numbers of one model by step ahead, without missing ones.

    Parameters
    ----------
    group : {"gate", "selection"}
    rows : iterable of mapping
        Rows of ``evaluate(...).summary`` of the group "step".
    """
    ordered = sorted(rows, key=lambda row: int(row["step"]))
    points = (
        (f"{group}/{each.name}", int(row["step"]), scaled(row.get(each.column), each.factor))
        for each in STEP_METRICS
        for row in ordered
    )
    return [(name, step, value) for name, step, value in points if value is not None]


def is_of_gate(name: str) -> bool:
    """Whether a metric is of a gate's origins.

    Parameters
    ----------
    name : str
        In MLflow.
    """
    return name.startswith(f"{GATE}/")


def seconds_metric(what: str) -> str:
    """Return the name of a duration: "seconds/gate".

    Parameters
    ----------
    what : str
        A step of a training, or "trial".
    """
    return f"seconds/{what}"


def memory_metric(process: str) -> str:
    """Return the name of a peak of memory: "peak_memory_mb/process".

    Parameters
    ----------
    process : {"process", "worker"}
    """
    return f"peak_memory_mb/{process}"


def scaled(value: float | None, factor: float = 100.0) -> float | None:
    """Return a number times a factor; None if it is missing or not finite.

    Parameters
    ----------
    value : float or None
    factor : float, default=100.0
        By default a share in per cent.
    """
    return None if value is None or not math.isfinite(value) else factor * float(value)
