"""Train: choose the recipe to publish, and refit it on all rows. Nothing is read or written.

Older folds choose one candidate; the newest origins test it, once; the winner is refit on all rows. A refresh does only
the last of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from joblib import Parallel, delayed
from sklearn.base import clone

from tidecast.flows.config.settings import DRIFT, Settings
from tidecast.flows.reporting.model_names import readable, with_article
from tidecast.flows.training.candidates import CandidateSet, Say, Stopwatch, TunedRecipe
from tidecast.flows.training.champion import Champion
from tidecast.flows.training.compared_series import sample_text
from tidecast.flows.training.holdout import FOLDS, Plan, last_before_gate, plan_origins
from tidecast.flows.training.result import POOLED, TrainingResult
from tidecast.flows.training.stored_panel import StoredPanel
from tidecast.forecasting.backtesting.fold_by_fold import FoldForecasts
from tidecast.forecasting.estimator.engine import on_engine, runs_apart
from tidecast.forecasting.estimator.fit_notes import FitNote, fits_of
from tidecast.forecasting.estimator.orphans import EndsWithParent
from tidecast.forecasting.estimator.panel_reference import opened
from tidecast.forecasting.evaluation.decide import decide
from tidecast.forecasting.forecasters.average import Average
from tidecast.forecasting.forecasters.recurrent import RecurrentForecaster
from tidecast.forecasting.network.progress import learning_curve
from tidecast.forecasting.plotting.tables import shares_below, truths_below
from tidecast.forecasting.saving.recipes import decode
from tidecast.forecasting.tables.names import RANDOM_WALK, VOLATILITY_REGRESSION, loss_in

DISTRIBUTION = ("skill", "skill_se", "skill_low", "skill_high", "p")
"""Columns of a summary that the selection's table begins with."""

MEMORY_ROWS, MEMORY_ORIGINS = 63, 32
"""How many rows back a network's memory is measured, and from how many origins."""

PIECE_SERIES, PIECE_SESSIONS = 8, 504
"""Of the piece of the panel that the winner is fitted on twice, to check that it is reproducible."""


def train(
    panel: pl.DataFrame,
    as_of: date,
    settings: Settings,
    champion: Champion | None,
    gate_due: bool,
    say: Say,
    table_versions: Mapping[str, int] | None = None,
    found: TunedRecipe | None = None,
    stored: StoredPanel | None = None,
) -> TrainingResult:
    """Refresh the champion's recipe; when a gate is due, test a new one first.

    Parameters
    ----------
    panel : DataFrame
        Prices known at `as_of`: ``series_id``, ``time``, ``close``.
    as_of : date
    settings : Settings
        With the calendar decided.
    champion : Champion or None
        The champion now.
    gate_due : bool
        Whether a new recipe may be tested; a panel's first training always may.
    say : callable
        Called with one line when a step begins.
    table_versions : mapping, optional
        Stored in the result.
    found : TunedRecipe, optional
        One more candidate for the selection.
    stored : StoredPanel, optional
        The panel in the tables, for workers that see no folder of this machine.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ArithmeticError
        The winner's forecasts are not finite, or differ between two fits on the same rows.
    """
    clock = Stopwatch()
    version = champion.version if champion is not None else ""
    work = CandidateSet(panel, as_of, settings, say, clock, dict(table_versions or {}), version, stored)
    if champion is not None and not gate_due:
        refit = f"The recipe of {with_article(champion.name)}, version {version}, refit on rows up to {as_of}."
        return _refresh(work, champion, refit)
    plan = plan_origins(panel, settings)
    if not plan.gate:
        stays = with_article(champion.name if champion else RANDOM_WALK)
        needed = settings.gate.min_origins
        why = f"too little history for a gate, which needs {needed} origins after training and selection"
        return _refresh(work, champion, f"There is {why if plan.possible else 'no series that moves'}: {stays} stays.")
    return _gate(work, plan, champion, _select(work, plan, found))


def refit_random_walk(
    panel: pl.DataFrame, as_of: date, settings: Settings, champion: Champion, reason: str, say: Say,
    table_versions: Mapping[str, int],
) -> TrainingResult:  # fmt: skip
    """Fit the random walk on all rows, to replace a champion; nothing is tested.

    Parameters
    ----------
    panel : DataFrame
        Prices known at `as_of`.
    as_of : date
    settings : Settings
    champion : Champion
        The champion that it replaces.
    reason : str
        Why it does, as a sentence.
    say : callable
        Called with one line when a step begins.
    table_versions : mapping
        Stored in the result.
    """
    work = CandidateSet(panel, as_of, settings, say, Stopwatch(), dict(table_versions), champion.version)
    return _finish(work, RANDOM_WALK, {}, "demoted", reason)


