"""The volatility regression: where volatility can be forecast it gains, and where it cannot it does no harm."""

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

from tests.forecasting.forecasters.test_log_scale import by_least_squares
from tests.forecasting.models import assert_close, cut_of, values
from tidecast.features import LogReturn, PanelSchema, VolatilityTerms, with_volatility
from tidecast.forecasting import RandomWalk, RollingOrigin, VolatilityRegression, backtest, evaluate, load_forecaster
from tidecast.forecasting.forecasters.log_scale import coming_log_scale

N_ROWS = 900


def panel_of(returns, **columns):
    """Prices of series a, b, … with these returns, shape (n_series, n_rows), on weekdays."""
    n_series, n_rows = returns.shape
    days = pl.date_range(pl.date(2012, 1, 2), pl.date(2026, 1, 1), eager=True)
    days = days.filter(days.dt.weekday() <= 5).head(n_rows)
    names = np.repeat([chr(97 + series) for series in range(n_series)], n_rows)
    frame = {"series_id": names, "time": pl.concat([days] * n_series), "close": np.exp(returns.cumsum(1)).ravel()}
    return pl.DataFrame(frame | {name: column.ravel() for name, column in columns.items()})


def restless_garch(n_series=16, n_rows=N_ROWS, seed=0):
    """Returns whose variance returns to its mean within a week (Bollerslev 1986), where an EWMA takes three."""
    generator = np.random.default_rng(seed)
    returns, variance = np.empty((n_series, n_rows)), np.ones(n_series)
    for t in range(n_rows):
        returns[:, t] = np.sqrt(variance) * generator.standard_normal(n_series)
        variance = 0.2 + 0.45 * returns[:, t] ** 2 + 0.35 * variance
    return 0.01 * returns


@pytest.fixture(scope="module")
def garch():
    return panel_of(restless_garch())


@pytest.fixture(scope="module")
def fitted(garch):
    return VolatilityRegression(lookback=32).fit(garch.filter(pl.col("time") <= cut_of(garch, 200)))


def gain(panel, **settings):
    """Skill over the random walk and its standard error, pooled over two folds."""
    cv = RollingOrigin(n_splits=2, horizon=5, stride=150)
    model = VolatilityRegression(lookback=32, **settings)
    summary = evaluate(backtest({"regression": model}, panel, cv), panel).summary
    found = summary.filter(pl.col("model") == "regression", pl.col("group") == "pooled").row(0, named=True)
    return found["skill"], found["skill_se"]


# ------------------------------------------------------------------ learning
def test_it_beats_the_random_walk_where_volatility_returns_to_its_mean(garch):
    skill, error = gain(garch)
    assert skill > 0.004  # CRPS is blunt: a scale that is wrong by a tenth costs a quarter of a per cent
    assert skill > 3 * error


def test_it_does_no_harm_where_volatility_is_constant():
    skill, error = gain(panel_of(0.01 * np.random.default_rng(1).standard_normal((8, N_ROWS))))
    assert skill > -2 * error  # the random walk's own EWMA is noise there, so it usually gains


def test_one_short_series_stays_close_to_the_random_walk():
    skill, _ = gain(panel_of(0.01 * np.random.default_rng(2).standard_normal((1, 600))))
    assert skill > -0.005


def test_coverage_is_nominal_after_calm_and_wild_weeks(garch, fitted):
    table = fitted.predict(garch, origins="new")
    truth = garch.select("series_id", "time", truth="close")
    inside = table.join(truth, on=["series_id", "time"]).filter(pl.col("truth").is_between("q0.05", "q0.95"))
    assert 0.87 < len(inside) / len(table) < 0.93


