"""What a search for settings has to say: parameters, numbers, words, a table and pictures. No MLflow here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from tidecast.flows.reporting import tuning_plots
from tidecast.flows.reporting.figure import Picture
from tidecast.flows.tracking.run_files import plain
from tidecast.flows.tracking.run_text import percent
from tidecast.flows.training.search_problem import SearchProblem
from tidecast.forecasting.tuning.result import TrialRecord, TuningResult

RECIPE = "recipe.json"
TABLE = "tables/trials.json"


def name_of(ground: SearchProblem, tuned: TuningResult | None = None) -> str:
    """What the run is called: "tuning 2026-10-30"; with what was found, ", best +0.21 %" comes after it."""
    return f"tuning {ground.as_of}" + (f", best {_percent(tuned.skill)}" if tuned else "")


def name_of_trial(trial: TrialRecord) -> str:
    """What a trial's run is called: "trial 0, the default settings", and at its end "trial 7, given up"."""
    own = ", the default settings" if trial.number == 0 else ""
    ends = {"pruned": ", given up", "failed": ", failed", "interrupted": ", stopped"}
    end = f", {_percent(trial.skill)}" if trial.skill is not None else ends.get(trial.state, "")
    return f"trial {trial.number}{own}{end}"


def about(trial: TrialRecord) -> str:
    """The description of the run of a trial that has ended."""
    if trial.skill is not None:
        return f"{_percent(trial.skill)} against the random walk, on all folds."
    return {
        "pruned": "Given up: worse than three quarters of the others at the same place.",
        "failed": f"Failed: {trial.why}",
        "interrupted": "Its process was stopped; another trial has the same settings.",
    }[trial.state]


def params_of(ground: SearchProblem) -> dict[str, str]:
    """What was searched, and on what."""
    folds = ground.cv.folds(ground.panel)
    days = f"{folds[0].first_origin} to {folds[-1].last_origin}"
    return {
        "as_of": ground.as_of.isoformat(),
        "looked_through": ground.looked_through.isoformat(),
        "folds": f"{len(folds)} folds of {ground.cv.stride} origins, {days}",
        "rows": str(ground.panel.height),
        "series": str(ground.panel["series_id"].n_unique()),
        **{f"space.{name}": str(each) for name, each in ground.space.items()},
    }


def metrics_of(tuned: TuningResult) -> dict[str, float]:
    """Counts, and the best trial's numbers beside the default settings' and the random walk's."""
    numbers = {
        "trials": tuned.looked_at,
        "trials_pruned": tuned.count("pruned"),
        "trials_failed": tuned.count("failed"),
        tuned.metric: tuned.value,
        f"random_walk/{tuned.metric}": tuned.random_walk,
        "skill": tuned.skill,
        "default/skill": tuned.trials[0].skill,
    }
    return {name: float(value) for name, value in numbers.items() if value is not None and math.isfinite(value)}


def under_way(ground: SearchProblem) -> str:
    """The description of a run while the search goes on."""
    return f"A search for settings on prices up to {ground.looked_through} is under way; each trial is a run inside."


def counts_of(tuned: TuningResult) -> str:
    """Out of how many trials the best was chosen."""
    return (
        f"{tuned.looked_at} trials were looked at: {tuned.count('complete')} whole, {tuned.count('pruned')} given up, "
        f"{tuned.count('failed')} failed."
    )


def best_of(tuned: TuningResult) -> str:
    """The best trial beside the default settings."""
    own = _percent(tuned.trials[0].skill)
    if tuned.number == tuned.trials[0].number:
        return f"No trial was better than the default settings ({own} against the random walk)."
    best = ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in tuned.settings.items())
    return (
        f"Trial {tuned.number} is the best, {_percent(tuned.skill)} against the random walk; the default settings have "
        f"{own}. Its settings: {best}." + (" It does not beat the random walk." if tuned.skill <= 0 else "")
    )


def words_of(ground: SearchProblem, tuned: TuningResult) -> str:
    """The description of the run, Markdown: what was found, out of how many, and what that is worth."""
    return "\n\n".join(
        [
            f"**{counts_of(tuned)}**",
            best_of(tuned),
            f"Judged on {params_of(ground)['folds']}, all before the first target of a gate on {ground.as_of}. The "
            "best of many trials looks better than it is: what it is worth is for the gate to say. The recipe is one "
            "more candidate of the next selection and, if that chooses it, of the gate's one test.",
            f"Data: {ground.panel['series_id'].n_unique()} series, {ground.panel.height:,} prices, up to "
            f"{ground.looked_through}.",
        ]
    )


def write_files(tuned: TuningResult, folder: Path) -> None:
    """Write the recipe, the table of trials and the pictures into `folder`."""
    for name in ("tables", "pictures"):
        (folder / name).mkdir()
    (folder / RECIPE).write_text(json.dumps(tuned.model.recipe(), indent=2), encoding="utf-8")
    table = tuned.table().sort("skill", descending=True, nulls_last=True)
    content = {"columns": table.columns, "data": [[plain(value) for value in row] for row in table.rows()]}
    (folder / TABLE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for name, picture in _pictures(tuned):
        (folder / "pictures" / f"{name}.png").write_bytes(picture.png())


def _pictures(tuned: TuningResult) -> Iterator[tuple[str, Picture]]:
    yield "1_history", tuning_plots.optimisation_history(tuned.trials)
    if shares := tuned.importances():
        yield "2_importances", tuning_plots.importances(shares)


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _percent(share: float | None) -> str:
    return "no result" if share is None else f"{percent(share, 2, '+')} %"
