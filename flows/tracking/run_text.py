"""The description of a training as Markdown: the verdict, the models compared, and the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from tidecast.features.error_text import counted
from tidecast.flows.reporting.model_names import readable, with_article
from tidecast.flows.tracking.compared_models import ComparedModel
from tidecast.flows.training.result import TrainingResult
from tidecast.forecasting.evaluation.decision import Decision, p_value, percent, signed, skill_text
from tidecast.forecasting.tables.names import CRPS, RANDOM_WALK, loss_in

RECIPE = ("hidden_size", "num_layers", "dropout", "learning_rate", "batch_size", "max_epochs", "random_state")
NOT_CHOSEN, TESTED, CHAMPION = "not chosen for the gate", "tested at the gate", "the champion at the gate"
BENCHMARK, BESIDE = "the benchmark at the gate", "shown at the gate beside the candidate, and not tested"
SHORT_ROLES = {
    NOT_CHOSEN: "not chosen", TESTED: "tested", CHAMPION: "champion", BENCHMARK: "benchmark", BESIDE: "not tested",
}  # fmt: skip
SPACE = "\u00a0\u00a0"  # MLflow shows tables without space between columns


def description(training: TrainingResult, dataset: Mapping[str, str], prefect: Mapping[str, str]) -> str:
    """Return the description of a training's run, as Markdown.

    Parameters
    ----------
    training : TrainingResult
    dataset : mapping
        ``name`` and ``digest`` of the prices.
    prefect : mapping
        ``id`` and, where it has one, ``url`` of the flow run; empty outside a flow.
    """
    decision, evaluation = training.decision, training.evaluation
    parts = [_whose(training)]
    if decision is not None:
        parts += ["  \n".join(decision.verdict.splitlines())]
    parts += [readable(training.reason)]
    if decision is not None:
        parts += [
            f"**Compared:** {_compared(training, decision)}, each refit on every fold, on "
            f"{counted(decision.n_origins, 'origin')}, {decision.first_origin} to {decision.last_origin}. Losses "
            "are pooled over series, in units of each series' volatility. Intervals are 95 %, p is one-sided, both "
            "from the same test."
        ]
    if evaluation is not None:
        parts.append(_models(evaluation.summary))
    parts += [f"**Model:** {_recipe_text(training)}", f"**Data:** {_data(training, dataset)}"]
    if prefect:
        run = f"[{prefect['id']}]({prefect['url']})" if "url" in prefect else f"`{prefect['id']}`"
        parts.append(f"**Prefect run:** {run}")
    return "\n\n".join(parts)


def _compared(training: TrainingResult, decision: Decision) -> str:
    """The models compared at the gate; the champion's recipe with its version."""
    candidate, walk, rivals = readable(decision.candidate), "the random walk", ""
    version = f", version {training.champion_version}" if training.champion_version else ""
    if decision.champion == RANDOM_WALK:
        walk += f" (the champion{version})" if version else ""
    elif decision.champion == decision.candidate:
        candidate += f" (the champion's recipe{version})"
    else:
        rivals = f" and the champion's recipe, {readable(decision.champion).removesuffix(' (champion)')}{version}"
    return f"{candidate} with {walk}{rivals}"


def run_name(training: TrainingResult) -> str:
    """Return the name of a training's run: what it found, then the session, "+0.34 % GRU, promoted 2026-10-30".

    Parameters
    ----------
    training : TrainingResult
    """
    decision, as_of, winner = training.decision, training.as_of, readable(training.winner)
    if decision is None:
        found = {"refreshed": "refit", "first": "first champion", "demoted": "replaces the champion"}
        return f"{winner}, {found.get(training.outcome, training.outcome)} {as_of}"
    tested = f"{_leading(decision.distribution_skill)}{readable(decision.candidate)}"
    if training.outcome == "promoted":
        return f"{tested}, promoted {as_of}"
    if training.outcome == "kept" and decision.candidate == decision.champion:
        return f"{tested}, stays {as_of}"
    follows = "stays" if training.outcome == "kept" else "published"
    return f"{tested}, turned down {as_of}, {winner} {follows}"


def model_name(training: TrainingResult, model: ComparedModel) -> str:
    """Return the name of a compared model's run, "+0.34 % GRU, tested". MLflow shows some 45 letters.

    Parameters
    ----------
    training : TrainingResult
    model : ComparedModel
    """
    skill = None if model.name == RANDOM_WALK else model.gate.get("skill")
    name = f"{_leading(skill)}{readable(model.name)}"
    if not model.gate and (on_older := model.selection.get("skill")) is not None and model.name != RANDOM_WALK:
        name = f"{name}, {percent(on_older)} on older folds"
    return ", ".join(filter(None, [name, SHORT_ROLES.get(model_role(training, model), "")]))


