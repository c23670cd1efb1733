"""Backtests: all folds, one table."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

from tidecast.features.frames import like, to_polars
from tidecast.features.panel import PanelSchema, check_panel
from tidecast.forecasting.backtesting.backtest import backtest, timed_backtest
from tidecast.forecasting.backtesting.fold_by_fold import backtest_by_fold
from tidecast.forecasting.evaluation.metrics import evaluate
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.forecasters.baselines import Drift, RandomWalk
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, quantile_columns

CV = RollingOrigin(n_splits=4, horizon=2, stride=5)


class MeanSince(BaseEstimator):
    """Forecasts the mean of its training rows: which rows those were can be read from the forecast."""

    def __init__(self, horizon=2, lookback=5, quantiles=DEFAULT_QUANTILES, target="close", schema=None):
        self.horizon = horizon
        self.lookback = lookback
        self.quantiles = quantiles
        self.target = target
        self.schema = schema

    def fit(self, X, y=None, sample_weight=None):
        panel = check_panel(X, self.schema, self.target)
        self.mean_ = panel[self.target].mean()
        self.fit_end_ = panel["time"].max()
        return self

    def predict(self, X, origins="last"):
        panel = check_panel(X, self.schema, self.target)
        rows = panel.filter(pl.col("time").is_in(pl.Series(origins).cast(panel["time"].dtype).implode()))
        steps = rows.join(pl.DataFrame({"step": range(1, self.horizon + 1)}, {"step": pl.Int32}), how="cross")
        table = steps.select(
            "series_id", "step", origin="time", time=pl.col("time").dt.add_business_days("step"), forecast=self.mean_,
            **dict.fromkeys(quantile_columns(self.quantiles), self.mean_),
        )  # fmt: skip
        first = ["series_id", "origin", "step", "time"]
        return like(table.select(*first, pl.exclude(first)).sort("series_id", "origin", "step"), X)


class Threads(MeanSince):
    """Forecasts how many threads it had."""

    def fit(self, X, y=None, sample_weight=None):
        super().fit(X)
        self.mean_ = float(torch.get_num_threads())
        return self


class Doubled(TransformerMixin, BaseEstimator):
    """Doubles every price."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return like(to_polars(X).with_columns(pl.col("close") * 2), X)


@pytest.fixture(scope="module")
def prices(random_walks):
    return random_walks(n_series=3, n_rows=120)


def test_the_table_has_every_origin_of_every_fold_once_and_the_random_walk(prices):
    table = backtest(MeanSince(), prices, CV)
    assert list(table.columns) == [
        "model", "fold", "series_id", "origin", "step", "time", "forecast", *quantile_columns(DEFAULT_QUANTILES)
    ]  # fmt: skip
    assert table.equals(table.sort("model", "fold", "series_id", "origin", "step"))
    for model in ("MeanSince", "random_walk"):
        for number, fold in enumerate(CV.folds(prices), start=1):
            part = table.filter(model=model, fold=number)
            assert len(part) == 3 * 5 * 2
            assert (part["origin"].min(), part["origin"].max()) == (fold.first_origin, fold.last_origin)
            assert part["time"].max() == fold.end


def test_each_fold_is_fitted_on_the_rows_up_to_its_first_origin(prices):
    table = backtest({"mean": MeanSince()}, prices, CV).filter(model="mean")
    for number, fold in enumerate(CV.folds(prices), start=1):
        known = prices.filter(pl.col("time") <= fold.first_origin)
        assert table.filter(fold=number)["forecast"].unique().to_list() == pytest.approx([known["close"].mean()])


@pytest.mark.parametrize(("refit", "fitted_on"), [(True, [1, 2, 3, 4]), (False, [1, 1, 1, 1]), (2, [1, 1, 3, 3])])
def test_refit_says_on_which_folds_models_are_fitted(prices, refit, fitted_on):
    table = backtest({"mean": MeanSince()}, prices, CV, refit=refit).filter(model="mean")
    every = backtest({"mean": MeanSince()}, prices, CV).filter(model="mean")
    found = [table.filter(fold=number)["forecast"][0] for number in (1, 2, 3, 4)]
    assert found == [every.filter(fold=number)["forecast"][0] for number in fitted_on]
    assert table["origin"].equals(every["origin"])


