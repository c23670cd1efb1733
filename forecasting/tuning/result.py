"""Result of tuning: its trials, and a fitted forecaster with the best settings."""

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
    """One trial in its present state.

    Attributes
    ----------
    number : int
    state : {"waiting", "running", "complete", "pruned", "failed", "interrupted"}
        Interrupted: the process died or the time was over; another trial repeats its settings.
    settings : dict
    value : float or None
        Loss on all folds; only of a complete trial.
    skill : float or None
        1 − value ÷ the random walk's: 0.01 is one per cent better.
    seconds : float or None
        From start to end.
    why : str
        Reason of a failure.
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
    """Result of `tune`.

    Attributes
    ----------
    model : forecaster or Pipeline
        With the best settings, fitted on the whole panel.
    study : optuna.Study
        All trials.
    settings : dict
        The best trial's, by name.
    number : int
        Of the best trial; 0 if nothing was better than the model's own settings.
    value, random_walk : float
        Loss of the best trial and of the random walk on the folds. As the smallest of many it is optimistic.
    metric : str
        Name of the loss: "crps", "pinball" with quantiles other than the default, or "mae".
    trials : tuple of TrialRecord
        All trials, by number; settings drawn twice do not count and leave a gap.
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
        """Number of trials in one of these states.

        Parameters
        ----------
        *states : str
            Such as "complete", "pruned" or "failed".
        """
        return sum(trial.state in states for trial in self.trials)

    @property
    def looked_at(self) -> int:
        """Number of trials that the best was chosen from: running, complete, pruned or failed."""
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
        """Share of the variation of the loss that each setting explains, the largest first; their sum is 1.

        By PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv:2304.10255). Empty with fewer than two different losses.
        """
        values = {trial.value for trial in self.trials if trial.value is not None}
        return dict(optuna.importance.get_param_importances(self.study)) if len(values) > 1 else {}


def trials_of(study: Study, random_walk: float) -> tuple[TrialRecord, ...]:
    """Return the records of all trials of a study.

    Parameters
    ----------
    study : optuna.Study
    random_walk : float
        Loss of the random walk on the folds.
    """
    every = study.get_trials(deepcopy=False)
    return tuple(_record_of(trial, random_walk) for trial in every if NONE not in trial.user_attrs)


def _record_of(trial: FrozenTrial, random_walk: float) -> TrialRecord:
    is_complete = trial.state == TrialState.COMPLETE
    skills = {step: 1 - value / random_walk for step, value in trial.intermediate_values.items()}
    end = trial.datetime_complete
    is_lost = trial.state == TrialState.FAIL and ERROR not in trial.user_attrs
    return TrialRecord(
        number=trial.number,
        state="interrupted" if is_lost else STATES[trial.state],
        settings=settings_of(trial),
        value=trial.value if is_complete else None,
        skill=1 - trial.value / random_walk if is_complete and trial.value is not None else None,
        seconds=(end - trial.datetime_start).total_seconds() if trial.datetime_start and end else None,
        why=trial.user_attrs.get(ERROR, ""),
        epochs={step: skill for step, skill in skills.items() if step < FIRST_FOLD},
        folds={step - FIRST_FOLD: skill for step, skill in skills.items() if step > FIRST_FOLD},
    )
