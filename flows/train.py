"""Training: which recipe earns to be published, and that recipe refit on all rows. Reads and writes nothing.

Older folds choose one candidate; the newest origins test it, once; what wins is refit on every row. A refresh is only
the last of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from joblib import Parallel, delayed

from features.panel import PanelSchema, breaks
from features.volatility import with_volatility
from flows.settings import Settings
from forecasting.backtest import backtest
from forecasting.baselines import Drift, RandomWalk
from forecasting.decide import Decision, decide
from forecasting.forecasters import GRUForecaster, LSTMForecaster, MinGRUForecaster, RNNForecaster
from forecasting.metrics import Evaluation, evaluate
from forecasting.persistence import decode
from forecasting.splits import RollingOrigin

if TYPE_CHECKING:
    from flows.registry import Champion

RANDOM_WALK, DRIFT = "random_walk", "drift"
CELLS = {"RNN": RNNForecaster, "LSTM": LSTMForecaster, "GRU": GRUForecaster, "MINGRU": MinGRUForecaster}

COMMON = ("horizon", "quantiles", "target", "schema")  # what recipes must share to be compared

FOLDS = 2  # each for selection and for the gate: every recipe is refit in each of them
SELECTION_ORIGINS = 504
GATE_SHARE = 1 / 3  # of the sessions that can be origins, at most; the rest is for selection and training

MEMORY_ROWS, MEMORY_ORIGINS = 63, 32  # how far back a network's memory is looked at, and from how many origins

Say = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """What a training found, and the model it leaves.

    Attributes
    ----------
    as_of : date
        The session it stood on; `panel` has no later row.
    winner : str
        "RNN", "LSTM", "GRU", "MINGRU", one of them "tuned", or "random_walk".
    model, random_walk : forecaster
        The winner and the random walk, refit on all rows.
    decision : Decision or None
        None when no gate was held: a refresh, or too little history.
    reason : str
        Why the winner is the winner, in words.
    outcome : {"promoted", "kept", "demoted", "refreshed", "first"}
        At a gate a new recipe won, the champion's stayed, or it gave way to the random walk; the champion's recipe was
        refit without a gate; there was no champion before, and the random walk is the first.
    trained_through : date
    evaluation : Evaluation or None
        The gate's folds: candidate, champion's recipe, random walk and drift.
    gate_forecasts : DataFrame or None
        The forecasts behind `evaluation`.
    selection : DataFrame
        ``model``, ``origins``, ``crps`` (or ``pinball``), ``skill``, ``skill_se``, ``p`` on the older folds; empty
        without selection.
    learning_curves : dict of DataFrame
        Of each recipe, fit on all rows.
    seconds : dict of float
        Wall-clock time of each part.
    panel : DataFrame
        The rows it saw.
    settings : Settings
    table_versions : dict of int
        Versions of the warehouse's tables that were read.
    compared : dict of dict
        ``model.recipe()`` of each model that the gate compared.
    memory : DataFrame
        What each network remembers (`memory_profile`), those fit on all rows; empty without networks.
    champion_version : str
        Registered version of the champion there was; empty without one.
    """

    as_of: date
    winner: str
    model: Any
    random_walk: RandomWalk
    decision: Decision | None
    reason: str
    outcome: str
    trained_through: date
    evaluation: Evaluation | None
    gate_forecasts: pl.DataFrame | None
    selection: pl.DataFrame
    learning_curves: dict[str, pl.DataFrame]
    seconds: dict[str, float]
    panel: pl.DataFrame
    settings: Settings
    table_versions: Mapping[str, int] = field(default_factory=dict)
    compared: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    memory: pl.DataFrame = field(default_factory=pl.DataFrame)
    champion_version: str = ""


@dataclass(frozen=True)
class Found:
    """What a search for settings has found.

    Attributes
    ----------
    as_of : date
        The session it stood on.
    name : str
        "tuned GRU".
    recipe : dict
        ``model.recipe()``.
    looked_through : date
        The last session whose prices it saw.
    """

    as_of: date
    name: str
    recipe: dict[str, Any]
    looked_through: date


@dataclass(frozen=True)
class Plan:
    """Origins there are, and those for the gate and the selection before it; both 0 when there are too few."""

    possible: int
    gate: int
    selection: int


def train(
    panel: pl.DataFrame,
    as_of: date,
    settings: Settings,
    champion: Champion | None,
    gate_due: bool,
    say: Say,
    table_versions: Mapping[str, int] | None = None,
    found: Found | None = None,
) -> Training:
    """Refresh the champion's recipe, or, when a gate is due, put a new one to the test first.

    Parameters
    ----------
    panel : DataFrame
        Prices known at `as_of`: ``series_id``, ``time``, ``close``.
    as_of : date
    settings : Settings
        With the calendar decided.
    champion : Champion or None
        What is published now.
    gate_due : bool
        Whether a new recipe may be tested; a panel's first training always may.
    say : callable
        Told what begins, a line each.
    table_versions : mapping, optional
        Kept with the result.
    found : Found, optional
        One more candidate for the selection.
    """
    clock = Stopwatch()
    version = champion.version if champion is not None else ""
    work = Work(panel, as_of, settings, say, clock, dict(table_versions or {}), version)
    if champion is not None and not gate_due:
        return _refresh(
            work, champion, f"The recipe of {_words(champion.name)}, version {version}, refit on rows up to {as_of}."
        )
    plan = plan_origins(panel, settings)
    if not plan.gate:
        stays = _words(champion.name if champion else RANDOM_WALK)
        needed = settings.gate.min_origins
        why = f"too little history for a gate, which needs {needed} origins after training and selection"
        return _refresh(work, champion, f"There is {why if plan.possible else 'no series that moves'}: {stays} stays.")
    candidate, selection = _select(work, plan, found)
    return _gate(work, plan, champion, candidate, selection)


def plan_origins(panel: pl.DataFrame, settings: Settings) -> Plan:
    """How many of the newest sessions the gate and the selection look at.

    A session counts when some series can be learned from there: it has `lookback` rows and moves.
    """
    rows = with_volatility(panel.sort("series_id", "time"), positive=settings.positive)
    place = pl.int_range(pl.len()).over("series_id", breaks().over("series_id"))
    learnable = rows.filter(~pl.col("pegged") & (place >= settings.lookback - 1))
    possible = max(learnable["time"].n_unique() - 2 * settings.horizon, 0)
    gate = min(settings.gate.max_origins, int(possible * GATE_SHARE))
    if gate < settings.gate.min_origins:
        return Plan(possible, 0, 0)
    return Plan(possible, gate // FOLDS * FOLDS, min(SELECTION_ORIGINS, (possible - gate) // 2) // FOLDS * FOLDS)


def before_the_gate(panel: pl.DataFrame, plan: Plan, settings: Settings) -> pl.DataFrame:
    """The rows up to the first of the gate's origins: not one target in them is one of the gate's."""
    sessions = panel["time"].unique().sort()
    return panel.filter(pl.col("time") <= sessions[-plan.gate - settings.horizon])


def folds_of(origins: int, horizon: int, folds: int = FOLDS) -> RollingOrigin:
    """The newest origins of a panel in folds, in each of which every recipe is refit."""
    return RollingOrigin(n_splits=folds, horizon=horizon, stride=origins // folds)


def recipes_of(settings: Settings) -> dict[str, Any]:
    """The networks to choose from, unfitted, with their default settings."""
    epochs: dict[str, Any] = {} if settings.max_epochs is None else {"max_epochs": settings.max_epochs}
    return {name: CELLS[name](**_shared(settings), **epochs) for name in settings.models}


def _shared(settings: Settings) -> dict[str, Any]:
    """What all models of a panel have in common."""
    return {
        "horizon": settings.horizon, "lookback": settings.lookback, "quantiles": settings.quantiles,
        "schema": PanelSchema(
            covariates=settings.covariates, static=settings.static, positive=settings.positive,
            calendar=settings.calendar,
        ),
    }  # fmt: skip


class Work:
    """A panel with the recipes that may forecast it."""

    def __init__(
        self, panel: pl.DataFrame, as_of: date, settings: Settings, say: Say, clock: Stopwatch,
        versions: dict[str, int], champion_version: str = "",
    ) -> None:  # fmt: skip
        self.panel, self.as_of, self.settings = panel, as_of, settings
        self.say, self.clock, self.table_versions = say, clock, versions
        self.champion_version = champion_version
        self.recipes = recipes_of(settings)
        self.random_walk, self.drift = RandomWalk(**_shared(settings)), Drift(**_shared(settings))

    def consider(self, found: Found, seen: pl.DataFrame) -> None:
        """Let what a search has found be a candidate, too, unless it cannot be one."""
        own = next(iter(self.recipes.values())).recipe()["settings"]
        others = [name for name in COMMON if found.recipe["settings"][name] != own[name]]
        newest = seen["time"].max()
        assert isinstance(newest, date)
        if found.looked_through > newest:
            why = f"the search saw prices up to {found.looked_through}, and the gate begins on {newest}"
        elif others:
            why = f"it has another {' and '.join(others)}"
        elif any(found.recipe == recipe.recipe() for recipe in self.recipes.values()):
            why = "it is one of the defaults"
        else:
            self.recipes[found.name] = decode(found.recipe)
            return
        self.say(f"The recipe that was tuned on {found.as_of} is no candidate: {why}.")

    def backtest(self, models: dict[str, Any], panel: pl.DataFrame, origins: int, folds: int = FOLDS) -> pl.DataFrame:
        """Forecasts of refit models from the panel's newest origins."""
        cv = folds_of(origins, self.settings.horizon, folds)

        def tell(name: str, fold: int) -> None:
            if name not in (RANDOM_WALK, DRIFT):  # those take no time
                self.say(f"  {name}, fold {fold} of {folds}")

        return backtest(models, panel, cv, n_jobs=self.settings.n_jobs, on_fit=tell)

    def evaluate(self, forecasts: pl.DataFrame) -> Evaluation:
        """Scores of backtest forecasts."""
        return evaluate(forecasts, self.panel, positive=self.settings.positive)