def test_a_sliding_window_and_a_gap_reach_the_fit(prices):
    cv = RollingOrigin(n_splits=2, horizon=2, stride=5, window="sliding", gap=3)
    table = backtest({"mean": MeanSince()}, prices, cv).filter(model="mean", fold=2)
    fold = cv.folds(prices)[1]
    known = prices.filter(pl.col("time").is_between(fold.train_start, fold.train_end))
    assert known["time"].n_unique() == 120 - 5 * 2 - 2 - 3 + 1
    assert table["forecast"][0] == pytest.approx(known["close"].mean())


def test_the_random_walk_takes_over_the_settings_of_the_first_model(prices):
    levels = (0.1, 0.9)
    model = MeanSince(lookback=30, quantiles=levels, schema=PanelSchema(calendar="weekdays"))
    table = backtest(model, prices, CV).filter(model="random_walk", fold=2).drop("model", "fold")
    fold = CV.folds(prices)[1]
    walk = RandomWalk(horizon=2, lookback=30, quantiles=levels, schema=PanelSchema(calendar="weekdays"))
    walk.fit(prices.filter(pl.col("time") <= fold.first_origin))
    assert table.equals(walk.predict(prices.filter(pl.col("time") <= fold.end), origins="new"))


def test_a_random_walk_given_by_name_is_used_and_no_other_model_may_have_the_name(prices):
    table = backtest({"random_walk": RandomWalk(horizon=2, lookback=5)}, prices, CV)
    assert table["model"].unique().to_list() == ["random_walk"]
    with pytest.raises(ValueError, match="The name 'random_walk' must be the random walk's"):
        backtest({"random_walk": MeanSince()}, prices, CV)


def test_prices_after_a_fold_do_not_change_its_forecasts_to_the_bit(prices):
    models = {"drift": Drift(horizon=2, lookback=20), "mean": MeanSince()}
    fold = CV.folds(prices)[0]
    tripled = pl.when(pl.col("time") > fold.last_origin).then(3 * pl.col("close")).otherwise("close")
    one, other = (backtest(models, p, CV).filter(fold=1) for p in (prices, prices.with_columns(close=tripled)))
    assert one.equals(other)


def test_prices_after_the_training_cut_do_not_change_what_was_fitted(prices):
    fold = CV.folds(prices)[0]
    tripled = pl.when(pl.col("time") > fold.train_end).then(3 * pl.col("close")).otherwise("close")
    one, other = (
        backtest({"mean": MeanSince()}, p, CV, refit=False).filter(model="mean")
        for p in (prices, prices.with_columns(close=tripled))
    )
    assert one["forecast"].equals(other["forecast"])