def model_text(training: TrainingResult, model: ComparedModel) -> str:
    """Return the description of a compared model's run: whose numbers they are, and on which origins.

    Parameters
    ----------
    training : TrainingResult
    model : ComparedModel
    """
    role = model_role(training, model)
    parts = [f"The numbers are those of {with_article(model.name)}{', ' if role else ''}{role}."]
    for row, where in ((model.gate, "on the gate's origins"), (model.selection, "on the older folds")):
        if row.get("skill") is not None and model.name != RANDOM_WALK:
            found = skill_text(row["skill"], row.get("skill_low"), row.get("skill_high"))
            parts.append(f"CRPS skill {where}: {found}.")
    if model.curve is not None and model.curve.height:
        parts.append("The learning curve is from the fit on all rows.")
    return " ".join(parts)


def model_role(training: TrainingResult, model: ComparedModel) -> str:
    """Return the role of a model in a training, such as "tested at the gate"; empty without a gate.

    Parameters
    ----------
    training : TrainingResult
    model : ComparedModel
    """
    decision = training.decision
    if decision is None:
        return ""
    if not model.gate:
        return NOT_CHOSEN
    if model.name == decision.candidate:
        return TESTED
    if model.name == decision.champion:
        return CHAMPION
    return BENCHMARK if model.name == RANDOM_WALK else BESIDE


def _whose(training: TrainingResult) -> str:
    """The sentence on whose numbers a training's run has. MLflow's list of versions shows its first words only."""
    decision, winner = training.decision, readable(training.winner)
    winner = winner[:1].upper() + winner[1:]
    if decision is None:
        return f"{winner}, without a gate. The settings are those of the model, which was fitted on newer rows."
    tested = with_article(decision.candidate)
    if training.outcome == "promoted":
        return f"{winner}, promoted. The numbers are those of {tested}, tested at the gate."
    if decision.candidate == decision.champion == training.winner:
        return f"{winner}, stays champion. The numbers are those of its recipe, tested again at the gate."
    follows = "stays champion" if training.outcome == "kept" else "is published"
    return f"{winner} {follows}. The numbers are those of {tested}, tested at the gate and turned down."


def _leading(skill: float | None) -> str:
    """A skill at the beginning of a name; empty if it is not known."""
    return "" if skill is None else f"{percent(skill)} "


def _recipe_text(training: TrainingResult) -> str:
    """The logged model, its main settings and its training rows, on one line."""
    settings = training.model.recipe()["settings"]
    shown = [f"{name} {settings[name]}" for name in RECIPE if settings.get(name) is not None]
    fitted = f"fit on all rows through {training.trained_through}"
    return f"{readable(training.winner)}, {', '.join([*shown, fitted])}."


def _data(training: TrainingResult, dataset: Mapping[str, str]) -> str:
    panel = training.panel
    shape = f"{panel['series_id'].n_unique()} series, {counted(panel.height, 'price')}"
    dates = f"{panel['time'].min()!s} to {panel['time'].max()!s}"
    return f"{shape}, {dates}, {dataset['name']} (digest {dataset['digest']})."


def _models(summary: pl.DataFrame) -> str:
    """Pooled numbers of all models as a Markdown table, the best model first."""
    loss = loss_in(summary.columns)
    heads = [
        "model",
        "CRPS" if loss == CRPS else loss,
        "distribution skill, % (95 %)",
        "p-value",
        "median skill, %",
        "coverage, %",
    ]
    pooled = summary.filter(pl.col("group") == "pooled").sort(loss, nulls_last=True)
    lines = [heads, ["---", *["--:"] * 5], *(_cells(row, loss) for row in pooled.iter_rows(named=True))]
    return "\n".join(
        "|" + "|".join(cell if "--" in cell else f"{SPACE}{cell}{SPACE}" for cell in line) + "|" for line in lines
    )


def _cells(row: Mapping[str, Any], loss: str) -> list[str]:
    value = "–" if row[loss] is None else f"{row[loss]:.4f}"
    coverage = "–" if row["coverage"] is None else f"{100 * row['coverage']:.1f}"
    if row["model"] == RANDOM_WALK:
        return [readable(row["model"]), value, "–", "–", "–", coverage]
    skill = "–" if row["skill"] is None else skill_text(row["skill"], row["skill_low"], row["skill_high"], unit=False)
    p = "–" if row["p"] is None else p_value(row["p"])
    median = "–" if row["ae_skill"] is None else signed(row["ae_skill"])
    return [readable(row["model"]), value, skill, p, median, coverage]
