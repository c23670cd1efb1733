"""Forecast tables of every shape, square ones among them: what is forecast together equals what is forecast alone."""

import itertools

import numpy as np
import polars as pl
import pytest

from tests.conftest import make_random_walks
from tests.forecasting.models import every, model_of
from tidecast.features import PriceFeatures
from tidecast.forecasting.forecasters.sampling import sample_table
from tidecast.forecasting.panel.origins import Origins
from tidecast.forecasting.tables.check import check_finite, check_forecasts, quantiles_by_level

RANDOM = np.random.default_rng(20)
SHAPES = [
    (1, 3, 3),
    (3, 1, 3),
    (5, 1, 5),
    (1, 5, 5),
    (2, 3, 6),
    (6, 1, 5),
]  # series, horizon, levels; the last: not square
SHAPES += [(n, h, int(RANDOM.choice([n * h, 2 * h + 1]))) for n, h in RANDOM.integers(1, 5, (4, 2)).tolist()]


def levels_of(count):
    """So many levels, 0.5 among them."""
    below = np.linspace(0.05, 0.45, count // 2).round(4)
    return (*below, 0.5, *np.linspace(0.55, 0.95, count - 1 - count // 2).round(4))


def quantiles(table):
    return table.select(quantiles_by_level(table.columns)).to_numpy()


def same(found, expected):
    keys = ["series_id", "origin", "step", "time"]
    assert found.select(keys).equals(expected.select(keys))
    np.testing.assert_allclose(quantiles(found), quantiles(expected), rtol=1e-6)


@pytest.fixture(scope="module")
def walks():
    return make_random_walks(n_series=5, n_rows=130, seed=3)


@every
@pytest.mark.parametrize(("n_series", "horizon", "n_levels"), SHAPES)
def test_series_forecast_together_are_as_each_alone(name, n_series, horizon, n_levels, walks):
    some = walks["series_id"].unique().sort()[:n_series].to_list()
    panel = walks.filter(pl.col("series_id").is_in(some)) if n_series <= 5 else make_random_walks(n_series, 130, 3)
    model = model_of(name, horizon=horizon, quantiles=levels_of(n_levels), lookback=8).fit(panel)
    table = model.predict()
    assert table.shape == (n_series * horizon, 4 + len(model.quantiles_))
    assert (np.diff(quantiles(table), axis=1) >= 0).all()
    if name == "RandomWalk":
        last = panel.group_by("series_id", maintain_order=True).last()["close"]
        assert table["forecast"].to_list() == [price for price in last for _ in range(horizon)]
    alone = [model.predict(rows) for _, rows in panel.group_by("series_id", maintain_order=True)]
    same(table, pl.concat(alone))
    same(model.predict(panel), table)
    origins = panel["time"].unique().sort()[-n_levels:].to_list()  # n_levels origins of one series: square again
    every_origin = model.predict(panel, origins=origins)
    same(every_origin.filter(pl.col("origin") == origins[0]), model.predict(panel, origins=origins[:1]))
    from_pandas = model.predict(panel.to_pandas(), origins=origins)
    assert from_pandas.columns.to_list() == every_origin.columns
    np.testing.assert_array_equal(from_pandas[quantiles_by_level(every_origin.columns)], quantiles(every_origin))


def test_the_default_levels_are_right_for_19_series_at_a_horizon_of_1():
    panel = make_random_walks(n_series=19, n_rows=90, seed=1)
    table = model_of("RandomWalk", horizon=1).fit(panel).predict()
    last = panel.sort("series_id", "time").group_by("series_id", maintain_order=True).last()["close"]
    assert table["forecast"].to_list() == last.to_list()


@every
def test_paths_of_a_square_shape_lie_around_the_quantiles_of_their_own_series(name, walks):
    model = model_of(name, horizon=5, quantiles=levels_of(5), lookback=8).fit(walks)
    paths, table = model.sample(5, random_state=0), model.predict()  # 5 series, paths, steps and levels
    assert len(paths) == 5**3
    middle = paths.group_by("series_id", "step").agg(pl.col("value").median()).sort("series_id", "step")["value"]
    width = table["q0.95"] - table["q0.05"]
    assert ((middle - table["forecast"]).abs() <= width).all()


@pytest.mark.parametrize(("n", "k"), [(k, k) for k in (1, 2, 10)] + [(11, 10), (3, 10)])
def test_new_rows_of_a_square_shape_have_their_own_features(n, k):
    walks = make_random_walks(n_series=n, n_rows=100, seed=2)
    features = PriceFeatures(ranges=False).fit(walks)
    assert len(features.added_) == 10
    since = walks["time"].unique().sort()[-1]
    tail = features.transform_tail(walks, since)
    whole = features.transform(walks).filter(pl.col("time") >= since)
    np.testing.assert_allclose(tail.select(features.added_), whole.select(features.added_), rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------ the last check
TABLE = pl.DataFrame(
    {
        "series_id": ["a", "b"], "origin": ["mon", "mon"], "step": [1, 1],
        "forecast": [1.0, 2.0], "q0.05": [0.5, 1.5], "q0.95": [1.5, 2.5],
    }
)  # fmt: skip


def test_a_right_table_comes_back_as_it_is():
    assert check_forecasts(TABLE) is TABLE
    assert check_forecasts(TABLE.drop("q0.05", "q0.95")).width == 4
    assert check_forecasts(TABLE.clear()).is_empty()


@pytest.mark.parametrize(
    ("column", "bad"), [*itertools.product(["forecast", "q0.05"], [None, np.nan, np.inf, -np.inf])]
)
def test_a_value_that_is_not_finite_is_named_with_its_place(column, bad):
    broken = TABLE.with_columns(pl.when(series_id="b").then(pl.lit(bad, pl.Float64)).otherwise(column).alias(column))
    with pytest.raises(ValueError, match=rf"GRU must give .* finite; those of 'b' .* 1 of 2 rows.*step 1, {column} = "):
        check_forecasts(broken, "GRU")


def test_quantiles_that_cross_are_named_with_their_place():
    broken = TABLE.rename({"q0.05": "q0.95", "q0.95": "q0.05"})
    with pytest.raises(
        ValueError, match=r"2 of 2 rows cross, first 'a' from mon, step 1: q0.05 = 1.5 lies above forec"
    ):
        check_forecasts(broken)


def test_two_roundings_of_one_value_do_not_cross():
    check_forecasts(TABLE.with_columns(pl.col("q0.05") * 0 + pl.col("forecast") * (1 + 1e-15)))


def test_a_forecast_that_overflows_is_refused_before_it_leaves(walks):
    model = model_of("Drift", lookback=8).fit(walks)
    wild = walks.with_columns(close=pl.when(pl.int_range(pl.len()) == 129).then(1e300).otherwise("close"))
    with pytest.raises(ValueError, match="Drift must give forecasts that are finite; those of 'A' are not"):
        model.predict(wild)
    with pytest.raises(ValueError, match="Drift must give forecasts that are finite"):
        model.sample(10, wild, random_state=0)


def test_backtest_names_the_model_whose_quantiles_cross(walks, monkeypatch):
    from tidecast.forecasting import RollingOrigin, backtest

    right = Origins.table
    monkeypatch.setattr(Origins, "table", lambda self, values, levels: right(self, values[..., ::-1].copy(), levels))
    monkeypatch.setattr(
        "tidecast.forecasting.forecasters.base.check_forecasts", lambda table, maker: table
    )  # as a model of another library
    cv = RollingOrigin(n_splits=1, horizon=5, stride=5)
    with pytest.raises(ValueError, match="Model 'random_walk' in fold 1 must give quantiles that rise"):
        backtest(model_of("RandomWalk", lookback=8), walks, cv)


def test_paths_name_a_value_that_is_not_finite():
    with pytest.raises(ValueError, match="value = nan"):
        check_finite(TABLE.with_columns(value=pl.lit(np.nan)), ["value"])


def test_paths_keep_their_places_in_a_table_of_equal_sides(walks):
    model = model_of("RandomWalk", horizon=3, lookback=8).fit(walks.filter(pl.col("series_id") < "D"))
    found = model._carried_origins(None)
    paths = sample_table(found, np.arange(27.0).reshape(3, 3, 3))  # series, paths, steps
    assert paths["value"].to_list() == list(range(27))
    assert paths.row(5)[2:4] == (2, 3)
    assert paths.row(9)[0] == "B"
