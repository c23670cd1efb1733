"""The description of a training as Markdown: the verdict, the models compared, and the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from tidecast.flows.reporting.model_names import readable
from tidecast.flows.training.result import TrainingResult
from tidecast.forecasting.evaluation.decision import Decision, p_value, signed, skill_text
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in

RECIPE = ("hidden_size", "num_layers", "dropout", "learning_rate", "batch_size", "max_epochs", "random_state")
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
    parts = []
    if decision is not None:
        parts += ["  \n".join(decision.verdict.splitlines())]
    parts += [training.reason]
    if decision is not None:
        parts += [
            f"**Compared:** {_compared(training, decision)}, each refit on every fold, on "
            f"{decision.n_origins} origins, {decision.first_origin} to {decision.last_origin}. Losses are pooled over "
            "series, in units of each series' volatility. Intervals are 95 %, p is one-sided, both from the same test."
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


def candidate_text(training: TrainingResult, name: str) -> str:
    """Return the description of a candidate's run.

    Parameters
    ----------
    training : TrainingResult
    name : str
        Of the candidate.
    """
    rows = training.selection.filter(pl.col("model") == name).to_dicts() if training.selection.height else []
    parts = []
    if rows and (skill := rows[0].get("skill")) is not None:
        found = skill_text(skill, rows[0].get("skill_low"), rows[0].get("skill_high"))
        parts.append(f"CRPS skill on the older folds: {found}.")
    if outcome := candidate_outcome(training, name):
        parts.append(f"{outcome.capitalize()}.")
    parts.append("The learning curve is from the fit on all rows.")
    return " ".join(parts)


def candidate_outcome(training: TrainingResult, name: str) -> str:
    """Return the outcome of a candidate, such as "tested at the gate"; empty without a gate.

    Parameters
    ----------
    training : TrainingResult
    name : str
        Of the candidate.
    """
    if training.decision is None:
        return ""
    if name == training.decision.candidate:
        return "tested at the gate"
    return "champion at the gate" if name == training.decision.champion else "not chosen for the gate"


def _recipe_text(training: TrainingResult) -> str:
    """The logged model, its main settings and its training rows, on one line."""
    settings = training.model.recipe()["settings"]
    shown = [f"{name} {settings[name]}" for name in RECIPE if settings.get(name) is not None]
    fitted = f"fit on all rows through {training.trained_through}"
    return f"{readable(training.winner)}, {', '.join([*shown, fitted])}."


def _data(training: TrainingResult, dataset: Mapping[str, str]) -> str:
    panel = training.panel
    shape = f"{panel['series_id'].n_unique()} series, {panel.height:,} prices"
    dates = f"{panel['time'].min()!s} to {panel['time'].max()!s}"
    return f"{shape}, {dates}, {dataset['name']} (digest {dataset['digest']})."


def _models(summary: pl.DataFrame) -> str:
    """Pooled numbers of all models as a Markdown table, the best model first."""
    loss = loss_in(summary.columns)
    heads = ["model", loss.upper(), "distribution skill, % (95 %)", "p-value", "median skill, %", "coverage, %"]
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
