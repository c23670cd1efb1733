"""Covariates known ahead and covariates that never change: learned from, asked for, saved."""

import pickle
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from tidecast.features import LogReturn, PanelSchema, assert_causal, with_future
from tidecast.forecasting import (
    GRUForecaster,
    LSTMForecaster,
    MinGRUForecaster,
    RandomWalk,
    RNNForecaster,
    RollingOrigin,
    Training,
    backtest,
    evaluate,
    load_forecaster,
)

NETWORK = {"horizon": 3, "lookback": 16, "hidden_size": 8, "max_epochs": 6, "learning_rate": 2e-2, "batch_size": 4}
SCHEMA = PanelSchema(calendar="weekdays", future=("output",), static=("sector", "size"))
FORECASTERS = {"both": GRUForecaster(**{**NETWORK, "max_epochs": 1}, schema=SCHEMA)}
FORECASTERS["ahead alone"] = LSTMForecaster(
    **{**NETWORK, "max_epochs": 1}, schema=PanelSchema(calendar="weekdays", future=("output", "size"))
)

every = pytest.mark.parametrize("name", FORECASTERS)


@pytest.fixture(scope="module")
def prices(breathing):
    """The output of a session drives its price; sectors drift in opposite directions."""
    generator = np.random.default_rng(0)
    output = generator.standard_normal((4, 320))
    drift = np.array([[0.004], [-0.004], [0.004], [-0.004]])
    returns = drift + 0.01 * output + 0.005 * generator.standard_normal((4, 320))
    return breathing.with_columns(
        close=pl.Series(np.exp(returns.cumsum(axis=1)).ravel()),
        output=pl.Series(output.ravel()),
        sector=pl.col("series_id").replace_strict({"A": "up", "B": "down", "C": "up", "D": "down"}),
        size=pl.col("series_id").replace_strict({"A": 1, "B": 2, "C": 3, "D": 4}),
    )


@pytest.fixture(scope="module")
def times(prices):
    return prices["time"].unique().sort()


@pytest.fixture(scope="module")
def past(prices, times):
    return prices.filter(pl.col("time") <= times[240])


@pytest.fixture(scope="module")
def ahead(prices, times):
    """What is known of the next three sessions."""
    return prices.filter(pl.col("time").is_between(times[241], times[243])).drop("close", "sector")


@pytest.fixture(scope="module")
def fitted(past):
    return {name: clone(model).fit(past) for name, model in FORECASTERS.items()}


def pooled(model, panel, cut):
    """Summary against the random walk over the origins after `cut`, as a dictionary."""
    past = panel.filter(pl.col("time") <= cut)
    walk = RandomWalk(horizon=model.horizon, lookback=16, schema=model.schema)
    tables = {
        name: each.fit(past).predict(panel, origins="new") for name, each in (("network", model), ("random_walk", walk))
    }
    table = pl.concat([table.with_columns(model=pl.lit(name)) for name, table in tables.items()])
    return evaluate(table, panel).summary.filter(group="pooled", model="network").row(0, named=True)


@pytest.mark.parametrize("kind", [RNNForecaster, LSTMForecaster, GRUForecaster, MinGRUForecaster])
def test_what_is_known_ahead_and_drives_the_price_is_used(kind, prices, times):
    found = pooled(kind(**NETWORK, schema=PanelSchema(future=("output",))), prices, times[240])
    assert found["skill"] > 0.2
    assert found["ae_skill"] > 0.2
    assert 0.8 < found["coverage"] < 0.97


@pytest.mark.parametrize("static", ["sector", "tilt"])
def test_what_never_changes_and_sets_how_a_series_moves_is_used(static, prices, times, past):
    def panel(rows, rises):
        sector = pl.when(rises).then(pl.lit("up")).otherwise(pl.lit("down"))
        return rows.with_columns(sector=sector, tilt=rises.cast(pl.Int8) * 7)

    rises = pl.col("series_id").is_in(["A", "C"])
    every_quantile = Training(head="quantile")  # the median of the default head asks for more evidence
    model = GRUForecaster(**NETWORK, schema=PanelSchema(static=(static,)), training=every_quantile)
    model.fit(panel(past, rises))
    up, down = (model.predict(panel(prices, pl.lit(rises)), origins=list(times[241:315])) for rises in (True, False))
    gap = (up["forecast"] / down["forecast"]).log().filter(up["step"] == 1)
    assert gap.mean() > 0.0005  # of the 0.008 that lie between them the history tells a part
    assert (gap > 0).mean() > 0.9