def _select(work: Work, plan: Plan, found: Found | None) -> tuple[str, pl.DataFrame]:
    """The recipe with the smallest loss on the folds before the gate's, and the table that says so."""
    older = before_the_gate(work.panel, plan, work.settings)
    if found is not None:
        work.consider(found, older)
    work.say(f"Comparing {', '.join(work.recipes)} on {plan.selection} older origins, {FOLDS} refits each …")
    with work.clock("selection"):
        summary = work.evaluate(work.backtest(work.recipes, older, plan.selection)).summary
    loss = "crps" if "crps" in summary.columns else "pinball"
    pooled = summary.filter(pl.col("group") == "pooled").sort(loss, "model")
    selection = pooled.select("model", pl.col("n_origins").alias("origins"), loss, "skill", "skill_se", "p")
    candidate = pooled.filter(pl.col("model") != RANDOM_WALK)["model"][0]
    return candidate, selection


def _gate(work: Work, plan: Plan, champion: Champion | None, candidate: str, selection: pl.DataFrame) -> Training:
    """Test one candidate, once, against the random walk and the champion's recipe; refit what wins.

    Where the selection chose the champion's own recipe, that has to stand the test again.
    """
    present, models = RANDOM_WALK, {candidate: work.recipes[candidate], DRIFT: work.drift}
    if champion is not None and champion.name != RANDOM_WALK:
        if champion.recipe == work.recipes[candidate].recipe():
            models[champion.name] = models.pop(candidate)
            candidate = present = champion.name
        else:
            present = champion.name if champion.name != candidate else f"{champion.name} (champion)"
            models[present] = decode(champion.recipe)
    rivals = "the random walk" if present in (RANDOM_WALK, candidate) else f"the random walk and {present}"
    work.say(f"Testing {candidate} against {rivals} on the newest {plan.gate} origins …")
    with work.clock("gate"):
        forecasts = work.backtest(models, work.panel, plan.gate)
        evaluation = work.evaluate(forecasts)
        decision = decide(evaluation.losses, work.settings.gate, candidate=candidate, champion=present)
    if decision.promoted:
        winner, outcome = candidate, "promoted"
        recipes = work.recipes if champion is None else {candidate: work.recipes[candidate]}
    elif champion is None:
        winner, outcome, recipes = RANDOM_WALK, "first", work.recipes
    elif decision.demoted:
        winner, outcome, recipes = RANDOM_WALK, "demoted", {}
    else:
        winner, outcome, recipes = champion.name, "kept", _recipe_of(champion)
    return _finish(
        work, winner, recipes, outcome, decision.reason, selection,
        decision=decision, evaluation=evaluation, gate_forecasts=forecasts,
        compared={name: model.recipe() for name, model in (models | {RANDOM_WALK: work.random_walk}).items()},
    )  # fmt: skip


