"""What a search for settings has found: its trials, and a fitted forecaster with the best settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
import polars as pl
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from tidecast.forecasting.tuning.trial_queue import ERROR, FIRST_FOLD, NONE, settings_of

STATES = {
    TrialState.WAITING: "waiting", TrialState.RUNNING: "running", TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
}  # fmt: skip


@dataclass(frozen=True)
class TrialRecord:
    """One trial, as it stands.

    Attributes
    ----------
    number : int
    state : {"waiting", "running", "complete", "pruned", "failed", "interrupted"}
        Interrupted is what a dead process or the end of the time left; its settings are tried again, in another trial.
    settings : dict
    value : float or None
        Loss on all folds; of a complete trial only.
    skill : float or None
        1 − value ÷ the random walk's: 0.01 is one per cent better.
    seconds : float or None
        From its beginning to its end.
    why : str
        Why it failed.
    epochs : dict of int to float
        Best validation loss up to each epoch of the first fold, as a skill against the untrained network.
    folds : dict of int to float
        Skill on the folds up to each one.
    """

    number: int
    state: str
    settings: dict[str, Any]
    value: float | None
    skill: float | None
    seconds: float | None
    why: str
    epochs: dict[int, float]
    folds: dict[int, float]


@dataclass(frozen=True)
class TuningResult:
    """What `tune` found.

    Attributes
    ----------
    model : forecaster or Pipeline
        With the best settings, fitted on the whole panel.
    study : optuna.Study
        All trials.
    settings : dict
        The best trial's, by name.
    number : int
        Of the best trial; 0 where nothing was better than the model's own settings.
    value, random_walk : float
        Loss of the best trial and of the random walk on the folds. The smaller of many: no promise for other origins.
    metric : str
        What the loss is called: "crps", "pinball" with other than the default quantiles, or "mae".
    trials : tuple of TrialSeen
        All of them, in order of their numbers; what was drawn twice is none, and leaves a gap.
    """

    model: Any
    study: Study
    settings: dict[str, Any]
    number: int
    value: float
    random_walk: float
    metric: str
    trials: tuple[TrialRecord, ...]

    @property
    def skill(self) -> float:
        """1 − value ÷ the random walk's."""
        return 1 - self.value / self.random_walk

    def count(self, *states: str) -> int:
        """How many trials are in one of these states."""
        return sum(trial.state in states for trial in self.trials)

    @property
    def looked_at(self) -> int:
        """How many trials were looked at, whole, pruned or failed: out of so many the best was chosen."""
        return self.count("running", "complete", "pruned", "failed")

    def table(self) -> pl.DataFrame:
        """The trials: ``number``, ``state``, ``value``, ``skill``, ``seconds``, a column per setting, ``why``."""
        names = dict.fromkeys(name for trial in self.trials for name in trial.settings)
        rows = [
            {
                "number": trial.number, "state": trial.state, "value": trial.value, "skill": trial.skill,
                "seconds": trial.seconds, **{name: trial.settings.get(name) for name in names}, "why": trial.why,
            }
            for trial in self.trials
        ]  # fmt: skip
        return pl.DataFrame(rows, orient="row", infer_schema_length=None, strict=False)

    def importances(self) -> dict[str, float]:
        """How much of the variation of the loss each setting explains, the largest first; they sum up to 1.

        By PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv:2304.10255). Empty with fewer than two different losses.
        """
        values = {trial.value for trial in self.trials if trial.value is not None}
        return dict(optuna.importance.get_param_importances(self.study)) if len(values) > 1 else {}


def trials_of(study: Study, random_walk: float) -> tuple[TrialRecord, ...]:
    """All trials of a study whose random walk has this loss."""
    every = study.get_trials(deepcopy=False)
    return tuple(_record_of(trial, random_walk) for trial in every if NONE not in trial.user_attrs)


def _record_of(trial: FrozenTrial, random_walk: float) -> TrialRecord:
    is_whole = trial.state == TrialState.COMPLETE
    skills = {step: 1 - value / random_walk for step, value in trial.intermediate_values.items()}
    end = trial.datetime_complete
    is_lost = trial.state == TrialState.FAIL and ERROR not in trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state="interrupted" if is_lost else STATES[trial.state],
        settings=settings_of(trial),
        value=trial.value if is_whole else None,
        skill=1 - trial.value / random_walk if is_whole and trial.value is not None else None,
        seconds=(end - trial.datetime_start).total_seconds() if trial.datetime_start and end else None,
        why=trial.user_attrs.get(ERROR, ""),
        epochs={step: skill for step, skill in skills.items() if step < FIRST_FOLD},
        folds={step - FIRST_FOLD: skill for step, skill in skills.items() if step > FIRST_FOLD},
    )