# ------------------------------------------------------------------ by reference
def test_weights_and_quantiles_are_those_of_least_squares(garch):
    """Everything again from the definitions, in double precision."""
    horizon, ridge = 3, 500.0
    model = VolatilityRegression(horizon=horizon, lookback=32, ridge=ridge).fit(garch)
    terms = VolatilityTerms(horizon)
    rows = with_volatility(garch.sort("series_id", "time"))
    x = terms.fit_transform(rows).select(terms.added_).to_numpy()
    day = pl.int_range(pl.len()).over("series_id")
    ready = rows.select((day >= 31) & ~pl.col("pegged")).to_series().to_numpy()
    times = rows["time"].to_numpy()
    sessions = np.unique(times[ready])
    end = sessions[len(sessions) - 1 - round(0.1 * len(sessions))]  # of training; the rest calibrates
    scaled_by = ready & (times <= end)
    x -= np.nanmean(x[scaled_by], axis=0)
    x /= np.nanstd(x[scaled_by], axis=0)
    x = np.nan_to_num(x.clip(-8, 8))

    ahead = [pl.col("close").log().shift(-k).over("series_id") - pl.col("close").log() for k in range(1, horizon + 1)]
    due = [pl.when(pl.col("time").shift(-k).over("series_id") <= end).then(change) for k, change in enumerate(ahead, 1)]
    scaled = [change / (pl.col("volatility") * k**0.5) for k, change in enumerate(due, 1)]
    changes = rows.select(pl.concat_list(scaled).list.to_array(horizon)).to_series().to_numpy().astype(float)
    learned = ready & (times < end)
    y = coming_log_scale(changes[learned])
    for step in range(horizon):
        weights = by_least_squares(x[learned], y[:, step], np.ones(learned.sum()), ridge)
        found = model.coefficients_.filter(pl.col("step") == step + 1)
        assert found["term"].to_list() == terms.added_
        np.testing.assert_allclose(found["weight"], weights, atol=2e-4)  # inputs are stored in half precision
        residuals = changes[learned, step] / np.exp(x[learned] @ weights)
        base = np.nanquantile(residuals, model.quantiles_, method="inverted_cdf")
        np.testing.assert_allclose(model._quantile_model.base_HQ[step, [0, 4, 14, 18]], base[[0, 4, 14, 18]], atol=5e-3)


def test_the_median_is_the_last_price_exactly(garch, fitted):
    table = fitted.predict(garch, origins="all")
    last = garch.select("series_id", "close", origin="time")
    assert table.join(last, on=["series_id", "origin"]).select((pl.col("forecast") == pl.col("close")).all()).item()


def test_its_scale_differs_from_the_random_walks_only(garch, fitted):
    """Quantiles of one origin are the base quantiles times one number, calibration aside."""
    model = clone(fitted).set_params(quantiles=(0.1, 0.5, 0.9)).fit(garch)
    model._quantile_model.offsets_HQ[:] = 0
    moves = np.log(values_of(model.predict(garch, origins="all"), ["q0.1", "q0.9"]))
    ratio = (moves[:, 1] / -moves[:, 0]).reshape(-1, 5)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0], ratio.shape), rtol=1e-5)


def values_of(table, names):
    return table.select(pl.col(names) / pl.col("forecast")).to_numpy()


# ------------------------------------------------------------------ properties
def test_multiplying_all_prices_changes_nothing(garch, fitted):
    scaled = garch.with_columns(pl.col("close") * 1e5)
    past = scaled.filter(pl.col("time") <= fitted.fit_end_)
    found = clone(fitted).fit(past).predict(scaled, origins="new")
    expected = fitted.predict(garch, origins="new")
    np.testing.assert_allclose(values(found), 1e5 * values(expected), rtol=1e-5)


def test_the_order_of_series_does_not_matter(garch, fitted):
    names = pl.col("series_id").replace({"a": "h", "h": "a"})
    past = garch.filter(pl.col("time") <= fitted.fit_end_).with_columns(names)
    found = clone(fitted).fit(past).predict(past).with_columns(names).sort("series_id", "step")
    assert_close(found, fitted.predict(), rtol=1e-3)  # inputs are stored in half precision


