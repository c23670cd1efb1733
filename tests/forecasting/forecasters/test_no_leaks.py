"""Nothing that is fitted or forecast depends on what comes later."""

from datetime import date

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from tests.forecasting.models import FORECASTERS, NETWORK, NETWORKS, REGRESSIONS, each_kind, every, every_network
from tidecast.features import LogReturn, PanelCalendar, PanelSchema, assert_causal, get_calendar
from tidecast.forecasting import GRUForecaster, RandomWalk, RollingOrigin, backtest
from tidecast.forecasting.panel.flat_panel import panel_rows
from tidecast.forecasting.panel.holdout import holdout_of


def cuts_of(panel, lookback=16, horizon=5):
    """The times at which the training part, the validation part and the panel end."""
    rows = panel_rows(panel, True, "close", PanelCalendar(get_calendar("weekdays")), lookback)
    holdout = holdout_of(panel["time"].filter(pl.Series(rows.ready.numpy())), horizon)
    return [holdout.train, holdout.validation, holdout.calibration]


def tripled_after(panel, time):
    """The panel with every price after `time` multiplied by 3: one jump, and a different level."""
    return panel.with_columns(close=pl.col("close") * pl.when(pl.col("time") > time).then(3.0).otherwise(1.0))


def learned(model, *names):
    return {key: value for key, value in model._learned().items() if key.startswith(names)}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    assert one
    assert all(torch.equal(one[key], other[key]) for key in one)


@every
def test_forecasts_do_not_depend_on_later_rows(name, breathing):
    assert_causal(FORECASTERS[name], breathing)


@each_kind
def test_forecasts_of_an_untidy_panel_do_not_depend_on_later_rows(name, untidy_panel):
    assert_causal(FORECASTERS[name], untidy_panel)


def test_a_pipeline_and_its_features_are_causal_too(breathing):
    model = clone(FORECASTERS["GRUForecaster"]).set_params(schema=PanelSchema(covariates=("log_return_1",)))
    assert_causal(make_pipeline(LogReturn(), model), breathing.to_pandas())


@every
def test_base_quantiles_and_scalers_stem_from_the_training_part_alone(name, breathing):
    train_end, validation_end, _ = cuts_of(breathing)
    end = validation_end if name in REGRESSIONS else train_end  # no validation rows stop a closed form
    model = clone(FORECASTERS[name]).fit(breathing)
    other = clone(FORECASTERS[name]).fit(tripled_after(breathing, end))
    assert_same_bits(learned(model, "base", "input_"), learned(other, "base", "input_"))
    assert not torch.equal(model._learned()["offsets"], other._learned()["offsets"])  # these do change


@every_network
def test_training_stops_on_rows_before_those_that_calibrate(name, breathing):
    train_end, validation_end, _ = cuts_of(breathing)
    model = clone(NETWORKS[name]).fit(breathing)
    later = clone(NETWORKS[name]).fit(tripled_after(breathing, validation_end))
    assert_same_bits(learned(model, "base", "input_", "network."), learned(later, "base", "input_", "network."))
    assert later.learning_curve_.equals(model.learning_curve_)
    earlier = clone(NETWORKS[name]).fit(tripled_after(breathing, train_end))
    assert earlier.learning_curve_["train_loss"][1] == model.learning_curve_["train_loss"][1]
    assert earlier.learning_curve_["validation_loss"][1] != model.learning_curve_["validation_loss"][1]


@each_kind
def test_a_fold_knows_nothing_after_its_cut_and_its_forecasts_nothing_after_their_origins(name, breathing):
    cv = RollingOrigin(n_splits=2, horizon=5, stride=20)
    fold = cv.folds(breathing)[0]
    model = clone(FORECASTERS[name])

    def first_fold(panel):
        return backtest({"model": model}, panel, cv).filter(fold=1)

    expected = first_fold(breathing)
    assert first_fold(tripled_after(breathing, fold.last_origin)).equals(expected)
    after_the_cut = first_fold(tripled_after(breathing, fold.train_end))
    at_the_cut = pl.col("origin") == fold.train_end
    assert after_the_cut.filter(at_the_cut).equals(expected.filter(at_the_cut))
    assert not after_the_cut.equals(expected)


@every
def test_predict_changes_nothing_that_was_fitted(name, breathing):
    past = breathing.filter(pl.col("time") <= breathing["time"][250])
    model = clone(FORECASTERS[name]).fit(past)
    before, table = {key: value.clone() for key, value in model._learned().items()}, model.predict()
    model.predict(breathing, origins="all")
    model.score(breathing)
    assert_same_bits(before, model._learned())
    assert model.predict().equals(table)


def days_of(n_sessions):
    return pl.date_range(date(2020, 1, 1), date(2025, 1, 1), eager=True)[:n_sessions]


@pytest.mark.parametrize("n_sessions", [25, 40, 150, 1000])
def test_the_parts_of_the_training_rows_are_80_10_and_10_per_cent_of_the_sessions(n_sessions):
    days = days_of(n_sessions)
    holdout = holdout_of(days.append(days), horizon=5)
    assert days[20] <= holdout.train < holdout.validation < holdout.calibration == days_of(n_sessions)[-1]
    ends = [(day - date(2019, 12, 31)).days for day in (holdout.train, holdout.validation, holdout.calibration)]
    assert np.allclose(np.diff([0, *ends]) / n_sessions, [0.8, 0.1, 0.1], atol=1.5 / n_sessions)


def test_nothing_is_kept_back_of_fewer_sessions_than_four_horizons_need():
    holdout = holdout_of(days_of(24), horizon=5)
    assert holdout.train == holdout.validation == holdout.calibration == days_of(24)[-1]


def test_a_short_history_is_trained_on_whole(breathing):
    short = breathing.group_by("series_id", maintain_order=True).head(36)
    model = GRUForecaster(**NETWORK).fit(short)
    assert model.learning_curve_["validation_loss"].null_count() == 1
    assert (model._learned()["offsets"] == 0).all()


def test_an_inner_cut_does_not_move_with_series_that_are_not_ready(breathing):
    newcomer = breathing.filter(series_id="A").tail(10).with_columns(series_id=pl.lit("Z"))
    schema = PanelSchema(calendar="weekdays")
    alone = RandomWalk(lookback=16, schema=schema).fit(breathing)
    joined = RandomWalk(lookback=16, schema=schema).fit(pl.concat([breathing, newcomer]))
    assert_same_bits(learned(alone, "base", "offsets"), learned(joined, "base", "offsets"))
    assert joined.skipped_ == ("Z",)
