"""The record of a search for settings: parameters, metrics, text, a table and pictures. No MLflow here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tidecast.features.error_text import counted
from tidecast.flows.reporting import tuning_plots
from tidecast.flows.reporting.figure import Picture
from tidecast.flows.tracking.metric_names import (
    SELECTION,
    SKILL_BY_FOLD,
    TRIALS,
    TRIALS_FAILED,
    TRIALS_PRUNED,
    VALIDATION_SKILL,
    Point,
    pooled_metrics,
    scaled,
    seconds_metric,
)
from tidecast.flows.tracking.run_files import in_percent, plain
from tidecast.flows.tracking.run_record import settings_params
from tidecast.flows.training.search_problem import SearchProblem
from tidecast.forecasting.evaluation.decision import percent
from tidecast.forecasting.tables.names import CRPS, PINBALL
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, check_quantiles
from tidecast.forecasting.tuning.result import TrialRecord, TuningResult
from tidecast.forecasting.tuning.search_space import configured

RECIPE = "recipe.json"
TABLE = "tables/trials.json"
ENDS = {"pruned": "pruned", "failed": "failed", "interrupted": "stopped"}


def name_of(problem: SearchProblem, found: TuningResult | None = None) -> str:
    """Return the name of the run: "tuning 2026-10-30", and at its end "+0.21 % best, tuning 2026-10-30".

    Parameters
    ----------
    problem : SearchProblem
    found : TuningResult, optional
        None: the search is running.
    """
    name = f"tuning {problem.as_of}"
    return name if found is None else f"{_percent(found.skill)} best, {name}"


def name_of_trial(trial: TrialRecord) -> str:
    """Return the name of a trial's run: "trial 0, the default settings", and at its end "trial 7, pruned".

    Parameters
    ----------
    trial : TrialRecord
    """
    parts = [f"trial {trial.number}"]
    if trial.number == 0:
        parts.append("the default settings")
    if trial.skill is not None:
        parts.append(_percent(trial.skill))
    elif trial.state in ENDS:
        parts.append(ENDS[trial.state])
    return ", ".join(parts)


def ended_text(trial: TrialRecord) -> str:
    """Return the description of the run of a trial that has ended.

    Parameters
    ----------
    trial : TrialRecord
    """
    if trial.skill is not None:
        return f"{_percent(trial.skill)} against the random walk, on all folds."
    return {
        "pruned": "Pruned: worse than three quarters of the complete trials at the same point.",
        "failed": f"Failed: {trial.why}",
        "interrupted": "Its process was stopped; another trial has the same settings.",
    }[trial.state]


def params_of(problem: SearchProblem) -> dict[str, str]:
    """Return the parameters of the run: the problem and its search space.

    Parameters
    ----------
    problem : SearchProblem
    """
    folds = problem.cv.folds(problem.panel)
    days = f"{folds[0].first_origin} to {folds[-1].last_origin}"
    return {
        "as_of": problem.as_of.isoformat(),
        "looked_through": problem.looked_through.isoformat(),
        "folds": f"{counted(len(folds), 'fold')} of {counted(problem.cv.stride, 'origin')}, {days}",
        "rows": str(problem.panel.height),
        "series": str(problem.panel["series_id"].n_unique()),
        **{f"space.{name}": str(each) for name, each in problem.space.items()},
        **settings_params(problem.model.recipe(), problem.settings),
    }


def metrics_of(found: TuningResult) -> dict[str, float]:
    """Return the numbers of trials, and the numbers of the best trial under the names that trials have.

    Parameters
    ----------
    found : TuningResult
    """
    counts = {
        TRIALS: float(found.looked_at),
        TRIALS_PRUNED: float(found.count("pruned")),
        TRIALS_FAILED: float(found.count("failed")),
    }
    return counts | pooled_metrics(SELECTION, {found.metric: found.value, "skill": found.skill})


def metrics_of_trial(problem: SearchProblem, trial: TrialRecord) -> dict[str, float]:
    """Return the numbers of a trial that has ended, under the names that candidates of a training have.

    Parameters
    ----------
    problem : SearchProblem
    trial : TrialRecord
    """
    is_default = check_quantiles(problem.settings.quantiles) == DEFAULT_QUANTILES
    loss = CRPS if is_default else PINBALL
    numbers = pooled_metrics(SELECTION, {loss: trial.value, "skill": trial.skill})
    return numbers if trial.seconds is None else numbers | {seconds_metric("trial"): trial.seconds}


def points_of_trial(trial: TrialRecord) -> list[Point]:
    """Return the numbers of a trial by epoch and by fold.

    Parameters
    ----------
    trial : TrialRecord
    """
    points = [(VALIDATION_SKILL, epoch, scaled(value)) for epoch, value in trial.epochs.items()]
    points += [(SKILL_BY_FOLD, fold, scaled(value)) for fold, value in trial.folds.items()]
    return [(name, step, value) for name, step, value in points if value is not None]


def params_of_trial(problem: SearchProblem, trial: TrialRecord) -> dict[str, str]:
    """Return every setting of a trial, the searched ones among them.

    Parameters
    ----------
    problem : SearchProblem
    trial : TrialRecord
    """
    searched = {f"searched.{name}": str(value) for name, value in trial.settings.items()}
    try:
        model = configured(problem.model, trial.settings) if trial.number else problem.model
    except (TypeError, ValueError):  # impossible settings: the trial fails, and says why
        return searched
    return settings_params(model.recipe(), problem.settings) | searched


def running_text(problem: SearchProblem) -> str:
    """Return the description of a run while the search is running.

    Parameters
    ----------
    problem : SearchProblem
    """
    return f"A search for settings on prices up to {problem.looked_through} is running. Each trial is a run inside."


def counts_of(found: TuningResult) -> str:
    """Return the number of trials from which the best was chosen.

    Parameters
    ----------
    found : TuningResult
    """
    return (
        f"{counted(found.looked_at, 'trial')}: {found.count('complete')} complete, {found.count('pruned')} pruned, "
        f"{found.count('failed')} failed."
    )


def best_of(found: TuningResult) -> str:
    """Return a comparison of the best trial with the default settings.

    Parameters
    ----------
    found : TuningResult
    """
    own = _percent(found.trials[0].skill)
    if found.number == found.trials[0].number:
        return f"No trial was better than the default settings ({own} against the random walk)."
    best = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in found.settings.items())
    text = (
        f"Trial {found.number} is the best: {_percent(found.skill)} against the random walk. The default settings have "
        f"{own}. Settings of the best trial: {best}."
    )
    return f"{text} It does not beat the random walk." if found.skill <= 0 else text


def result_text(problem: SearchProblem, found: TuningResult) -> str:
    """Return the description of the run as Markdown: the best trial, the number of trials, and how to judge it.

    Parameters
    ----------
    problem : SearchProblem
    found : TuningResult
    """
    return "\n\n".join(
        [
            f"The numbers are those of trial {found.number}, the best of {found.looked_at}.",
            f"**{counts_of(found)}**",
            best_of(found),
            f"Evaluated on {params_of(problem)['folds']}, all before the first target of a gate on {problem.as_of}. "
            "The best of many trials looks better than it is. The recipe is one more candidate of the next selection; "
            "if the selection chooses it, the gate tests it.",
            f"{found.metric.upper()} of the random walk: {found.random_walk:.4f}.",
            f"Data: {problem.panel['series_id'].n_unique()} series, {counted(problem.panel.height, 'price')}, up to "
            f"{problem.looked_through}.",
        ]
    )


def write_files(found: TuningResult, folder: Path) -> None:
    """Write the recipe, the table of trials and the pictures into `folder`, which exists.

    Parameters
    ----------
    found : TuningResult
    folder : Path
    """
    for name in ("tables", "pictures"):
        (folder / name).mkdir()
    (folder / RECIPE).write_text(json.dumps(found.model.recipe(), indent=2), encoding="utf-8")
    table = in_percent(found.table().sort("skill", descending=True, nulls_last=True))
    content = {"columns": table.columns, "data": [[plain(value) for value in row] for row in table.rows()]}
    (folder / TABLE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for name, picture in _pictures(found):
        (folder / "pictures" / f"{name}.png").write_bytes(picture.png())


def _pictures(found: TuningResult) -> Iterator[tuple[str, Picture]]:
    yield "1_history", tuning_plots.optimisation_history(found.trials)
    if shares := found.importances():
        yield "2_importances", tuning_plots.importances(shares)


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _percent(share: float | None) -> str:
    return "no result" if share is None else percent(share)