@dataclass(frozen=True)
class Selection:
    """What the folds before the gate's say.

    Attributes
    ----------
    candidate : str
        The recipe with the smallest loss; empty without a selection.
    table : polars.DataFrame
        As `TrainingResult.selection`.
    learning_curves : dict of str to polars.DataFrame
        Of each network's newest fit, by recipe.
    """

    candidate: str = ""
    table: pl.DataFrame = field(default_factory=pl.DataFrame)
    learning_curves: Mapping[str, pl.DataFrame] = field(default_factory=dict)


def _select(work: CandidateSet, plan: Plan, found: TunedRecipe | None) -> Selection:
    """Compare the recipes on the folds before the gate's."""
    newest = last_before_gate(work.panel, plan, work.settings)
    if found is not None:
        work.consider(found, newest)
    work.say(
        f"Comparing {', '.join(map(readable, work.recipes))} on {plan.selection} older origins, {FOLDS} refits each …"
    )
    with work.clock("selection"):
        compared = work.compared(plan.selection, newest)
        scores = work.running_evaluation(compared, keep_losses=False)
        costs = work.backtest_by_fold(
            work.recipes, compared, plan.selection, FOLDS, lambda fold: scores.add(fold.table)
        )
        summary = scores.result().summary
    loss = loss_in(summary.columns)
    pooled = summary.filter(pl.col("group") == "pooled").sort(loss, "model")
    others = [name for name in (*DISTRIBUTION, *POOLED) if name in pooled.columns and name != loss]
    selection = pooled.select("model", pl.col("n_origins").alias("origins"), loss, *dict.fromkeys(others))
    candidate = pooled.filter(pl.col("model") != RANDOM_WALK)["model"][0]
    return Selection(candidate, selection, costs.learning_curves)


def _gate(work: CandidateSet, plan: Plan, champion: Champion | None, selection: Selection) -> TrainingResult:
    """Test one candidate, once, against the random walk and the champion's recipe; refit the winner.

    Where the selection chose the champion's own recipe, that recipe is tested again. The regression and the best single
    network forecast the same origins, to be seen beside the candidate. Nothing depends on them.
    """
    candidate = selection.candidate
    beside = {name: work.recipes[name] for name in _beside(work.recipes, selection.table)}
    present, models = RANDOM_WALK, beside | {candidate: work.recipes[candidate], DRIFT: work.drift}
    if champion is not None and champion.name != RANDOM_WALK:
        if champion.recipe == work.recipes[candidate].recipe():
            models[champion.name] = models.pop(candidate)
            candidate = present = champion.name
        else:
            present = champion.name if champion.name != candidate else f"{champion.name} (champion)"
            models[present] = decode(champion.recipe)
    rivals = "the random walk" if present in (RANDOM_WALK, candidate) else f"the random walk and {readable(present)}"
    work.say(f"Testing {readable(candidate)} against {rivals} on the newest {plan.gate} origins …")
    with work.clock("gate"):
        compared = work.compared(plan.gate)
        scores = work.running_evaluation(compared)
        below: list[pl.DataFrame] = []

        def score(fold: FoldForecasts) -> None:
            scores.add(fold.table)
            below.extend(truths_below(table, compared) for table in fold.tables.values())

        work.backtest_by_fold(models, compared, plan.gate, plan.gate_folds, score)
        evaluation = scores.result()
        decision = decide(evaluation.losses, work.settings.gate, candidate=candidate, champion=present)
    if decision.promoted:
        winner, outcome, recipes = candidate, "promoted", {candidate: work.recipes[candidate]}
    elif champion is None:
        winner, outcome, recipes = RANDOM_WALK, "first", {}
    elif decision.demoted:
        winner, outcome, recipes = RANDOM_WALK, "demoted", {}
    else:
        winner, outcome, recipes = champion.name, "kept", _recipe_of(champion)
    sample = sample_text(work.panel, plan.gate, work.settings.horizon)
    return _finish(
        work, winner, recipes, outcome, f"{decision.reason} {sample}".strip(), selection,
        decision=decision, evaluation=evaluation, gate_shares=shares_below(below),
        compared={name: model.recipe() for name, model in (models | {RANDOM_WALK: work.random_walk}).items()},
    )  # fmt: skip


def _refresh(work: CandidateSet, champion: Champion | None, reason: str) -> TrainingResult:
    """Refit the same recipe on newer rows. It needs no test, but must be finite and reproducible."""
    if champion is None:
        return _finish(work, RANDOM_WALK, {}, "first", reason)
    return _finish(work, champion.name, _recipe_of(champion), "refreshed", reason)


def _recipe_of(champion: Champion) -> dict[str, Any]:
    """The champion's network, unfitted, by its name; empty for the random walk, which is always fitted."""
    return {} if champion.name == RANDOM_WALK else {champion.name: decode(champion.recipe)}


