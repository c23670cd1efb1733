"""The result of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.forecasting.evaluation.decide import Decision
from tidecast.forecasting.evaluation.metrics import SKILLS, Evaluation
from tidecast.forecasting.forecasters.baselines import RandomWalk

POOLED = ("crps", "pinball", "mae", "mase", "coverage", *SKILLS)
"""Columns of ``evaluate(...).summary`` that are recorded for each model, pooled over series."""


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training: winner, decision, model.

    Attributes
    ----------
    as_of : date
        The session of the training; `panel` has no later row.
    winner : str
        A cell as the setting `models` has it, such as "GRU"; "tuned GRU"; or "random_walk".
    model, random_walk : forecaster
        The winner and the random walk, refit on all rows.
    decision : Decision or None
        None when no gate was held: a refresh, or too little history.
    reason : str
        Why the winner won, as a sentence.
    outcome : {"promoted", "kept", "demoted", "refreshed", "first"}
        At a gate a new recipe won, the champion's stayed, or the random walk replaced it. Without a gate the champion's
        recipe was refit, or the random walk became the first champion.
    trained_through : date
    evaluation : Evaluation or None
        The gate's folds: candidate, champion's recipe, random walk and drift.
    gate_shares : DataFrame or None
        ``model``, ``level``, ``share``: of the gate's truths, at or below each quantile.
    selection : DataFrame
        ``model``, ``origins`` and the columns of `POOLED`, on the older folds; empty without selection.
    learning_curves : dict of DataFrame
        By recipe: of the winner fit on all rows, of the others fit on the newest fold of the selection.
    seconds : dict of float
        Wall-clock seconds by step.
    panel : DataFrame
        The rows it trained on.
    settings : Settings
    table_versions : dict of int
        Versions of the warehouse's tables that were read.
    compared : dict of dict
        ``model.recipe()`` of each model that the gate compared.
    memory : DataFrame
        `memory_profile` of each network among the winner and its members; empty without one.
    champion_version : str
        Registered version of the champion before; empty without one.
    recipes : dict of dict
        ``model.recipe()`` of each candidate, by the name that `selection` has.
    """

    as_of: date
    winner: str
    model: Any
    random_walk: RandomWalk
    decision: Decision | None
    reason: str
    outcome: str
    trained_through: date
    evaluation: Evaluation | None
    gate_shares: pl.DataFrame | None
    selection: pl.DataFrame
    learning_curves: dict[str, pl.DataFrame]
    seconds: dict[str, float]
    panel: pl.DataFrame
    settings: Settings
    table_versions: Mapping[str, int] = field(default_factory=dict)
    compared: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    memory: pl.DataFrame = field(default_factory=pl.DataFrame)
    champion_version: str = ""
    recipes: Mapping[str, dict[str, Any]] = field(default_factory=dict)