@every
def test_forecasts_ahead_are_the_same_from_the_panel_a_frame_and_what_is_kept(name, fitted, prices, past, times, ahead):
    model, today = fitted[name], times[240]
    expected = model.predict(prices, origins=[today])
    open_ended = pl.concat(
        [past, prices.filter(pl.col("time") > today).with_columns(close=None)], how="vertical_relaxed"
    )
    assert expected.equals(model.predict(past, future=ahead))
    assert expected.equals(model.predict(future=ahead.sample(fraction=1.0, shuffle=True, seed=1)))
    assert expected.equals(model.predict(open_ended))
    assert expected.equals(model.predict(past, future=ahead.to_pandas()))
    in_pandas = model.predict(past.to_pandas(), future=ahead.to_pandas())
    assert np.allclose(in_pandas["forecast"], expected["forecast"], rtol=1e-12, atol=0)
    assert not expected["forecast"].equals(model.predict(future=ahead.with_columns(pl.col("output") + 1))["forecast"])


@every
def test_only_the_sessions_of_the_forecast_count(name, fitted, prices, times):
    model, today = fitted[name], times[240]
    beyond = pl.when(~pl.col("time").is_between(times[241], times[243])).then(99.0).otherwise(pl.col("output"))
    expected = model.predict(prices, origins=[today])
    assert expected.equals(model.predict(prices.with_columns(output=beyond), origins=[today]))


@every
def test_many_origins_are_as_one_by_one(name, fitted, prices, times):
    model = fitted[name]
    together = model.predict(prices, origins=[times[250], times[260]])
    alone = pl.concat([model.predict(prices, origins=[time]) for time in (times[250], times[260])])
    alone = alone.sort("series_id", "origin", "step")
    assert np.allclose(together["forecast"], alone["forecast"], rtol=1e-6)


@every
def test_a_missing_value_counts_as_the_mean(name, fitted, prices, past, times, ahead):
    model = fitted[name]
    mean = past.filter(pl.col("time") <= times[191]).select(pl.col("output").mean()).item()
    with pytest.warns(UserWarning, match="'output' should be known for each session"):  # nobody was told before
        unknown = model.predict(future=ahead.with_columns(output=pl.lit(None, dtype=pl.Float64)))
    usual = model.predict(future=ahead.with_columns(output=pl.lit(mean)))
    assert np.allclose(unknown["forecast"], usual["forecast"], rtol=1e-3)


@every
def test_update_does_not_need_what_lies_ahead(name, fitted, prices, times):
    model = pickle.loads(pickle.dumps(fitted[name]))
    new = prices.filter(pl.col("time").is_between(times[241], times[245]))
    other = pickle.loads(pickle.dumps(model)).update(new.with_columns(output=pl.lit(5.0)))
    ahead = prices.filter(pl.col("time").is_between(times[246], times[248])).drop("close")
    updated = model.update(new).predict(future=ahead)
    whole = model.predict(prices.filter(pl.col("time") <= times[245]), future=ahead)
    assert updated.equals(other.predict(future=ahead))
    assert np.allclose(updated["forecast"], whole["forecast"], rtol=1e-6)


def test_training_continues_with_future_covariates(past, prices, times):
    """An output that has come to work the other way round is learned from newer rows."""
    flipped = prices.with_columns(
        output=pl.when(pl.col("time") > times[240]).then(-pl.col("output")).otherwise("output")
    )
    model = GRUForecaster(**NETWORK, schema=SCHEMA).fit(past)
    stale = model.score(flipped)
    before = model._future_scaler
    model.partial_fit(flipped.filter(pl.col("time") <= times[300]), epochs=20)
    assert model.fit_end_ == times[300]
    assert model._future_scaler is before
    newest = flipped.filter(pl.col("time") > times[300]).drop("close").group_by("series_id").head(3)
    assert model.predict(future=newest)["time"].unique().sort().equals(times[301:304])
    assert model.score(flipped) > stale


