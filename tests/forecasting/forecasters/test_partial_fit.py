"""Going on with training: what is new is learned, what is settled stays, and nothing is half taken."""

import pickle
from datetime import timedelta

import polars as pl
import pytest
from sklearn.base import clone

from tidecast.features import PanelSchema
from tidecast.forecasting import (
    GRUForecaster,
    MinGRUForecaster,
    RandomWalk,
    SLSTMForecaster,
    VolatilityRegression,
    evaluate,
    load_forecaster,
)

NETWORK = {"lookback": 16, "horizon": 2, "hidden_size": 4, "max_epochs": 1, "learning_rate": 5e-2, "batch_size": 8}
NETWORKS = {kind.__name__: kind(**NETWORK) for kind in (GRUForecaster, SLSTMForecaster)}
NETWORKS["MinGRUForecaster"] = MinGRUForecaster(**NETWORK, kernel_size=3)
BASELINES = {kind.__name__: kind(lookback=16, horizon=2) for kind in (RandomWalk, VolatilityRegression)}

every_network = pytest.mark.parametrize("name", NETWORKS)
every = pytest.mark.parametrize("name", NETWORKS | BASELINES)


@pytest.fixture(scope="module")
def cut(breathing):
    return breathing["time"].unique().sort()[-60]


@pytest.fixture(scope="module")
def fitted(breathing, cut):
    past = breathing.filter(pl.col("time") <= cut)
    return {name: clone(model).fit(past) for name, model in (NETWORKS | BASELINES).items()}


@pytest.fixture
def model(name, fitted):
    """A copy, to learn further."""
    return pickle.loads(pickle.dumps(fitted[name]))


def settled(model):
    """All that was estimated in `fit` but the network's weights, and what is kept of the panel."""
    changing = ("network.", "state.", "stream.", "standing.")
    return {name: value for name, value in model._learned().items() if not name.startswith(changing)}