@pytest.fixture
def two_threads():
    """Torch on two threads, whatever this machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_number_of_processes_does_not_change_a_bit_and_each_has_one_thread(prices, two_threads):
    models = {"drift": Drift(horizon=2, lookback=20), "threads": Threads()}
    calls = []

    def tell(model, fold):
        calls.append((model, fold))

    one, two = (backtest(models, prices, CV, refit=2, n_jobs=n_jobs, on_fit=tell) for n_jobs in (1, 2))
    assert one.equals(two)
    assert set(one.filter(model="threads")["forecast"]) == {1.0}
    assert torch.get_num_threads() == 2
    expected = sorted((name, fold) for name in ("drift", "random_walk", "threads") for fold in (1, 2, 3, 4))
    assert sorted(calls[:12]) == sorted(calls[12:]) == expected


def test_a_pipeline_that_ends_in_a_forecaster_is_a_model(prices):
    pipeline = make_pipeline(Doubled(), MeanSince())
    table = backtest({"plain": MeanSince(), "doubled": pipeline}, prices, CV)
    plain, doubled = (table.filter(model=name)["forecast"] for name in ("plain", "doubled"))
    np.testing.assert_allclose(2 * plain, doubled)
    assert "MeanSince" in backtest(pipeline, prices, CV)["model"].to_list()
    assert not hasattr(pipeline[-1], "mean_")


def test_pandas_gives_pandas_and_the_order_of_rows_does_not_matter(prices):
    expected = backtest(Drift(horizon=2, lookback=20), prices, CV)
    shuffled = prices.sample(fraction=1, shuffle=True, seed=1).to_pandas()
    found = backtest(Drift(horizon=2, lookback=20), shuffled, CV)
    assert type(found) is type(shuffled)
    again = pl.from_pandas(found).with_columns(pl.col("origin", "time").cast(pl.Date))
    assert again.equals(expected.cast(dict(zip(again.columns, again.dtypes, strict=True))))


def test_a_backtest_can_be_evaluated(prices):
    found = evaluate(backtest({"mean": MeanSince()}, prices, CV), prices)
    assert found.summary.filter(group="pooled", model="mean")["n_origins"].item() == 20
    assert found.summary.filter(group="pooled", model="mean")["skill"].item() < 0


def test_models_that_cannot_be_compared_are_refused(prices):
    with pytest.raises(ValueError, match="share their horizon; 'long' has 3, others 2"):
        backtest({"mean": MeanSince(), "long": MeanSince(horizon=3)}, prices, CV)
    with pytest.raises(ValueError, match="share their quantiles"):
        backtest({"mean": MeanSince(), "few": MeanSince(quantiles=(0.1, 0.9))}, prices, CV)
    with pytest.raises(ValueError, match="folds' horizon must be at least the models' 5, got 2"):
        backtest(MeanSince(horizon=5), prices, CV)
    with pytest.raises(TypeError, match="must be forecasters, or Pipelines that end in one; 'doubled' is Doubled"):
        backtest({"doubled": Doubled()}, prices, CV)
    with pytest.raises(ValueError, match="at least one forecaster, got none"):
        backtest({}, prices, CV)


@pytest.mark.parametrize(("refit", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("yes", TypeError)])
def test_an_impossible_refit_is_refused(prices, refit, error):
    with pytest.raises(error, match="refit must be"):
        backtest(MeanSince(), prices, CV, refit=refit)


def test_a_panel_that_is_too_short_is_refused_before_anything_is_fitted(prices):
    with pytest.raises(ValueError, match="need at least 24 sessions"):
        backtest(MeanSince(), prices.filter(pl.col("time") < date(2015, 1, 1) + timedelta(days=20)), CV)
    with pytest.raises(ValueError, match="'time'"):
        backtest(MeanSince(), prices.rename({"time": "Time"}), CV)


def test_the_cost_of_each_model_is_measured_and_the_table_is_the_same(prices):
    models = {"mean": MeanSince(), "drift": Drift(horizon=2, lookback=5)}
    table, seconds = timed_backtest(models, prices, CV)
    assert table.equals(backtest(models, prices, CV))
    assert set(seconds) == {"mean", "drift", "random_walk"}
    assert all(cost > 0 for cost in seconds.values())


# ------------------------------------------------------------- fold by fold
@pytest.mark.parametrize(("refit", "n_jobs"), [(True, 1), (2, 2), (False, 1)])
def test_folds_are_handed_over_oldest_first_and_are_those_of_the_whole_backtest(prices, refit, n_jobs):
    models = {"drift": Drift(horizon=2, lookback=5), "mean": RandomWalk(horizon=2, lookback=5)}
    taken = []
    costs = backtest_by_fold(models, prices, CV, taken.append, refit, n_jobs)
    assert [fold.number for fold in taken] == [1, 2, 3, 4]
    assert set(costs.seconds) == {"drift", "mean", "random_walk"}
    table = pl.concat(fold.table for fold in taken).sort("model", "fold", "series_id", "origin", "step")
    assert table.equals(backtest(models, prices, CV, refit=refit))


def test_an_error_of_whoever_takes_the_folds_ends_the_backtest(prices):
    def refuse(fold):
        raise ArithmeticError(fold.number)

    with pytest.raises(ArithmeticError, match="1"):
        backtest_by_fold(Drift(horizon=2, lookback=5), prices, CV, refuse)