def _finish(
    work: CandidateSet,
    winner: str,
    recipes: dict[str, Any],
    outcome: str,
    reason: str,
    selection: Selection | None = None,
    **gate: Any,
) -> TrainingResult:
    """Fit the winner's recipe and the random walk on all rows; check that the fit is finite, and reproducible."""
    selection = selection or Selection()
    models = _refit(work, recipes)
    model = models[winner]
    if not np.isfinite(model.predict().select(pl.selectors.float()).to_numpy()).all():
        raise ArithmeticError(f"{winner}, refit on rows up to {work.as_of}, must forecast finite prices; it did not.")
    with work.clock("reproducing"):
        _check_reproducible(work, winner, (recipes | {RANDOM_WALK: work.random_walk})[winner])
    fitted = {name: getattr(models[name], "learning_curve_", learning_curve([])) for name in models}
    return TrainingResult(
        as_of=work.as_of,
        winner=winner,
        model=model,
        random_walk=models[RANDOM_WALK],
        outcome=outcome,
        reason=reason,
        trained_through=work.as_of,
        selection=selection.table,
        learning_curves={
            name: curve for name, curve in ({**selection.learning_curves} | fitted).items() if curve.height
        },
        seconds=work.clock.seconds,
        panel=work.panel,
        settings=work.settings,
        table_versions=work.table_versions,
        memory=_memory(work, [model for model in models.values() if isinstance(model, RecurrentForecaster)]),
        champion_version=work.champion_version,
        recipes={name: recipe.recipe() for name, recipe in work.recipes.items()},
        **({"decision": None, "evaluation": None, "gate_shares": None} | gate),
    )


def _refit(work: CandidateSet, recipes: dict[str, Any]) -> dict[str, Any]:
    """The recipes, the members of averages among them, and the random walk, fitted on all rows, by name."""
    work.say(f"Fitting {', '.join(map(readable, [*recipes, RANDOM_WALK]))} on all {work.panel.height:,} rows …")
    single: dict[str, Any] = {RANDOM_WALK: work.random_walk}
    members: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        if isinstance(recipe, Average):
            members[name] = [
                _name_of(member, work.recipes) or f"{name}, member {k}"
                for k, member in enumerate(recipe.members, start=1)
            ]
            single |= dict(zip(members[name], recipe.members, strict=True))
        else:
            single[name] = recipe
    n_jobs = min(work.settings.n_jobs, len(single))
    counted = fits_of("Fitting", list(single.values()), runs_apart(n_jobs))
    with work.clock("refit"), on_engine(work.panel, n_jobs, work.stored) as panel, counted as fits:
        fit = delayed(EndsWithParent(_fit))
        tasks = (fit(recipe, panel, fits.note(k)) for k, recipe in enumerate(single.values()))
        fitted = Parallel(batch_size=1)(tasks)
    models = dict(zip(single, fitted, strict=True))
    return models | {name: Average.of([models[member] for member in own]) for name, own in members.items()}


def _name_of(member: Any, recipes: Mapping[str, Any]) -> str | None:
    """The candidate that is this recipe, if there is one."""
    return next((name for name, recipe in recipes.items() if recipe.recipe() == member.recipe()), None)


def _check_reproducible(work: CandidateSet, winner: str, recipe: Any) -> None:
    """Fit the recipe twice on the newest rows of a few series, which shows as much as two fits on all rows."""
    times = work.panel["time"]
    newest = work.panel.filter(times == times.max())["series_id"].sort().head(PIECE_SERIES)
    since = times.unique().sort().tail(PIECE_SESSIONS + work.settings.lookback).min()
    piece = work.panel.filter(pl.col("series_id").is_in(newest.implode()), times >= since)
    try:
        once = clone(recipe).fit(piece)
    except ValueError:  # these few do not move, or are too young
        once, piece = clone(recipe).fit(work.panel), work.panel
    if not once.predict().equals(clone(recipe).fit(piece).predict()):
        raise ArithmeticError(f"{winner}, fit twice on the same rows, must forecast the same; it did not.")


def _fit(model: Any, panel: Any, note: FitNote) -> Any:
    with note.noted():
        return model.fit(opened(panel))


def _memory(work: CandidateSet, networks: list[Any]) -> pl.DataFrame:
    """The memory profiles of the networks, over at most `lookback` rows before an origin."""
    back = min(work.settings.lookback - 1, MEMORY_ROWS)
    with work.clock("memory"):
        profiles = [network.memory_profile(work.panel, back, MEMORY_ORIGINS) for network in networks]
    return pl.concat(profiles) if profiles else pl.DataFrame()


def _beside(recipes: Mapping[str, Any], selection: pl.DataFrame) -> list[str]:
    """The regression, and the single network that was best in the selection, as far as they are candidates."""
    networks = [name for name in selection["model"] if isinstance(recipes.get(name), RecurrentForecaster)]
    return [name for name in (VOLATILITY_REGRESSION, *networks[:1]) if name in recipes]