@every
def test_saved_loaded_and_pickled_they_forecast_the_same_bits(name, fitted, prices, ahead, tmp_path):
    model = fitted[name]
    model.save(tmp_path)
    for other in (load_forecaster(tmp_path), pickle.loads(pickle.dumps(model))):
        assert other.recipe() == model.recipe()
        assert other.predict(future=ahead).equals(model.predict(future=ahead))
        assert other.predict(prices, origins="new").equals(model.predict(prices, origins="new"))
        assert other.sample(7, random_state=0, future=ahead).equals(model.sample(7, random_state=0, future=ahead))
    assert clone(model).recipe() == model.recipe()


def test_scores_backtests_and_searches_take_later_rows_of_the_panel(fitted, prices, times):
    model = clone(fitted["both"])
    assert np.isfinite(fitted["both"].score(prices))
    table = backtest(model, prices, RollingOrigin(n_splits=2, horizon=3, stride=20))
    assert set(table["model"]) == {"GRUForecaster", "random_walk"}
    search = GridSearchCV(model, {"hidden_size": [4]}, cv=RollingOrigin(n_splits=2, horizon=3, stride=20))
    assert np.isfinite(search.fit(prices).best_score_)


@every
def test_nothing_else_looks_ahead(name, prices):
    assert_causal(FORECASTERS[name], prices.head(1200))


class Cheat(GRUForecaster):
    """Sees tomorrow's price."""

    def _find(self, rows, origins):
        self._tomorrow = rows.frame["close"].shift(-1).fill_null(1.0).to_numpy()
        return super()._find(rows, origins)

    def _origins(self, rows, at):
        found = super()._origins(rows, at)
        if hasattr(self, "_tomorrow"):
            found.price[:] = found.price * 0 + 1 + float(self._tomorrow[at.numpy()].sum())
        return found


def test_a_look_ahead_is_found_next_to_a_declared_one(prices):
    cheat = Cheat(**{**NETWORK, "max_epochs": 0}, schema=SCHEMA)
    with pytest.raises(AssertionError, match="must not depend on later rows"):
        assert_causal(cheat, prices)


def test_what_is_not_known_ahead_is_asked_for(fitted, past, prices, ahead, times):
    model = fitted["both"]
    for ask in (lambda **more: model.predict(past, **more), lambda **more: model.predict(**more)):
        with pytest.raises(ValueError, match=f"'A' at {times[241]} .* Give future="):
            ask()
        with pytest.raises(ValueError, match=f"'C' at {times[241]}"):
            ask(future=ahead.filter(pl.col("series_id") != "C"))
        with pytest.raises(ValueError, match=f"'A' at {times[242]}"):
            ask(future=ahead.filter(pl.col("time") != times[242]))
        with pytest.raises(ValueError, match=r"future: .*'output'"):
            ask(future=ahead.drop("output"))
        with pytest.raises(ValueError, match=r"future: .*found twice"):
            ask(future=pl.concat([ahead, ahead]))
        with pytest.raises(ValueError, match=r"future: .*finite"):
            ask(future=ahead.with_columns(output=pl.lit(np.inf)))
    with pytest.raises(ValueError, match="'A' at"):
        model.sample(3)
    with pytest.raises(ValueError, match="schema names none"):
        RandomWalk(lookback=16).fit(past).predict(future=ahead)
    assert len(RandomWalk(lookback=16, schema=SCHEMA).fit(past).predict()) == 20
    saturday = ahead.with_columns(time=date(2019, 12, 7) + pl.duration(days=0))
    with pytest.raises(ValueError, match="session"):
        model.predict(future=saturday.unique("series_id"))


def test_texts_and_categories_are_refused_with_the_line_to_write(past, ahead, fitted):
    """Once, the advice was .cast(pl.Float64), which no category can follow."""
    texts = past.with_columns(mood=pl.lit("calm"))
    with pytest.raises(ValueError, match=r"'mood' must hold numbers or categories, .* with .cast\(pl.Categorical\)"):
        GRUForecaster(lookback=16, schema=PanelSchema(covariates=("mood",))).fit(texts)
    for frame, line in ((ahead, "frame.to_dummies"), (ahead.to_pandas(), "pd.get_dummies")):
        flags = ["x"] * len(frame)
        odd = {name: pl.Series(flags, dtype=pl.Categorical) for name in SCHEMA.future}
        given = frame.with_columns(**odd) if frame is ahead else ahead.with_columns(**odd).to_pandas()
        with pytest.raises(ValueError, match=f"future: .* a future covariate cannot have categories. .*{line}"):
            fitted["both"].predict(past, future=given)


