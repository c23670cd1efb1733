"""What a training says in words: the verdict, what was compared with what, and the data it saw, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import polars as pl

from tidecast.forecasting.evaluation.decision import p_value
from tidecast.forecasting.tables.names import RANDOM_WALK, loss_in

if TYPE_CHECKING:
    from tidecast.flows.training.result import TrainingResult
    from tidecast.forecasting.evaluation.decision import Decision

RECIPE = ("hidden_size", "num_layers", "dropout", "learning_rate", "batch_size", "max_epochs", "random_state")
SPACE = "\u00a0\u00a0"  # MLflow shows tables without any room between columns


def description(training: TrainingResult, dataset: Mapping[str, str], prefect: Mapping[str, str]) -> str:
    """The description of a training's run.

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
            "series, each in units of its own volatility; ± is one standard error."
        ]
    if evaluation is not None:
        parts.append(_models(evaluation.summary))
    parts += [f"**Model:** {recipe_words(training)}", f"**Data:** {_data(training, dataset)}"]
    if prefect:
        run = f"[{prefect['id']}]({prefect['url']})" if "url" in prefect else f"`{prefect['id']}`"
        parts.append(f"**Prefect run:** {run}")
    return "\n\n".join(parts)


def _compared(training: TrainingResult, decision: Decision) -> str:
    """Who stood at the gate; the champion's recipe with the version that it is champion as."""
    candidate, walk, rivals = spoken(decision.candidate), "the random walk", ""
    version = f", version {training.champion_version}" if training.champion_version else ""
    if decision.champion == RANDOM_WALK:
        walk += f" (the champion{version})" if version else ""
    elif decision.champion == decision.candidate:
        candidate += f" (the champion's recipe{version})"
    else:
        rivals = f" and the champion's recipe, {spoken(decision.champion).removesuffix(' (champion)')}{version}"
    return f"{candidate} with {walk}{rivals}"


def candidate_words(training: TrainingResult, name: str) -> str:
    """What became of one candidate, for the run that holds its learning curve."""
    rows = training.selection.filter(pl.col("model") == name).to_dicts() if training.selection.height else []
    parts = []
    if rows and (skill := rows[0].get("skill")) is not None:
        known = f" ± {percent(rows[0]['skill_se'], 2)}" if rows[0].get("skill_se") else ""
        parts.append(f"CRPS skill on the older folds: {percent(skill, 2, '+')}{known} %.")
    if said := fate(training, name):
        parts.append(f"{said.capitalize()}.")
    parts.append("Its learning curve is that of the fit on all rows.")
    return " ".join(parts)


def fate(training: TrainingResult, name: str) -> str:
    """What became of one candidate, in a few words; nothing where there was no gate."""
    if training.decision is None:
        return ""
    if name == training.decision.candidate:
        return "tested at the gate"
    return "champion before" if name == training.decision.champion else "not chosen for the gate"


def recipe_words(training: TrainingResult) -> str:
    """The model that was logged, its main settings and what it was trained on, on one line."""
    settings = training.model.recipe()["settings"]
    shown = [f"{name} {settings[name]}" for name in RECIPE if settings.get(name) is not None]
    fitted = f"fit on all rows through {training.trained_through}"
    return f"{spoken(training.winner)}, {', '.join([*shown, fitted])}."


def spoken(model: str) -> str:
    """A model's name as people say it."""
    return model.replace("_", " ")


def percent(share: float | None, digits: int, sign: str = "") -> str:
    """A share as per cent without the sign for it; a dash when it is not known."""
    if share is None:
        return "–"
    return format(round(100 * share, digits) + 0.0, f"{sign}.{digits}f").replace("-", "−")  # + 0.0: no minus nought


def _data(training: TrainingResult, dataset: Mapping[str, str]) -> str:
    seen = training.panel
    shape = f"{seen['series_id'].n_unique()} series, {seen.height:,} prices"
    dates = f"{seen['time'].min()!s} to {seen['time'].max()!s}"
    return f"{shape}, {dates}, {dataset['name']} (digest {dataset['digest']})."


def _models(summary: pl.DataFrame) -> str:
    """Pooled numbers of all models, the best first, as a table."""
    loss = loss_in(summary.columns)
    heads = ["model", loss.upper(), "spread skill, %", "evidence", "centre skill, %", "coverage, %"]
    pooled = summary.filter(pl.col("group") == "pooled").sort(loss, nulls_last=True)
    lines = [heads, ["---", *["--:"] * 5], *(_cells(row, loss) for row in pooled.iter_rows(named=True))]
    return "\n".join(
        "|" + "|".join(cell if "--" in cell else f"{SPACE}{cell}{SPACE}" for cell in line) + "|" for line in lines
    )


def _cells(row: Mapping[str, Any], loss: str) -> list[str]:
    value, coverage = "–" if row[loss] is None else f"{row[loss]:.4f}", percent(row["coverage"], 1)
    if row["model"] == RANDOM_WALK:
        return [spoken(row["model"]), value, "–", "–", "–", coverage]
    skill = percent(row["skill"], 2, sign="+") + (f" ± {percent(row['skill_se'], 2)}" if row["skill_se"] else "")
    p = "–" if row["p"] is None else p_value(row["p"])
    return [spoken(row["model"]), value, skill, p, percent(row["ae_skill"], 2, "+"), coverage]
