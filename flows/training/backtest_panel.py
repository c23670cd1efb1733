"""Backtest models on a stored panel against the random walk. No decision depends on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from sklearn.base import clone

from tidecast.features.error_text import counted
from tidecast.features.frames import to_polars
from tidecast.flows.config.settings import DRIFT, Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.log import log
from tidecast.flows.training.candidates import CandidateSet, Stopwatch
from tidecast.flows.training.engine import engine_of
from tidecast.flows.training.holdout import Plan, last_before_gate, plan_origins
from tidecast.flows.training.model_panel import model_panel
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.tables.names import AVERAGE

BEFORE_GATE, AT_GATE = "before the gate", "the gate's origins"

LONGEST_FOLD = 252
"""Origins in a fold, at most: a year between two refits."""


@dataclass(frozen=True)
class Backtested:
    """Result of a backtest.

    Attributes
    ----------
    summary : DataFrame
        As `forecasting.evaluate(...).summary`: every score per model, pooled, by step and by series.
    compared : dict of str to DataFrame
        As `forecasting.comparison(...)`, a line per model, by period: the origins before the gate's, and the gate's.
    judged : str
        The origins, and whether the gate's are among them; a sentence.
    """

    summary: pl.DataFrame
    compared: dict[str, pl.DataFrame]
    judged: str


def backtest_panel(
    warehouse: Warehouse, settings: Settings, models: Sequence[str], folds: int, include_gate: bool, seeds: int = 1
) -> Backtested:
    """Backtest models on the stored panel, each refit in every fold.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    models : sequence of str
        As in the setting `models`, and "drift". Empty: those of the settings, and drift. The average is that of the
        others, or, alone, of those of the settings.
    folds : int
        Folds of up to a year's origins each; fewer where half of the history before the gate's origins has fewer.
    include_gate : bool
        Whether to use the newest origins, too, on which the gate tests.
    seeds : int, default=1
        Seeds of each network, 0 and up; with several, a line for each: "GRU/0", "GRU/1".

    Returns
    -------
    Backtested

    Raises
    ------
    TidecastError
        There are no prices, or too few for so many folds.
    """
    as_of = warehouse.newest_session()
    if as_of is None:
        raise TidecastError("There must be prices to backtest on, found none. Start with: tidecast run")
    panel = model_panel(warehouse, settings, as_of)
    names = tuple(dict.fromkeys(models)) or (*settings.models, DRIFT)
    wanted = tuple(name for name in names if name != DRIFT)
    candidates = settings.models if wanted == (AVERAGE,) else wanted
    work = CandidateSet(panel, as_of, settings.model_copy(update={"models": candidates}), log.info, Stopwatch(), {})
    chosen = {name: work.drift if name == DRIFT else work.recipes[name] for name in names}
    plan = plan_origins(panel, settings)
    left_out = 0 if include_gate else plan.gate
    origins = min(folds * LONGEST_FOLD, (plan.possible - left_out) // 2) // folds * folds
    if origins < folds:
        raise TidecastError(
            f"A backtest of {counted(folds, 'fold')} must have {counted(2 * folds, 'origin')} before the gate's, "
            f"this panel has {plan.possible - left_out}. Ask for fewer folds, or wait for more prices."
        )
    through = last_before_gate(panel, plan, settings) if left_out else None
    log.info(f"Forecasting from {counted(origins, 'origin')}, {folds} refits of {', '.join(chosen)} …")
    with engine_of(settings, warehouse.uri):
        run = work.backtest(_with_seeds(chosen, seeds), work.compared(origins, through), origins, folds)
    forecasts = to_polars(run.table)
    evaluation = work.evaluate(forecasts)
    periods = _periods(forecasts, panel, plan, settings.horizon)
    compared = {period: work.compare(of_period, run.seconds) for period, of_period in periods.items()}
    return Backtested(evaluation.summary, compared, _judged(evaluation.losses, plan, include_gate))


def _with_seeds(models: dict[str, Any], seeds: int) -> dict[str, Any]:
    """The models, those that draw at random once for each seed; the average stays that of the first seed."""
    if seeds == 1:
        return models
    found = {}
    for name, model in models.items():
        if not hasattr(model, "random_state"):
            found[name] = model
            continue
        first = model.random_state or 0
        found |= {f"{name}/{seed}": clone(model).set_params(random_state=first + seed) for seed in range(seeds)}
    return found


def _periods(forecasts: pl.DataFrame, panel: pl.DataFrame, plan: Plan, horizon: int) -> dict[str, pl.DataFrame]:
    """Forecasts whose truths all lie before the gate's, and those of the gate's origins; no empty period."""
    if not plan.gate:
        return {BEFORE_GATE: forecasts}
    sessions, origin = panel["time"].unique().sort(), pl.col("origin")
    first = sessions[-plan.gate - horizon]
    periods = {BEFORE_GATE: origin <= sessions[-plan.gate - 2 * horizon], AT_GATE: origin >= first}
    found = {period: forecasts.filter(chosen) for period, chosen in periods.items()}
    return {period: table for period, table in found.items() if len(table)}


def _judged(losses: pl.DataFrame, plan: Plan, include_gate: bool) -> str:
    origins = losses["origin"].unique().sort()
    on = f"{counted(len(origins), 'origin')}, {origins[0]} to {origins[-1]}"
    if not plan.gate:
        return f"{on}; the history is too short for a gate, so no origins had to be left out"
    if include_gate:
        return f"{on}, the gate's {plan.gate} among them: a model chosen on these numbers cannot be evaluated on them"
    return f"{on}; the {plan.gate} newest are the gate's and were not used"
