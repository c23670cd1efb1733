"""Models of others in a backtest: what they are given, and what is refused of what they return."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import make_pipeline

from tidecast.features import LogReturn, PanelSchema, PanelTransformer, PanelUnion, PriceFeatures
from tidecast.forecasting import Drift, GRUForecaster, PanelModel, RandomWalk, RollingOrigin, backtest, decide, evaluate
from tidecast.forecasting.backtesting.outside_models import is_ours

CV = RollingOrigin(n_splits=2, horizon=2, stride=5)
SEEN: list[pl.DataFrame] = []


class LastPrice:
    """The last price as a point forecast; no scikit-learn, no quantiles, no settings."""

    horizon = 2

    def fit(self, X):
        self.fitted_to_ = X["time"].max()
        return self

    def predict(self, X):
        SEEN.append(X)
        last = X.sort("time").group_by("series_id", maintain_order=True).last()
        steps = pl.DataFrame({"step": [1, 2]})
        table = last.select("series_id", origin="time", forecast="close").join(steps, how="cross")
        return table.with_columns(time=pl.col("origin").dt.add_business_days("step"))


class Refitting(LastPrice):
    """Forecasts the mean of the newest two rows that it is given: with the truths among them it would win."""

    def predict(self, X):
        newest = X.sort("time").group_by("series_id").tail(2).group_by("series_id").agg(pl.col("close").mean())
        return super().predict(X).drop("forecast").join(newest, on="series_id").rename({"close": "forecast"})


class Altered(LastPrice):
    """A table of `LastPrice`, with something done to it."""

    def __init__(self, alter):
        self.alter = alter

    def predict(self, X):
        return self.alter(super().predict(X))


class Ahead(PanelTransformer):
    """Tomorrow's close: a look-ahead."""

    min_history = 1

    def expressions(self):
        return {"ahead": (pl.col("close").shift(-1) / pl.col("close")).log()}


class Overriding(RandomWalk):
    """A forecaster of ours with a `predict` of its own."""

    def predict(self, X=None, origins="last", future=None):
        return super().predict(X, origins, future)


class Renamed(RandomWalk):
    """A forecaster of ours with other defaults."""

    def __init__(self, horizon=2, lookback=8):
        super().__init__(horizon=horizon, lookback=lookback)


