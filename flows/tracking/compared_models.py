"""The models that a training compared, each with its numbers of the selection and of the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tidecast.flows.config.settings import DRIFT
from tidecast.flows.tracking.metric_names import GATE, SELECTION, Point, pooled_metrics, step_metrics
from tidecast.flows.training.result import TrainingResult
from tidecast.forecasting.tables.names import RANDOM_WALK

Row = dict[str, Any]


@dataclass(frozen=True)
class ComparedModel:
    """One model of a training.

    Attributes
    ----------
    name : str
        As the gate's tables have it; of a model that was not at the gate, as the selection's.
    recipe : mapping
        ``model.recipe()``; empty if it is not known.
    gate, selection : dict
        Its pooled numbers; empty where it did not take part.
    steps : list of dict
        Its numbers by step at the gate.
    curve : polars.DataFrame or None
        Losses by epoch, of the fit on all rows.
    """

    name: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    gate: Row = field(default_factory=dict)
    selection: Row = field(default_factory=dict)
    steps: list[Row] = field(default_factory=list)
    curve: pl.DataFrame | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Pooled numbers under their names in MLflow: those of the gate, then those of the selection."""
        return pooled_metrics(GATE, self.gate) | pooled_metrics(SELECTION, self.selection)

    @property
    def points(self) -> list[Point]:
        """Numbers by step ahead under their names in MLflow."""
        return step_metrics(GATE, self.steps)


def compared_models(training: TrainingResult) -> list[ComparedModel]:
    """Return the models of a training's gate, the best first, then the other candidates, the best first.

    A recipe that the gate knows by another name (the champion's) is one model. Two recipes with one name are two. The
    drift, which the gate shows but nobody may choose, is left out: it has no number in common with the others.

    Parameters
    ----------
    training : TrainingResult
    """
    selected = {row["model"]: row for row in _rows(training.selection)}
    curves = dict(training.learning_curves)
    models, taken = [], set()
    for row in _summary(training, "pooled"):
        if (name := row["model"]) == DRIFT and name not in _roles(training):
            continue
        recipe = training.compared.get(name) or {}
        own = next((other for other in selected if _same(training, name, recipe, other)), None)
        taken.add(own)
        steps = [step for step in _summary(training, "step") if step["model"] == name]
        models.append(
            ComparedModel(name, recipe, row, selected.get(own, {}) if own else {}, steps, curves.pop(name, None))
        )
    for name in [name for name in dict.fromkeys([*selected, *curves]) if name not in taken]:
        own_recipe = training.recipes.get(name) or _recipe_of_winner(training, name)
        models.append(ComparedModel(name, own_recipe, {}, selected.get(name, {}), [], curves.get(name)))
    return models


def subject_of(training: TrainingResult) -> str:
    """Return the name of the model whose numbers a training's run has: the one tested, else the one refit.

    Parameters
    ----------
    training : TrainingResult
    """
    return training.winner if training.decision is None else training.decision.candidate


def _roles(training: TrainingResult) -> tuple[str, ...]:
    """The models that the gate decided on."""
    return () if training.decision is None else (training.decision.candidate, training.decision.champion)


def _same(training: TrainingResult, name: str, recipe: Mapping[str, Any], candidate: str) -> bool:
    """Whether a model of the gate is a candidate of the selection: by recipe, by name where one is not known."""
    own = training.recipes.get(candidate)
    if candidate == RANDOM_WALK or not recipe or own is None:
        return name == candidate
    return bool(own == recipe)


def _recipe_of_winner(training: TrainingResult, name: str) -> Mapping[str, Any]:
    recipe: Mapping[str, Any] = training.model.recipe() if name == training.winner else {}
    return recipe


def _summary(training: TrainingResult, group: str) -> list[Row]:
    """The rows of a group of the gate's summary, the largest skill first."""
    if training.evaluation is None:
        return []
    rows: pl.DataFrame = training.evaluation.summary.filter(pl.col("group") == group)
    return rows.sort("skill", descending=True, nulls_last=True, maintain_order=True).to_dicts()


def _rows(table: pl.DataFrame) -> list[Row]:
    return table.to_dicts() if table.height else []
