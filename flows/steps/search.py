"""Search for a better recipe, on older rows than any gate's. The study is kept in the state folder.

A search that was killed continues from its study when the same rows are searched with the same settings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.tracking.run_record import fingerprint
from tidecast.flows.training.candidates import recipes_of
from tidecast.flows.training.compared_series import compared_series
from tidecast.flows.training.engine import engine_of
from tidecast.flows.training.holdout import folds_of, last_before_gate, plan_origins
from tidecast.flows.training.model_panel import model_panel
from tidecast.flows.training.search_problem import SearchProblem
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.estimator.time_left import Work
from tidecast.forecasting.forecasters.recurrent import RecurrentForecaster
from tidecast.forecasting.tuning.result import TrialRecord, TuningResult
from tidecast.forecasting.tuning.search_space import default_space
from tidecast.forecasting.tuning.tune import NoWholeTrial, tune


def search_problem_of(warehouse: Warehouse, settings: Settings, as_of: date | None) -> SearchProblem:
    """Return the problem of a session; None: of the newest.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date or None

    Raises
    ------
    TidecastError
        There are no prices, or too few for a gate.
    """
    newest = warehouse.newest_session()
    if newest is None:
        raise TidecastError(f"There must be prices to search on, found none in {warehouse.uri}. Start: tidecast run")
    as_of = settings.sessions.at_or_before(min(as_of or newest, newest))
    return search_problem_in(model_panel(warehouse, settings, as_of), as_of, settings)


def search_problem_in(prices: pl.DataFrame, as_of: date, settings: Settings) -> SearchProblem:
    """Return the rows that are older than a gate's, and the settings to try on them.

    Parameters
    ----------
    prices : polars.DataFrame
        The panel known at `as_of`.
    as_of : date
    settings : Settings

    Raises
    ------
    TidecastError
        There are too few rows for a gate: the result of a search could never be tested.
    """
    plan = plan_origins(prices, settings)
    if not plan.gate:
        raise TidecastError(
            f"What a search finds must be tested on {settings.gate.min_origins} origins that it did not see; of the "
            f"{plan.possible} there are, a gate takes a third at most. Give more history."
        )
    looked_through = last_before_gate(prices, plan, settings)
    panel = compared_series(prices, plan.selection, settings.horizon, looked_through)
    recipes = recipes_of(settings)
    networks = {name: recipe for name, recipe in recipes.items() if isinstance(recipe, RecurrentForecaster)}
    model = networks.get("GRU", next(iter((networks or recipes).values())))
    space = default_space(model, panel)
    if networks:
        space["cell"] = sorted(recipe.cell for recipe in networks.values())
        short = [rows for rows in space["lookback"] if rows <= settings.lookback]
        space["lookback"] = short  # with a longer one, young series would have no forecast
    key = hashlib.sha256(f"{as_of}|{fingerprint(panel)}|{settings.digest}".encode()).hexdigest()[:32]
    cv = folds_of(plan.selection, settings.horizon)
    return SearchProblem(as_of, panel, looked_through, cv, model, space, settings, key)


def search(
    tuning_folder: StateFolder,
    problem: SearchProblem,
    n_trials: int,
    timeout: float,
    on_change: Callable[[list[TrialRecord]], None],
) -> TuningResult:
    """Try `n_trials` settings in all, for at most `timeout` seconds; continue from the study if there is one.

    Parameters
    ----------
    tuning_folder : StateFolder
        Where studies are kept; made if it is missing.
    problem : SearchProblem
    n_trials : int
        Trials in all, those of earlier calls included.
    timeout : float
        Seconds.
    on_change : callable
        Called with all trials whenever one changes.

    Raises
    ------
    TidecastError
        The time was over before one trial was complete.
    """
    study = tuning_folder.make().path / f"{problem.as_of}-{problem.key[:8]}.journal"
    try:
        with engine_of(problem.settings, str(tuning_folder.path)):
            return tune(
                problem.model, problem.panel, problem.cv, problem.space, n_trials, timeout, storage=study,
                study_name=f"tuning {problem.as_of}", n_jobs=problem.settings.n_jobs, on_change=on_change,
            )  # fmt: skip
    except NoWholeTrial as error:
        raise TidecastError(
            f"A search must have time for one whole trial, but none of {error.begun} begun is complete after "
            f"{timeout / 60:g} minutes. Run the same command again, which continues it, or give more time: "
            f"--minutes {max(2, round(timeout / 20)):g}. Fewer epochs (TIDECAST_MAX_EPOCHS) make a trial shorter."
        ) from error


class TrialLog:
    """Logs each trial once, when it has ended.

    Parameters
    ----------
    n_trials : int
        Trials in all.
    say : callable
        Called with each line.
    """

    def __init__(self, n_trials: int, say: Callable[[str], None]) -> None:
        self.n_trials, self.say = n_trials, say
        self._logged: set[int] = set()
        self._work: Work | None = None

    def __call__(self, trials: Sequence[TrialRecord]) -> None:
        ended = [trial for trial in trials if trial.state in ("complete", "pruned", "failed")]
        whole = [trial for trial in ended if trial.skill is not None]
        best = max(whole, key=lambda trial: trial.skill or 0.0, default=None)
        self._work = self._work or Work("Search", self.n_trials, "trials", since=len(ended))
        left = self._work.left(len(ended))
        for trial in ended:
            if trial.number in self._logged:
                continue
            self._logged.add(trial.number)
            how = "given up" if trial.state == "pruned" else f"failed: {trial.why}"
            if trial.skill is not None:
                how = f"{100 * trial.skill:+.2f} %"
            best_so_far = "" if best is None or best.skill is None else f", best {100 * best.skill:+.2f} %"
            self.say(f"  trial {trial.number}: {how} ({len(self._logged)} of {self.n_trials}{best_so_far}{left})")
