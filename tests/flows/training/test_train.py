"""What a training selects, tests and leaves, on panels where the truth is known."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.training.candidates import recipes_of
from tidecast.flows.training.holdout import plan_origins
from tidecast.flows.training.result import TrainingResult
from tidecast.flows.training.train import train
from tidecast.forecasting.backtesting.fold_by_fold import backtest_by_fold
from tidecast.forecasting.evaluation.gate_policy import GatePolicy
from tidecast.forecasting.forecasters.baselines import RandomWalk
from tidecast.forecasting.forecasters.recurrent import LSTMForecaster

SETTINGS = Settings(
    calendar="weekdays", horizon=2, lookback=16, quantiles=(0.1, 0.5, 0.9), models=("RNN", "GRU"), max_epochs=1,
    n_jobs=1, gate=GatePolicy(max_origins=130, min_origins=120),
)  # fmt: skip


@dataclass(frozen=True)
class Published:
    """As much of a champion as training looks at."""

    name: str
    recipe: dict[str, Any]
    version: str = "4"


def trained(panel, settings: Settings = SETTINGS, champion: Any = None, gate_due: bool = True) -> TrainingResult:
    return train(panel, panel["time"].max(), settings, champion, gate_due, lambda text: None, {"prices": 3})


@pytest.fixture(scope="module")
def walks(random_walks):
    return random_walks(n_series=3, n_rows=600)


@pytest.fixture(scope="module")
def first(walks) -> TrainingResult:
    return trained(walks)


def calm_and_wild(n_rows: int, n_series: int = 4) -> pl.DataFrame:
    """Ten sessions of 0.3 %, ten of 3 %, and so on: the past shows the volatility of tomorrow."""
    generator = np.random.default_rng(3)
    days = pl.date_range(date(2015, 1, 1), date(2024, 1, 1), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_rows)
    scale = np.where(np.arange(n_rows) // 10 % 2, 0.03, 0.003)
    series = [
        pl.DataFrame({"series_id": name, "time": days, "close": 100 * np.exp((scale * noise).cumsum())})
        for name, noise in zip("ABCD", generator.standard_normal((n_series, n_rows)), strict=False)
    ]
    return pl.concat(series)


def test_years_can_be_origins():
    """Once, each year was a pause, and no row had a history."""
    years = pl.date_range(date(1900, 12, 31), date(1999, 12, 31), "1y", eager=True)
    prices = 100 * np.exp(np.random.default_rng(0).normal(0, 0.1, 100).cumsum())
    panel = pl.DataFrame({"series_id": "A", "time": years, "close": prices})
    assert plan_origins(panel, SETTINGS.model_copy(update={"calendar": "yearly last"})).possible == 100 - 15 - 4


def test_origins_are_planned_by_hand(walks):
    plan = plan_origins(walks, SETTINGS)
    assert plan.possible == 600 - 15 - 4  # sessions with 16 rows up to them, less two horizons
    assert plan.gate == 130  # a third of them is 193: more than the policy asks for
    assert plan.selection == (581 - 130) // 2 // 2 * 2 == 224


def test_a_gate_tests_on_504_to_1260_origins_as_history_allows_and_never_refits_more_than_three_times(random_walks):
    whole = random_walks(n_series=1, n_rows=3900)
    sessions = whole["time"].unique().sort()
    plans = {}
    for n_rows in (800, 1530, 2700, 3900):
        rows = whole.filter(pl.col("time") <= sessions[n_rows - 1])
        plan = plan_origins(rows, SETTINGS.model_copy(update={"gate": GatePolicy()}))
        plans[n_rows] = (plan.gate, plan.gate_folds, plan.selection)
    assert plans == {800: (260, 2, 260), 1530: (502, 2, 504), 2700: (891, 3, 504), 3900: (1260, 3, 504)}


def test_sessions_count_only_where_something_can_be_learned(walks):
    pegged = walks.filter(pl.col("series_id") == "A").with_columns(close=pl.lit(7.5))
    sessions = walks["time"].unique().sort()
    young = walks.filter((pl.col("series_id") == "B") & (pl.col("time") > sessions[299]))
    assert plan_origins(pl.concat([pegged, young]), SETTINGS).possible == 300 - 15 - 4
    training = trained(pegged)
    assert (training.winner, training.decision) == ("random_walk", None)
    assert training.reason == "There is no series that moves: the random walk stays."


def test_a_random_walk_is_published_as_a_random_walk(first):
    assert (first.winner, first.outcome) == ("random_walk", "first")
    assert isinstance(first.model, RandomWalk)
    assert not first.decision.promoted
    assert first.decision.n_origins == 130


def test_a_gate_on_a_sample_of_series_once_did_not_say_so(first, random_walks, monkeypatch):
    assert "sample" not in first.reason
    monkeypatch.setattr("tidecast.flows.training.compared_series.MOST_FORECASTS", 1)
    monkeypatch.setattr("tidecast.flows.training.compared_series.FEWEST_SERIES", 2)
    settings = SETTINGS.model_copy(update={"models": ("volatility_regression",)})
    training = trained(random_walks(n_series=3, n_rows=600), settings)
    assert training.reason.endswith("Compared on 2 of 3 series, a sample drawn by name.")
    assert training.evaluation.losses["series_id"].n_unique() == 2


def test_no_target_of_the_selection_is_one_of_the_gate(walks, monkeypatch):
    backtested = []
    monkeypatch.setattr(
        "tidecast.flows.training.candidates.backtest_by_fold",
        lambda *a, **k: backtested.append(a[1]) or backtest_by_fold(*a, **k),
    )
    training = trained(walks)
    first_origin_of_the_gate = training.evaluation.losses["origin"].min()
    for_selection, for_gate = backtested
    assert for_selection["time"].max() <= first_origin_of_the_gate
    assert for_gate["time"].max() == walks["time"].max()


def test_every_fit_of_a_network_is_reported(walks):
    lines = []
    train(walks, walks["time"].max(), SETTINGS, None, True, lines.append)
    selection = lines[1 : lines.index(next(line for line in lines if line.startswith("Testing")))]
    assert sorted(selection) == [f"  {name}, fold {fold} of 2" for name in ("GRU", "RNN") for fold in (1, 2)]


def test_the_selection_ranks_every_recipe(first):
    assert first.selection["origins"].unique().to_list() == [224]
    assert set(first.selection["model"]) == {"RNN", "GRU", "random_walk"}


def test_the_gate_tests_one_candidate_once(first):
    models = set(first.evaluation.losses["model"])
    assert models - {"random_walk", "drift"} == {first.decision.candidate}
    assert first.decision.last_origin == first.panel["time"].unique().sort()[-1 - SETTINGS.horizon]


def test_every_recipe_leaves_its_learning_curve(first):
    assert set(first.learning_curves) == {"RNN", "GRU"}
    assert first.learning_curves["GRU"]["epoch"].to_list() == [0, 1]


def test_too_little_history_leaves_the_random_walk(random_walks):
    training = trained(random_walks(n_series=2, n_rows=200))
    assert (training.winner, training.outcome, training.decision) == ("random_walk", "first", None)
    assert "too little history" in training.reason


def test_a_distribution_that_can_be_forecast_is_published_and_refreshed_without_a_test():
    panel = calm_and_wild(n_rows=800)
    settings = SETTINGS.model_copy(update={"models": ("GRU",), "max_epochs": 4})
    training = trained(panel, settings)
    assert (training.winner, training.outcome) == ("GRU", "promoted")
    assert training.decision.distribution_p < 0.01
    assert training.model.predict().equals(training.model.predict())

    champion = Published("GRU", training.model.recipe())
    refreshed = trained(panel, settings, champion, gate_due=False)
    assert (refreshed.winner, refreshed.outcome, refreshed.decision) == ("GRU", "refreshed", None)
    assert refreshed.model.predict().equals(training.model.predict())  # same recipe, same rows

    again = trained(panel, settings, champion)
    assert (again.winner, again.outcome) == ("GRU", "kept")
    assert "GRU was tested again and stays" in again.reason
    assert again.decision.distribution_skill == pytest.approx(
        training.decision.distribution_skill
    )  # same folds, same network


def test_a_champion_stays_when_the_candidate_is_not_better(walks, first):
    champion = Published("random_walk", first.random_walk.recipe())
    training = trained(walks, champion=champion)
    assert (training.winner, training.outcome) == ("random_walk", "kept")


def test_a_network_champion_is_compared_by_its_recipe(walks):
    lstm = LSTMForecaster(horizon=2, lookback=16, quantiles=(0.1, 0.5, 0.9), max_epochs=1, hidden_size=4)
    training = trained(walks, champion=Published("LSTM", lstm.recipe()))
    assert "LSTM" in set(training.evaluation.losses["model"])
    assert (training.winner, training.outcome, training.champion_version) == ("random_walk", "demoted", "4")
    assert "LSTM no longer beats the random walk" in training.reason

    refreshed = trained(walks, champion=Published("LSTM", lstm.recipe()), gate_due=False)
    assert (refreshed.winner, refreshed.outcome) == ("LSTM", "refreshed")
    assert refreshed.model.hidden_size == 4


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda table: table.with_columns(forecast=pl.lit(float("nan"))), "must forecast finite prices"),
        (lambda table: table.with_columns(forecast=pl.col("forecast") * rng()), "fit twice on the same rows"),
    ],
)
def test_a_refresh_that_is_not_finite_or_not_reproducible_is_refused(walks, monkeypatch, predict, words):
    genuine = LSTMForecaster.predict
    monkeypatch.setattr(LSTMForecaster, "predict", lambda self, *a, **k: predict(genuine(self, *a, **k)))
    lstm = LSTMForecaster(horizon=2, lookback=16, quantiles=(0.1, 0.5, 0.9), max_epochs=1, hidden_size=4)
    with pytest.raises(ArithmeticError, match=words):
        trained(walks, champion=Published("LSTM", lstm.recipe()), gate_due=False)


rng = np.random.default_rng(0).uniform


def test_the_regression_and_the_average_compete_and_are_refit_like_networks():
    panel = calm_and_wild(n_rows=700)
    settings = SETTINGS.model_copy(update={"models": ("GRU", "volatility_regression", "average")})
    found = trained(panel, settings)
    assert set(found.selection["model"]) == {"GRU", "volatility_regression", "average", "random_walk"}
    shown = set(found.evaluation.losses["model"])
    assert {"GRU", "volatility_regression", found.decision.candidate} <= shown  # next to the one that is tested
    assert found.decision.candidate != "GRU"  # one epoch of so few rows is no match for them
    assert set(found.learning_curves) == {"GRU"}

    average = recipes_of(settings)["average"]
    again = trained(panel, settings, Published("average", average.recipe()), gate_due=False)
    assert (again.winner, type(again.model).__name__) == ("average", "Average")
    assert again.model.predict().equals(average.fit(panel).predict())


def test_on_a_panel_with_seasons_a_seasonal_regression_competes():
    days = pl.date_range(pl.date(2022, 1, 1), pl.date(2023, 6, 30), eager=True)
    load = 100 + 20 * (days.dt.weekday() > 5).cast(pl.Float64) + np.random.default_rng(0).normal(size=len(days))
    panel = pl.DataFrame({"series_id": "load", "time": days, "close": load})
    settings = SETTINGS.model_copy(update={"models": ("volatility_regression", "average"), "calendar": "24/7"})
    found = trained(panel, settings)
    names = {"volatility_regression", "seasonal_regression", "average", "random_walk"}
    assert set(found.selection["model"]) == names
    assert found.decision.candidate in ("seasonal_regression", "average")
    members = recipes_of(settings, seasonal=True)["average"].members
    assert [type(member).__name__ for member in members] == ["SeasonalRegression"]
    assert [type(member).__name__ for member in recipes_of(settings)["average"].members] == ["VolatilityRegression"]