def test_a_row_of_weight_zero_teaches_nothing(garch):
    past = garch.filter(pl.col("time") <= cut_of(garch, 200))
    wild = past.with_columns(pl.when(pl.col("series_id") == "a").then(pl.col("close") ** 3).otherwise("close"))
    weights = (past["series_id"] != "a").cast(float).to_numpy()
    keep = pl.col("series_id") != "a"
    found = VolatilityRegression(lookback=32).fit(wild, sample_weight=weights)
    expected = VolatilityRegression(lookback=32).fit(past, sample_weight=weights)
    assert_close(found.predict().filter(keep), expected.predict().filter(keep), rtol=0.02)  # scalers see all rows


def test_a_long_horizon_looks_a_quarter_back(garch):
    model = VolatilityRegression(horizon=70, lookback=32).fit(garch.filter(pl.col("series_id") < "c"))
    assert model.predict()["step"].max() == 70


def test_a_panel_with_ranges_and_volume_has_more_terms_and_needs_them(garch, tmp_path):
    rich = garch.with_columns(
        high=pl.col("close") * 1.01, low=pl.col("close") * 0.99, volume=pl.int_range(1, pl.len() + 1) % 50
    )
    model = VolatilityRegression(lookback=32).fit(rich.head(-8))
    assert {"relative_range_1", "volume_change_1_22"} <= set(model.inputs_)
    assert {"high", "low", "volume"} <= set(model.columns_)
    model.save(tmp_path)
    assert load_forecaster(tmp_path).predict(rich).equals(model.predict(rich))
    with pytest.raises(ValueError, match="high"):
        model.predict(garch)


def test_a_covariate_is_one_more_term_with_an_indicator_where_it_is_missing(garch):
    news = garch.with_columns(news=pl.when(pl.int_range(pl.len()) % 3 > 0).then(pl.int_range(pl.len()) % 7))
    model = VolatilityRegression(lookback=32, schema=PanelSchema(covariates=("news",))).fit(news)
    assert model.coefficients_["term"].unique(maintain_order=True).to_list()[-2:] == ["news", "news missing"]
    assert len(model.coefficients_) == 5 * (len(model.inputs_) + 1)


def test_other_features_replace_the_terms(garch):
    assert VolatilityRegression(lookback=32, features=LogReturn(3)).fit(garch).inputs_ == ["log_return_3"]


def test_partial_fit_takes_in_the_rows_and_keeps_the_weights(garch, fitted):
    model = VolatilityRegression(lookback=32).fit(garch.filter(pl.col("time") <= fitted.fit_end_)).partial_fit(garch)
    assert model.coefficients_.equals(fitted.coefficients_)
    assert model.fit_end_ == garch["time"].max()


def test_a_panel_of_pegs_has_the_last_price_for_every_quantile(garch):
    model = VolatilityRegression(lookback=32).fit(garch.with_columns(close=pl.lit(2.0)))
    assert (values(model.predict()) == 2.0).all()


def test_a_large_penalty_gives_the_random_walk(garch):
    expected = RandomWalk(lookback=32).fit(garch).predict()
    found = VolatilityRegression(lookback=32, ridge=1e12).fit(garch).predict()
    assert_close(found, expected, rtol=0.02)  # quantiles of a tenth more rows


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"ridge": 0}, ValueError, "ridge must be above 0 and finite, got 0"),
        ({"ridge": float("inf")}, ValueError, "ridge must be above 0 and finite, got inf"),
        ({"ridge": "much"}, TypeError, "ridge must be a number, got 'much'"),
        ({"features": VolatilityTerms}, TypeError, "features must be a transformer of panels"),
    ],
)
def test_impossible_settings_are_refused(settings, error, message, garch):
    with pytest.raises(error, match=message):
        VolatilityRegression(**settings).fit(garch)