def test_a_hole_in_the_panel_counts_as_missing(fitted, prices, times):
    holed = prices.filter((pl.col("series_id") != "B") | (pl.col("time") != times[242]))
    assert len(fitted["both"].predict(holed, origins=[times[240]])) == 12
    assert np.isfinite(fitted["both"].score(holed))


def test_series_unseen_bring_what_never_changes(fitted, prices, past, times):
    model = pickle.loads(pickle.dumps(fitted["both"]))
    as_a = past.filter(series_id="A").with_columns(series_id=pl.lit("E"))
    unknown = as_a.with_columns(series_id=pl.lit("F"), sector=pl.lit("sideways"))
    ahead = prices.filter(series_id="A").filter(pl.col("time").is_between(times[241], times[243])).drop("close")
    ahead = pl.concat([ahead.with_columns(series_id=pl.lit(name)) for name in "ABCDEF"])
    whole = model.predict(pl.concat([past, as_a, unknown]), future=ahead)
    a, e, f = (whole.filter(series_id=name)["forecast"].to_numpy() for name in "AEF")
    assert np.array_equal(a, e)
    assert not np.array_equal(a, f)
    updated = model.update(pl.concat([as_a, unknown])).predict(future=ahead)
    assert np.allclose(updated["forecast"], whole["forecast"], rtol=1e-6)
    assert model.inputs_[-3:] == ["sector=down", "sector=up", "size"]


def test_what_never_changes_must_not_change(past, ahead):
    model = clone(FORECASTERS["both"])
    changing = pl.when((pl.col("series_id") == "B") & (pl.col("close") > 1)).then(9).otherwise("size")
    with pytest.raises(ValueError, match=r"'size' must be constant within each series.*first 'B'"):
        model.fit(past.with_columns(size=changing))
    with pytest.raises(ValueError, match="'sector' must hold text as in fit"):
        model.fit(past).predict(past.with_columns(sector=1), future=ahead)


def test_schemas_refuse_columns_in_two_groups():
    with pytest.raises(ValueError, match="'size' is in future and in static"):
        PanelSchema(future=("size",), static=("size",))
    with pytest.raises(TypeError, match="future must be a tuple"):
        PanelSchema(future="size")
    with pytest.raises(ValueError, match="'size' is in static and in static"):
        PanelSchema(static=("size", "size"))
    for group in ("covariates", "future", "static"):
        with pytest.raises(ValueError, match="target must not be a covariate, found 'close' among the schema's"):
            GRUForecaster(schema=PanelSchema(**{group: ("close",)})).fit(pl.DataFrame())


def test_without_future_covariates_the_network_is_as_before(past):
    plain, static = PanelSchema(), PanelSchema(static=("size",))
    names = set(GRUForecaster(**NETWORK, schema=plain).fit(past)._network.state_dict())
    assert names == set(GRUForecaster(**NETWORK, features=LogReturn(), schema=static).fit(past)._network.state_dict())
    assert not any("join" in name for name in names)


def test_untrained_it_is_the_random_walk(past, ahead):
    untrained = GRUForecaster(**{**NETWORK, "max_epochs": 0}, schema=SCHEMA).fit(past).predict(future=ahead)
    walk = RandomWalk(horizon=3, lookback=16, schema=SCHEMA).fit(past).predict()
    assert untrained.equals(walk)


def test_a_table_for_all_series_and_all_days_once_needed_available_at(breathing):
    prices = breathing.filter(pl.col("series_id").is_in(["A", "B"]))
    schema = PanelSchema(calendar="weekdays", future=("load",))
    days = pl.date_range(prices["time"].min(), prices["time"].max() + timedelta(days=9), eager=True)
    load = pl.DataFrame({"time": days}).with_columns(load=pl.int_range(pl.len()).sin())
    panel = with_future(prices, load, 3, schema)
    model = GRUForecaster(**{**NETWORK, "max_epochs": 1}, schema=schema).fit(panel)
    assert model.predict(panel.drop("load_ahead"), future=load).equals(model.predict(panel))
