"""A panel with the recipes that may forecast it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, cast

import polars as pl

from tidecast.features.panel import PanelSchema
from tidecast.flows.config.settings import DRIFT, Settings
from tidecast.flows.training.compared_series import compared_series, newest_rows
from tidecast.flows.training.holdout import folds_of
from tidecast.flows.training.stored_panel import StoredPanel
from tidecast.forecasting.backtesting.backtest import BacktestRun, run_backtest
from tidecast.forecasting.backtesting.fold_by_fold import Costs, FoldForecasts, backtest_by_fold
from tidecast.forecasting.evaluation.comparison import comparison
from tidecast.forecasting.evaluation.metrics import Evaluation, RunningEvaluation, evaluate
from tidecast.forecasting.forecasters.average import Average
from tidecast.forecasting.forecasters.baselines import Drift, RandomWalk
from tidecast.forecasting.forecasters.recurrent import FORECASTERS
from tidecast.forecasting.forecasters.seasonal_regression import SeasonalRegression
from tidecast.forecasting.forecasters.volatility_regression import VolatilityRegression
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.panel.seasonal_target import has_seasons
from tidecast.forecasting.saving.recipes import decode
from tidecast.forecasting.tables.names import AVERAGE, RANDOM_WALK, SEASONAL_REGRESSION, VOLATILITY_REGRESSION

NETWORKS = {cell.name: FORECASTERS[key] for key, cell in CELLS.items()}
"""Forecaster classes by the names that the setting `models` has for their cells."""

COMMON = ("horizon", "quantiles", "target", "schema")
"""Settings that recipes must share to be compared."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class TunedRecipe:
    """Result of a search for settings.

    Attributes
    ----------
    as_of : date
        The session of the search.
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


def recipes_of(settings: Settings, seasonal: bool = False) -> dict[str, Any]:
    """Return the models to choose from by name, unfitted, with their default settings.

    Parameters
    ----------
    settings : Settings
        `models` names them. The average is that of all others.
    seasonal : bool, default=False
        Whether the panel has seasons. The `SeasonalRegression` then stands beside the `VolatilityRegression`, and for
        it in the average: the last price is a poor median for such a panel.

    Returns
    -------
    dict of str to forecaster
    """
    shared = _shared(settings)
    epochs: dict[str, Any] = {} if settings.max_epochs is None else {"max_epochs": settings.max_epochs}
    kinds = {name: partial(kind, **epochs) for name, kind in NETWORKS.items()}
    kinds |= {VOLATILITY_REGRESSION: partial(VolatilityRegression), SEASONAL_REGRESSION: partial(SeasonalRegression)}
    names = [name for name in settings.models if name != AVERAGE]
    if joins := seasonal and VOLATILITY_REGRESSION in names and SEASONAL_REGRESSION not in names:
        names.append(SEASONAL_REGRESSION)
    found: dict[str, Any] = {name: kinds[name](**shared) for name in names}
    members = [model for name, model in found.items() if not joins or name != VOLATILITY_REGRESSION]
    return found | ({AVERAGE: Average(members)} if AVERAGE in settings.models else {})


def _shared(settings: Settings) -> dict[str, Any]:
    """Arguments that all models of a panel share."""
    return {
        "horizon": settings.horizon, "lookback": settings.lookback, "quantiles": settings.quantiles,
        "schema": PanelSchema(
            covariates=settings.covariates, future=settings.future_covariates, static=settings.static,
            positive=settings.positive, calendar=settings.calendar,
        ).with_events(*settings.event_kinds),
    }  # fmt: skip


class CandidateSet:
    """A panel with the recipes that may forecast it.

    Parameters
    ----------
    panel : polars.DataFrame
        Prices known at `as_of`.
    as_of : date
    settings : Settings
    say : callable
        Called with one line of progress.
    clock : Stopwatch
    versions : dict of str to int
        Versions of the tables that were read.
    champion_version : str
        Registered version of the champion; empty without one.
    stored : StoredPanel, optional
        The panel in the tables, for workers that see no folder of this machine.
    """

    def __init__(
        self, panel: pl.DataFrame, as_of: date, settings: Settings, say: Say, clock: Stopwatch,
        versions: dict[str, int], champion_version: str = "", stored: StoredPanel | None = None,
    ) -> None:  # fmt: skip
        self.panel, self.as_of, self.settings = panel, as_of, settings
        self.say, self.clock, self.table_versions = say, clock, versions
        self.champion_version, self.stored = champion_version, stored
        shared = _shared(settings)
        self.recipes = recipes_of(settings, has_seasons(panel, "close", shared["schema"]))
        self.random_walk, self.drift = RandomWalk(**shared), Drift(**shared)

    def consider(self, found: TunedRecipe, newest: date) -> None:
        """Add the result of a search to the recipes, unless it cannot be a candidate; then say why.

        Parameters
        ----------
        found : TunedRecipe
        newest : date
            The last session that the selection uses. The search must not have seen a later one.
        """
        own = next(iter(self.recipes.values())).recipe()["settings"]
        model = decode(found.recipe)
        recipe = model.recipe()  # as written today; earlier versions used other names of classes
        others = [name for name in COMMON if recipe["settings"][name] != own[name]]
        if found.looked_through > newest:
            why = f"the search saw prices up to {found.looked_through}, and the gate begins on {newest}"
        elif others:
            why = f"it has another {' and '.join(others)}"
        elif any(recipe == other.recipe() for other in self.recipes.values()):
            why = "it is one of the defaults"
        else:
            self.recipes[found.name] = model
            return
        self.say(f"The recipe that was tuned on {found.as_of} is not a candidate: {why}.")

    def backtest(self, models: dict[str, Any], panel: pl.DataFrame, origins: int, folds: int) -> BacktestRun:
        """Forecast with models, refit in each fold, from the panel's newest origins.

        Parameters
        ----------
        models : dict of str to forecaster
        panel : polars.DataFrame
            As from `compared`.
        origins : int
            Origins in all folds together.
        folds : int

        Returns
        -------
        BacktestRun
        """
        cv = folds_of(origins, self.settings.horizon, folds)
        return run_backtest(models, panel, cv, n_jobs=self.settings.n_jobs, on_fit=partial(self._say_fit, folds))

    def backtest_by_fold(
        self, models: dict[str, Any], panel: pl.DataFrame, origins: int, folds: int,
        take: Callable[[FoldForecasts], None],
    ) -> Costs:  # fmt: skip
        """Do what `backtest` does, and hand over each fold instead of keeping all.

        Parameters
        ----------
        models, panel, origins, folds
            As for `backtest`.
        take : callable
            Called with each fold, the oldest first.

        Returns
        -------
        Costs
        """
        cv = folds_of(origins, self.settings.horizon, folds)
        said = partial(self._say_fit, folds)
        return backtest_by_fold(models, panel, cv, take, n_jobs=self.settings.n_jobs, on_fit=said)

    def compared(self, origins: int, through: date | None = None) -> pl.DataFrame:
        """Return the rows of the series that models are compared on, and say so if they are a sample.

        Parameters
        ----------
        origins : int
            Origins in all folds together.
        through : date, optional
            The last session to compare on. None: the panel's.
        """
        n_series = newest_rows(self.panel, through).height
        panel = compared_series(self.panel, origins, self.settings.horizon, through)
        if (compared := panel["series_id"].n_unique()) < n_series:
            self.say(f"  on {compared:,} of {n_series:,} series, drawn by name; docs/decisions.md says why")
        return panel

    def _say_fit(self, folds: int, name: str, fold: int) -> None:
        if name not in (RANDOM_WALK, DRIFT):  # those take no time
            self.say(f"  {name}, fold {fold} of {folds}")

    def running_evaluation(self, compared: pl.DataFrame, keep_losses: bool = True) -> RunningEvaluation:
        """Begin an evaluation that takes one fold after the other.

        Parameters
        ----------
        compared : polars.DataFrame
            The panel that is forecast.
        keep_losses : bool, default=True
        """
        return RunningEvaluation(self._prices_of(compared), "close", self.settings.positive, keep_losses)

    def evaluate(self, forecasts: pl.DataFrame) -> Evaluation:
        """Return the scores of backtest forecasts.

        Parameters
        ----------
        forecasts : polars.DataFrame
            The table that `backtest` returns.
        """
        return evaluate(forecasts, self._prices_of(forecasts), positive=self.settings.positive)

    def compare(self, forecasts: pl.DataFrame, seconds: dict[str, float]) -> pl.DataFrame:
        """Return a line per model of backtest forecasts.

        Parameters
        ----------
        forecasts : polars.DataFrame
        seconds : dict of str to float
            As `backtest` returns them.
        """
        prices = self._prices_of(forecasts)
        found = comparison(forecasts, prices, positive=self.settings.positive, seconds=seconds)
        return cast("pl.DataFrame", found)

    def _prices_of(self, table: pl.DataFrame) -> pl.DataFrame:
        """The panel's rows of the series in a table."""
        return self.panel.filter(pl.col("series_id").is_in(table["series_id"].unique().implode()))


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