class Untouched(TransformerMixin, BaseEstimator):
    """Changes nothing, which nobody can know."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X


@pytest.fixture(scope="module")
def prices(random_walks):
    return random_walks(n_series=2, n_rows=100)


def test_a_model_of_ten_lines_is_compared_with_the_random_walk(prices):
    SEEN.clear()
    table = backtest({"mine": LastPrice(), "drift": Drift(horizon=2, lookback=8)}, prices, CV)
    mine, walk = (table.filter(model=name).drop("model") for name in ("mine", "random_walk"))
    assert isinstance(LastPrice(), PanelModel)
    assert mine.select("fold", "series_id", "origin", "step", "time").equals(
        walk.select("fold", "series_id", "origin", "step", "time")
    )
    np.testing.assert_allclose(mine["forecast"], walk["forecast"])
    assert mine["q0.05"].null_count() == len(mine)
    assert table.schema["step"] == pl.Int32
    assert len(SEEN) == 10
    assert not hasattr(LastPrice(), "fitted_to_")


def test_a_model_of_others_is_handed_only_what_was_known_at_each_origin(prices):
    """It was handed the whole fold, truths included, and one that refits on its rows looked better."""
    SEEN.clear()
    table = backtest({"mine": Refitting()}, prices, CV).filter(model="mine")
    assert [rows["time"].max() for rows in SEEN] == table["origin"].unique().sort().to_list()
    at = {(row["series_id"], row["time"]): row["close"] for row in prices.iter_rows(named=True)}
    days = prices["time"].unique().sort().to_list()
    for row in table.filter(step=1).iter_rows(named=True):
        before = days[days.index(row["origin"]) - 1]
        expected = (at[row["series_id"], row["origin"]] + at[row["series_id"], before]) / 2
        assert row["forecast"] == pytest.approx(expected)


def test_point_forecasts_have_errors_and_no_crps(prices):
    evaluation = evaluate(backtest({"mine": LastPrice()}, prices, CV), prices)
    mine = evaluation.summary.filter(group="pooled", model="mine").row(0, named=True)
    assert mine["crps"] is mine["coverage"] is mine["interval_score"] is mine["skill"] is None
    assert mine["mae"] > 0
    assert mine["ae_skill"] == pytest.approx(0, abs=1e-9)
    assert evaluation.losses.filter(model="mine")["crps"].null_count() == 40
    assert not decide(evaluation.losses).promoted


def test_pandas_goes_in_where_pandas_was_given(prices):
    class Pandas(LastPrice):
        def predict(self, X):
            return super().predict(pl.from_pandas(X)).to_pandas().sample(frac=1, random_state=0)

    table = backtest({"mine": Pandas()}, prices.to_pandas(), CV)
    expected = backtest({"mine": LastPrice()}, prices, CV)
    assert np.array_equal(table["forecast"], expected["forecast"])


def test_types_are_cast_and_quantile_columns_are_found_by_level(prices):
    levels = (0.1, 0.9)

    def loose(table):
        return table.select(
            pl.col("series_id").cast(pl.Categorical), pl.col("origin", "time").cast(pl.Datetime("ns")),
            pl.col("step").cast(pl.Float64), pl.col("forecast").cast(pl.Float32),
            (pl.col("forecast") * 0.9).alias("q0.10"), (pl.col("forecast") * 1.1).alias("q0.90"), note=pl.lit("mine"),
        )  # fmt: skip

    model = Altered(loose)
    model.quantiles = levels
    table = backtest({"mine": model}, prices, CV)
    assert table.columns[-2:] == ["q0.1", "q0.9"]
    assert table.filter(model="mine")["q0.9"].null_count() == 0


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda t: t.drop("time"), "have the columns .*'time' is not in"),
        (lambda t: t.rename({"forecast": "Forecast"}), "have the columns .*'forecast' is not in .* Rename 'Forecast'"),
        (lambda t: t.filter(step=1), "have all steps 1 to 2 of a series, found 1 for series"),
        (lambda t: t.with_columns(pl.col("step") - 1), "have the steps 1 to 2, found step 0"),
        (lambda t: t.with_columns(pl.col("step") + 0.5), "hold whole steps"),
        (lambda t: pl.concat([t, t]), "have one row for each series and step, found 8 rows"),
        (lambda t: t.with_columns(pl.col("time") + timedelta(days=30)), "have as 'time' the session of its step"),
        (lambda t: t.with_columns(pl.col("origin") - timedelta(days=1)), "have as 'origin' the time of the last known"),
        (lambda t: t.with_columns(forecast=float("nan")), "be finite numbers, found nan in 'forecast'"),
        (lambda t: t.with_columns(forecast=None), "be finite numbers, found None in 'forecast'"),
        (lambda t: t.with_columns(forecast=pl.lit("up")), "hold numbers in 'forecast', found String"),
        (lambda t: t.with_columns(pl.col("series_id") + "!"), "be of series of the panel, found"),
        (lambda t: t.with_columns(pl.col("time").cast(pl.String)), "hold dates or datetimes in 'time', found String"),
        (lambda t: t.with_columns(pl.lit(1.0).alias("q0.05")), "have a column for each quantile that is compared"),
    ],
)
def test_a_wrong_forecast_is_refused_with_the_models_name_and_the_fault(prices, alter, message):
    with pytest.raises(ValueError, match=rf"^The forecasts of the model 'mine' from 20\S+ must {message}"):
        backtest({"mine": Altered(alter)}, prices, CV)


def test_an_object_that_is_not_a_table_is_refused(prices):
    with pytest.raises(TypeError, match=r"predict of the model 'mine' must return a forecast table: .*got ndarray"):
        backtest({"mine": Altered(lambda t: t["forecast"].to_numpy())}, prices, CV)
    with pytest.raises(ValueError, match="'mine' must forecast at least one series in each fold, found none"):
        backtest({"mine": Altered(lambda t: t.clear())}, prices, CV)


def test_a_fault_of_anothers_model_shows_before_ours_are_trained(prices, monkeypatch):
    trained = []
    monkeypatch.setattr(RandomWalk, "fit", lambda self, X: trained.append(X))
    with pytest.raises(ValueError, match="is not in"):
        backtest({"mine": Altered(lambda t: t.drop("time"))}, prices, CV)
    assert trained == []


def test_a_model_without_the_protocol_is_refused_before_anything_is_fitted(prices):
    class NoHorizon:
        fit, predict = LastPrice.fit, LastPrice.predict

    class Needing(LastPrice):
        def predict(self, X, future):
            return super().predict(X)

    with pytest.raises(TypeError, match=r"has no horizon\. A model of your own needs horizon, fit\(panel\) and"):
        backtest({"mine": NoHorizon()}, prices, CV)
    with pytest.raises(TypeError, match="not classes; 'LastPrice' is LastPrice"):
        backtest(LastPrice, prices, CV)
    with pytest.raises(TypeError, match=r"predict of 'mine' must be callable with a panel only, .* needs X, future"):
        backtest({"mine": Needing()}, prices, CV)


def test_series_that_have_ended_are_left_out_and_a_series_may_be_skipped(prices):
    ended = prices.filter((pl.col("series_id") != prices["series_id"][0]) | (pl.col("time") < prices["time"][90]))
    table = backtest({"mine": LastPrice()}, ended, CV).filter(model="mine", fold=2)
    assert table["series_id"].unique().to_list() == [prices["series_id"][-1]]


def test_future_covariates_are_known_ahead_and_nothing_else_is(prices):
    given = prices.with_columns(holiday=pl.col("close") * 0 + 1.0, vix=pl.col("close"))
    model = LastPrice()
    model.schema = PanelSchema(future=("holiday",))
    SEEN.clear()
    with pytest.raises(ValueError, match="found 2015-05-07"):  # it takes the last row, which has no price yet
        backtest({"mine": model}, given, CV)
    later = SEEN[0].filter(pl.col("close").is_null())
    assert later["time"].n_unique() == 2
    assert later["vix"].null_count() == len(later) == 4
    assert later["holiday"].null_count() == 0


def test_the_example_of_the_documentation_runs(random_walks):
    page = (Path(__file__).parents[3] / "docs" / "backtest.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    names = {"prices": random_walks(n_series=2, n_rows=200)}
    exec(compile(code, "docs/backtest.md", "exec"), names)
    assert set(names["scores"]["model"]) == {"mine", "gru", "random_walk"}


def test_our_models_are_distinguished_from_others():
    ours = [
        RandomWalk(), GRUForecaster(features=PriceFeatures()), make_pipeline(LogReturn(), Drift()), Renamed(),
        GRUForecaster(features=PanelUnion([LogReturn()])),
    ]  # fmt: skip
    others = [
        LastPrice(), Overriding(), make_pipeline(Untouched(), RandomWalk()), GRUForecaster(features=Ahead()),
        GRUForecaster(features=PanelUnion([Ahead()])), GRUForecaster(features=make_pipeline(Ahead())),
    ]  # fmt: skip
    assert all(map(is_ours, ours))
    assert not any(map(is_ours, others))


def test_a_subclass_with_a_predict_of_its_own_gets_the_table_of_the_one_pass(prices):
    models = {"one_pass": RandomWalk(horizon=2, lookback=8), "each": Overriding(horizon=2, lookback=8)}
    table = backtest(models, prices, CV)
    one, each = (table.filter(model=name).drop("model") for name in models)
    np.testing.assert_allclose(one.select(pl.selectors.float()), each.select(pl.selectors.float()), rtol=1e-9)


def test_a_look_ahead_in_anothers_features_gives_no_advantage(prices):
    settings = {"horizon": 2, "lookback": 8, "hidden_size": 2, "max_epochs": 1}
    model = GRUForecaster(features=Ahead(), **settings)
    fold = CV.folds(prices)[1]
    tripled = pl.when(pl.col("time") > fold.first_origin).then(3 * pl.col("close")).otherwise("close")
    tables = [
        backtest({"mine": model}, panel, CV).filter(model="mine", origin=fold.first_origin)
        for panel in (prices, prices.with_columns(close=tripled))
    ]
    assert tables[0].equals(tables[1])


def stray(prices, day=timedelta(days=1)):
    """The panel with a copy of the newest Friday but two, a day later."""
    fridays = prices.filter(pl.col("time").dt.weekday() == 5)["time"].unique().sort()
    row = prices.filter(pl.col("time") == fridays[-3]).with_columns(time=pl.col("time") + day)
    return pl.concat([prices, row]).sort("series_id", "time")


@pytest.fixture(scope="module")
def weekday_prices(random_walks):
    prices = random_walks(n_series=2, n_rows=140)
    return prices.filter(pl.col("time").dt.weekday() <= 5)


@pytest.mark.filterwarnings("ignore:Every time should be a session")
@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_a_saturday_among_the_origins_of_an_inferred_calendar_once_stopped_the_backtest(weekday_prices, kind):
    class Any(LastPrice):
        def predict(self, X):
            known = X if kind == "polars" else pl.from_pandas(X).with_columns(pl.col("time").cast(pl.Date))
            assert (known["time"].dt.weekday() <= 5).all()
            return super().predict(known)

        def fit(self, X):
            return self

    panel = stray(weekday_prices)
    table = backtest({"mine": Any()}, panel if kind == "polars" else panel.to_pandas(), CV)
    table = table if kind == "polars" else pl.from_pandas(table)
    mine, walk = (table.filter(model=name) for name in ("mine", "random_walk"))
    keys = ["fold", "series_id", "origin", "step", "time"]
    assert mine.select(keys).equals(walk.select(keys))
    assert (mine["origin"].dt.weekday() <= 5).all()


class LastWeek(LastPrice):
    """As `LastPrice`, for weeks."""

    def predict(self, X):
        return super().predict(X).with_columns(time=pl.col("origin") + pl.duration(days=7 * pl.col("step")))


@pytest.mark.filterwarnings("ignore:Every time should be a session")
def test_an_origin_that_moved_to_its_week_s_session_was_once_left_out_and_could_not_be_evaluated(random_walks):
    fridays = [pl.date_range(pl.date(2020, 1, 3), pl.date(2022, 1, 3), "1w", eager=True)]
    weeks = random_walks(n_series=2, n_rows=len(fridays[0])).with_columns(time=pl.concat(fridays * 2))
    early, session = fridays[0][-5] - timedelta(days=1), fridays[0][-5]
    weeks = weeks.with_columns(time=pl.when(pl.col("time") == session).then(early).otherwise("time"))
    table = backtest({"mine": LastWeek()}, weeks, CV)
    mine, walk = (table.filter(model=name) for name in ("mine", "random_walk"))
    keys = ["fold", "series_id", "origin", "step", "time"]
    assert mine.select(keys).equals(walk.select(keys))
    assert session in walk["origin"].to_list()
    assert len(walk) == 2 * 2 * 2 * 5
    pooled = evaluate(table, weeks).summary.filter(group="pooled", model="mine")
    assert pooled["ae_skill"].item() == pytest.approx(0, abs=1e-9)