# ------------------------------------------------------------------ what is learned
@every_network
def test_a_changed_market_is_learned_and_forecast_better_afterwards(name, make_breathing_panel):
    """Shocks of one size first; then loud and quiet weeks by turns, which the volatility alone sees too late."""
    day = pl.int_range(pl.len()).over("series_id")
    returns = pl.col("close").log().diff().over("series_id").fill_null(0.0)
    even = pl.when((day < 160) & (day // 5 % 2 == 0)).then(0.2 * returns).otherwise(returns)
    panel = make_breathing_panel(n_series=16).with_columns(close=even.cum_sum().over("series_id").exp())
    days = panel["time"].unique().sort()
    model = clone(NETWORKS[name]).set_params(lookback=32, learning_rate=0.3)
    model.fit(panel.filter(pl.col("time") <= days[159]))

    def loss(origins):
        return evaluate(model.predict(panel, origins=origins.to_list()), panel).losses["crps"].mean()

    learned, later = days[160:238], days[240:318]
    before = loss(learned), loss(later)
    model.partial_fit(panel.filter(pl.col("time") <= days[239]), epochs=8)
    assert loss(learned) < 0.98 * before[0]
    assert loss(later) < 0.995 * before[1]


@every
def test_what_is_settled_stays_and_what_has_been_seen_moves_on(name, model, breathing, cut):
    before, old_network = settled(model), getattr(model, "_network", None)
    old = pickle.dumps(old_network)
    assert model.partial_fit(breathing, epochs=2) is model
    assert settled(model).keys() == before.keys()
    assert all(settled(model)[name].equal(value) for name, value in before.items())
    assert model.fit_end_ == breathing["time"].max()
    assert model.predict().equals(model.predict(breathing))
    assert pickle.dumps(old_network) == old  # a copy was trained
    if name in NETWORKS:
        assert model.learning_curve_["epoch"].to_list() == [0, 1, 2, 3]
        assert model.learning_curve_["validation_loss"].is_null().to_list() == [False, False, True, True]
        assert "; 2 more on newer rows" in model.summary()
        assert any((a != b).any() for a, b in zip(model._network.parameters(), old_network.parameters(), strict=True))


@every
def test_unfitted_it_is_fit_to_the_bit(name, breathing, cut, fitted):
    found = clone((NETWORKS | BASELINES)[name]).partial_fit(breathing.filter(pl.col("time") <= cut), epochs=3)
    assert all(value.equal(fitted[name]._learned()[key]) for key, value in found._learned().items())


@every
def test_the_same_seed_gives_the_same_bits_in_any_order_of_rows(name, model, fitted, breathing):
    other = pickle.loads(pickle.dumps(fitted[name]))
    mixed = breathing.sample(fraction=1, shuffle=True, seed=1).with_columns(pl.col("series_id").cast(pl.Categorical))
    assert model.partial_fit(breathing).predict().equals(other.partial_fit(mixed).predict())


def test_only_targets_after_the_end_of_fit_are_learned(breathing, cut, fitted):
    """A weight of nought at all origins with a newer target leaves nothing, at all others changes nothing."""
    sessions = breathing["time"].unique().sort()
    first = sessions[sessions.index_of(cut) - 1]  # whose second step is the first new session
    new, one_late = (breathing["time"] >= first).cast(int).to_numpy(), (breathing["time"] < first).cast(int).to_numpy()
    whole, weighted, none = (pickle.loads(pickle.dumps(fitted["GRUForecaster"])) for _ in range(3))
    whole.partial_fit(breathing)
    weighted.partial_fit(breathing, sample_weight=new)
    assert weighted.predict().equals(whole.predict())
    expected = none.predict()
    with pytest.raises(ValueError, match="an origin must have a target newer than fit_end_"):
        none.partial_fit(breathing, sample_weight=one_late)
    assert none.predict().equals(expected)
    assert len(none.learning_curve_) == 2


def test_weights_are_followed(breathing, fitted):
    plain, weighted = (pickle.loads(pickle.dumps(fitted["GRUForecaster"])) for _ in range(2))
    weight = (breathing["series_id"] == "A").cast(float)
    assert not weighted.partial_fit(breathing, sample_weight=weight).predict().equals(
        plain.partial_fit(breathing).predict()
    )  # fmt: skip


@every
def test_the_newest_rows_with_lookback_rows_before_them_are_enough(name, model, breathing, cut):
    history = breathing.filter(pl.col("time") <= cut).group_by("series_id").tail(16)
    newer = breathing.filter(pl.col("time") > cut)
    model.update(newer.filter(pl.col("time") <= cut + timedelta(days=7)))  # taken in before, learned from now
    recent = pl.concat([history, newer])
    model.partial_fit(recent.to_pandas())
    assert model.predict().equals(model.predict(recent))


@every
def test_saved_and_loaded_it_is_the_same_and_continues(name, model, breathing, cut, tmp_path):
    days = breathing["time"].unique().sort()
    model.partial_fit(breathing.filter(pl.col("time") <= days[-10]))
    model.save(tmp_path / "model")
    back = load_forecaster(tmp_path / "model")
    assert back.fit_end_ == model.fit_end_
    assert back.predict().equals(model.predict())
    for way in (back, model):
        way.update(breathing.filter(pl.col("time") > days[-10]))
    assert back.predict().equals(model.predict())
    assert back.partial_fit(breathing).predict().equals(model.partial_fit(breathing).predict())


def test_a_series_that_is_new_is_learned_from_too(breathing, cut, fitted):
    model = pickle.loads(pickle.dumps(fitted["GRUForecaster"]))
    late = breathing.filter(pl.col("time") > cut, series_id="A").with_columns(series_id=pl.lit("new"))
    model.partial_fit(pl.concat([breathing, late]))
    assert "new" in model.predict()["series_id"]


# ------------------------------------------------------------------ refusals
@every
def test_impossible_calls_are_refused_and_change_nothing(name, model, breathing, cut):
    expected = model.predict()
    past, newer = breathing.filter(pl.col("time") <= cut), breathing.filter(pl.col("time") > cut)
    bare = pl.concat([past.group_by("series_id").tail(16).filter(pl.col("series_id") != "C"), newer])
    numbered = breathing.with_columns(series_id=pl.lit(1))[:320]
    for panel, epochs, message in (
        (past, 1, f"must have rows newer than fit_end_ = {cut} .* found rows up to {cut}"),
        (bare, 1, r"known series need at least lookback = 16 rows .* 1 of 4 have fewer: 'C'"),
        (breathing, 0, "epochs must be at least 1"),
        (numbered, 1, "'series_id' must hold String as in fit"),
        (breathing.with_columns(close=-1.0), 1, "must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(panel, epochs=epochs)
        assert model.predict().equals(expected)
        assert model.fit_end_ == cut


def test_a_panel_that_ends_before_what_was_taken_in_is_refused(breathing, cut, fitted):
    model = pickle.loads(pickle.dumps(fitted["RandomWalk"])).update(breathing.filter(pl.col("time") > cut))
    short = breathing.filter(pl.col("time") < breathing["time"].max())
    with pytest.raises(ValueError, match="reach the newest row seen"):
        model.partial_fit(short)


def test_prices_below_zero_and_covariates_continue_as_well(breathing, cut):
    shifted = breathing.with_columns(close=pl.col("close") - 1.0, news=pl.int_range(pl.len()) % 7)
    model = clone(NETWORKS["GRUForecaster"]).set_params(schema=PanelSchema(positive=False, covariates=("news",)))
    model.fit(shifted.filter(pl.col("time") <= cut)).partial_fit(shifted)
    assert model.predict().equals(model.predict(shifted))


def test_dropout_draws_the_same_again(breathing, cut):
    model = clone(NETWORKS["GRUForecaster"]).set_params(num_layers=2, dropout=0.3)
    model.fit(breathing.filter(pl.col("time") <= cut))
    other = pickle.loads(pickle.dumps(model))
    assert model.partial_fit(breathing).predict().equals(other.partial_fit(breathing).predict())
