"""The average of forecasters: against its members by hand, and through all that a forecaster does."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from tests.forecasting.models import NETWORK, cut_of, values
from tidecast.features import LogReturn, PanelSchema, PanelUnion, ParkinsonVolatility, PriceFeatures, assert_causal
from tidecast.forecasting import (
    Average,
    Drift,
    GRUForecaster,
    LSTMForecaster,
    RandomWalk,
    RollingOrigin,
    SeasonalNaive,
    backtest,
    evaluate,
    load_forecaster,
)

MEMBERS = (
    GRUForecaster(**NETWORK),
    LSTMForecaster(**NETWORK | {"random_state": 1}),
    Drift(lookback=16),
)


@pytest.fixture(scope="module")
def past(breathing):
    return breathing.filter(breathing["time"] <= cut_of(breathing))


@pytest.fixture(scope="module")
def fitted(past):
    return Average(MEMBERS).fit(past)


def by_hand(past, breathing, origins="new"):
    """Geometric mean of the members' tables."""
    tables = [values(clone(member).fit(past).predict(breathing, origins=origins)) for member in MEMBERS]
    return np.exp(np.mean(np.log(tables), axis=0))


def test_it_is_the_geometric_mean_of_its_members_level_by_level(fitted, past, breathing):
    found = fitted.predict(breathing, origins="new")
    assert np.allclose(values(found), by_hand(past, breathing), rtol=1e-12)
    assert (np.diff(values(found), axis=1) > 0).all()


def test_of_differences_it_is_the_arithmetic_mean(breathing):
    schema = PanelSchema(positive=False)
    members = [RandomWalk(lookback=16, schema=schema), SeasonalNaive(lookback=16, schema=schema)]
    found = Average(members).fit(breathing).predict()
    expected = np.mean([values(clone(member).fit(breathing).predict()) for member in members], axis=0)
    assert np.allclose(values(found), expected, rtol=1e-12)


def test_members_fitted_in_processes_of_their_own_give_the_same(fitted, past):
    assert Average(MEMBERS, n_jobs=2).fit(past).predict().equals(fitted.predict())


def test_of_fitted_members_it_equals_one_that_fits_them(fitted, past):
    found = Average.of([clone(member).fit(past) for member in MEMBERS])
    assert found.predict().equals(fitted.predict())
    assert found.recipe() == fitted.recipe()


def test_saved_pickled_and_cloned_it_is_the_same(fitted, past, breathing, tmp_path):
    expected = fitted.predict(breathing, origins="new")
    fitted.save(tmp_path)
    for again in (load_forecaster(tmp_path), Average.load(tmp_path), pickle.loads(pickle.dumps(fitted))):
        assert again.predict(breathing, origins="new").equals(expected)
        assert again.recipe() == fitted.recipe()
    assert clone(fitted).fit(past).predict(breathing, origins="new").equals(expected)


def test_updated_it_forecasts_as_from_the_whole_history_and_copies_stay(fitted, breathing):
    model = copy.copy(fitted)
    before, newer = fitted.predict(), breathing.filter(breathing["time"] > cut_of(breathing))
    found, expected = model.update(newer).predict(), fitted.predict(breathing)
    assert np.allclose(values(found), values(expected), rtol=1e-6)
    assert fitted.predict().equals(before)
    with pytest.raises(ValueError, match="newer"):
        model.update(newer)
    assert model.predict().equals(found)


def test_sampled_paths_have_its_quantiles(fitted, breathing):
    paths = fitted.sample(400, breathing, random_state=0).filter(series_id="A", step=3)["value"]
    table = fitted.predict(breathing).filter(series_id="A", step=3)
    assert np.quantile(paths, 0.9) == pytest.approx(table["q0.9"][0], rel=3e-3)


def test_it_continues_the_training_of_its_members(fitted, breathing):
    model = copy.copy(fitted).partial_fit(breathing)
    assert model.fit_end_ == breathing["time"].max()
    assert not model.predict().equals(fitted.predict(breathing))


def test_it_looks_at_no_row_after_an_origin(breathing):
    assert_causal(Average([GRUForecaster(**NETWORK), Drift(lookback=16)]), breathing)


def test_a_backtest_fits_no_member_twice(past, monkeypatch):
    cv = RollingOrigin(n_splits=2, horizon=5, stride=10)
    average = Average(MEMBERS)
    models = {"gru": MEMBERS[0], "lstm": MEMBERS[1], "drift": MEMBERS[2]}
    apart = backtest({"average": average}, past, cv)
    monkeypatch.setattr(Average, "fit", lambda *_: pytest.fail("its members were fitted already"))
    together = backtest(models | {"average": average}, past, cv)
    assert set(together["model"]) == {*models, "average", "random_walk"}
    found, expected = (table.filter(model="average") for table in (together, apart))
    assert found.select("fold", "series_id", "origin", "step", "time").equals(
        expected.select("fold", "series_id", "origin", "step", "time")
    )
    assert np.allclose(values(found), values(expected), rtol=1e-12)
    assert evaluate(together, past).summary.height


def test_a_feature_that_is_defined_in_a_script_once_stopped_a_backtest(past):
    class OfScript(LogReturn):
        __module__ = "__main__"

    own = GRUForecaster(**NETWORK, features=PanelUnion([PriceFeatures(), OfScript()]))
    models = {"own": own, "average": Average([own, RandomWalk(lookback=16)])}
    table = backtest(models, past, RollingOrigin(n_splits=1, horizon=5, stride=20))
    assert set(table["model"]) == {"own", "average", "random_walk"}


def test_it_needs_the_columns_of_all_members(breathing):
    prices = breathing.with_columns(
        open=breathing["close"], high=1.01 * breathing["close"], low=0.99 * breathing["close"]
    )
    members = [GRUForecaster(**NETWORK, features=ParkinsonVolatility(5)), Drift(lookback=16)]
    model = Average(members).fit(prices)
    assert {"high", "low"} <= set(model.columns_)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "members must be a list of forecasters"),
        (GRUForecaster(), "members must be a list of forecasters"),
        ([GRUForecaster], "must be a forecaster such as"),
        ([RandomWalk(horizon=2), Drift(horizon=3)], "must have the same horizon, got 2, 3"),
        ([RandomWalk(), Drift(schema=PanelSchema(positive=False))], "must have the same schema"),
    ],
)
def test_members_that_cannot_be_averaged_are_refused(members, message, breathing):
    with pytest.raises((TypeError, ValueError), match=message):
        Average(members).fit(breathing)