def _refresh(work: Work, champion: Champion | None, reason: str, selection: pl.DataFrame | None = None) -> Training:
    """The same recipe on newer rows; it needs no test, but must be finite and reproducible."""
    selection = pl.DataFrame() if selection is None else selection
    if champion is None:
        return _finish(work, RANDOM_WALK, {}, "first", reason, selection)
    return _finish(work, champion.name, _recipe_of(champion), "refreshed", reason, selection)


def _recipe_of(champion: Champion) -> dict[str, Any]:
    """The champion's network, unfitted, by its name; nothing for the random walk, which is always fitted."""
    return {} if champion.name == RANDOM_WALK else {champion.name: decode(champion.recipe)}


def _finish(
    work: Work, winner: str, recipes: dict[str, Any], outcome: str, reason: str, selection: pl.DataFrame, **gate: Any
) -> Training:
    """Fit the recipes and the random walk on all rows; the winner twice, to see that it is reproducible."""
    work.say(f"Fitting {', '.join([*recipes, 'the random walk'])} on all {work.panel.height:,} rows …")
    jobs = [*recipes.values(), work.random_walk]
    if winner != RANDOM_WALK:
        jobs.append(recipes[winner])
    with work.clock("refit"):
        fitted = Parallel(n_jobs=min(work.settings.n_jobs, len(jobs)))(delayed(_fit)(job, work.panel) for job in jobs)
    models = dict(zip([*recipes, RANDOM_WALK], fitted, strict=False))
    model = models[winner]
    table = model.predict()
    if not np.isfinite(table.select(pl.selectors.float()).to_numpy()).all():
        raise ArithmeticError(f"{winner}, refit on rows up to {work.as_of}, must forecast finite prices; it did not.")
    if winner != RANDOM_WALK and not table.equals(fitted[-1].predict()):
        raise ArithmeticError(f"{winner}, fit twice on the same rows, must forecast the same; it did not.")
    return Training(
        as_of=work.as_of,
        winner=winner,
        model=model,
        random_walk=models[RANDOM_WALK],
        outcome=outcome,
        reason=reason,
        trained_through=work.as_of,
        selection=selection,
        learning_curves={name: models[name].learning_curve_ for name in recipes},
        seconds=work.clock.seconds,
        panel=work.panel,
        settings=work.settings,
        table_versions=work.table_versions,
        memory=_memory(work, [models[name] for name in recipes]),
        champion_version=work.champion_version,
        **({"decision": None, "evaluation": None, "gate_forecasts": None} | gate),
    )


def _fit(model: Any, panel: pl.DataFrame) -> Any:
    return model.fit(panel)


def _memory(work: Work, networks: list[Any]) -> pl.DataFrame:
    """What each network remembers of the rows before an origin, at most `lookback` of them."""
    back = min(work.settings.lookback - 1, MEMORY_ROWS)
    with work.clock("memory"):
        profiles = [network.memory_profile(work.panel, back, MEMORY_ORIGINS) for network in networks]
    return pl.concat(profiles) if profiles else pl.DataFrame()


def _words(name: str) -> str:
    return "the random walk" if name == RANDOM_WALK else f"the {name}"


class Stopwatch:
    """Wall-clock seconds by name: ``with clock("gate"): …``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str) -> Stopwatch:
        self._name = name
        return self

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self.seconds[self._name] = round(time.perf_counter() - self._since, 3)
