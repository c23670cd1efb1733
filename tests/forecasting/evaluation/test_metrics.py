"""Losses, their summary, and the test of skill."""

import math
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from scipy import stats

from tidecast.features.panel import check_panel
from tidecast.features.volatility import with_volatility
from tidecast.forecasting.evaluation.dm_test import compare
from tidecast.forecasting.evaluation.metrics import RunningEvaluation, dm_test, evaluate
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, quantile_columns

DAY = [date(2020, 1, 1) + timedelta(days=k) for k in range(1000)]


def walks(n_sessions, series=("a", "b", "c"), seed=0):
    rng = np.random.default_rng(seed)
    prices = np.exp(0.01 * rng.normal(size=(len(series), n_sessions)).cumsum(axis=1))
    return pl.concat(
        pl.DataFrame({"series_id": name, "time": DAY[:n_sessions], "close": 10.0**k * row})
        for k, (name, row) in enumerate(zip(series, prices, strict=True))
    )


def forecasts(panel, origins, horizon=2, tilt=0.0, width=1.0, levels=DEFAULT_QUANTILES):
    """A random walk's table; `tilt` moves it by shares of the last price, `width` stretches its spread."""
    spread = {name: stats.norm.ppf(level) for level, name in zip(levels, named(levels), strict=True)}
    rows = check_panel(panel).filter(pl.col("time").is_in(list(origins)))
    steps = rows.join(pl.DataFrame({"step": range(1, horizon + 1)}), how="cross").sort("series_id", "time", "step")
    last, root = pl.col("close") * (1 + tilt), pl.col("step").sqrt()
    return steps.select(
        "series_id", "step", origin="time", time=pl.col("time") + pl.duration(days="step"),
        **{name: last * (0.01 * width * z * root).exp() for name, z in spread.items()},
    ).select("series_id", "origin", "step", "time", "forecast", *quantile_columns(levels))  # fmt: skip


def named(levels):
    return ["forecast" if level == 0.5 else f"q{level!r}" for level in levels]


def of(model, table):
    return table.with_columns(model=pl.lit(model))


def two_models(panel, origins, **other):
    return pl.concat([of("random_walk", forecasts(panel, origins)), of("GRU", forecasts(panel, origins, **other))])


def pooled(evaluation, model):
    return evaluation.summary.filter(group="pooled", model=model).row(0, named=True)


# ------------------------------------------------------------------ losses
def test_losses_of_five_rows_are_as_written_out_by_hand():
    panel = pl.DataFrame({"series_id": "a", "time": DAY[:5], "close": [100.0, 101.0, 100.0, 102.0, 103.0]})
    table = pl.DataFrame(
        {
            "series_id": ["a", "a"], "origin": [DAY[2]] * 2, "step": [1, 2], "time": [DAY[3], DAY[4]],
            "forecast": [100.0, 104.0], "q0.1": [98.0, 103.5], "q0.9": [101.5, 106.0],
        }
    )  # fmt: skip
    found = evaluate(table, panel)
    changes = math.log(101 / 100), math.log(100 / 101)
    scale = 100 * math.sqrt((0.94 * changes[0] ** 2 + changes[1] ** 2) / (0.94 + 1))
    losses = found.losses
    assert losses["scale"].to_list() == pytest.approx([scale, scale])
    assert (losses["ae"] * losses["scale"]).to_list() == pytest.approx([2.0, 1.0])
    # Pinball: level · (truth − quantile) above it, (1 − level) · (quantile − truth) below; the mean over three levels.
    assert (losses["pinball"] * losses["scale"]).to_list() == pytest.approx(
        [(0.1 * 4.0 + 0.5 * 2.0 + 0.9 * 0.5) / 3, (0.9 * 0.5 + 0.5 * 1.0 + 0.1 * 3.0) / 3]
    )
    assert losses["covered"].to_list() == [False, False]
    summary = found.summary.filter(group="pooled").row(0, named=True)
    assert summary["interval_score"] * scale == pytest.approx(((3.5 + 10 * 0.5) + (2.5 + 10 * 0.5)) / 2)
    assert summary["mase"] == pytest.approx(1.5 / 1.0)  # changes up to the origin: 1 and −1
    assert summary["mae"] * scale == pytest.approx(1.5)
    assert summary["rmse"] * scale == pytest.approx(math.sqrt((4 + 1) / 2))
    assert summary["direction"] == 1.0  # step 1 forecasts no move, step 2 a rise
    assert (summary["model"], summary["n_origins"], summary["skill"]) == ("forecast", 1, None)


def test_crps_is_twice_the_mean_pinball_loss_over_the_default_levels():
    panel = walks(60)
    found = evaluate(forecasts(panel, DAY[30:50]), panel).losses
    volatility = with_volatility(check_panel(panel))
    table = forecasts(panel, DAY[30:50])
    for row in table.sample(20, seed=1).iter_rows(named=True):
        truth = panel.filter(series_id=row["series_id"], time=row["time"])["close"].item()
        origin = volatility.filter(series_id=row["series_id"], time=row["origin"]).row(0, named=True)
        pinball = [
            max(level * (truth - row[name]), (level - 1) * (truth - row[name]))
            for level, name in zip(DEFAULT_QUANTILES, named(DEFAULT_QUANTILES), strict=True)
        ]
        loss = found.filter(series_id=row["series_id"], origin=row["origin"], step=row["step"])["crps"].item()
        assert loss == pytest.approx(2 * np.mean(pinball) / (origin["close"] * origin["volatility"]))


def test_crps_of_many_draws_nears_that_of_the_normal_distribution():
    n = 3000
    rng = np.random.default_rng(0)
    days = pl.date_range(DAY[0], DAY[0] + timedelta(days=n - 1), eager=True)
    panel = pl.DataFrame({"series_id": "a", "time": days, "close": rng.normal(size=n)})
    rows = panel.slice(2, n - 3)
    table = rows.select("series_id", origin="time", step=1, time=pl.col("time") + pl.duration(days=1)).with_columns(
        [pl.lit(stats.norm.ppf(q)).alias(c) for q, c in zip(DEFAULT_QUANTILES, named(DEFAULT_QUANTILES), strict=True)]
    )
    losses = evaluate(table, panel, positive=False).losses
    crps = (losses["crps"] * losses["scale"]).mean()
    assert crps == pytest.approx(1 / math.sqrt(math.pi), abs=0.03)  # ∫(F − 1)² for N(0, 1) against itself; 19 levels
    assert losses["covered"].mean() == pytest.approx(0.9, abs=0.02)


def test_a_session_that_is_missing_or_has_no_price_has_no_truth():
    panel = walks(40, ["a"])
    table = forecasts(panel, DAY[30:36])
    gone = panel.filter(pl.col("time") != DAY[36])
    unpriced = panel.with_columns(close=pl.when(pl.col("time") != DAY[36]).then("close"))
    for kind in (gone, unpriced):
        found = evaluate(table, kind).losses
        assert len(found) == len(table) - 2
        assert (DAY[35], 1) not in set(found.select("origin", "step").iter_rows())


def test_a_series_whose_prices_are_in_another_unit_has_the_same_losses():
    panel = walks(60)
    in_cents = panel.with_columns(pl.col("close") * 100)
    one, other = (evaluate(forecasts(p, DAY[30:50]), p) for p in (panel, in_cents))
    for column in ("crps", "ae"):
        np.testing.assert_allclose(one.losses[column], other.losses[column], rtol=1e-9)
    assert one.summary["mase"].to_list() == pytest.approx(other.summary["mase"].to_list())


def test_origins_of_a_pegged_series_are_left_out_and_the_series_is_named():
    panel = walks(80).with_columns(
        close=pl.when((pl.col("series_id") == "b") & (pl.col("time") > DAY[20])).then(7.0).otherwise("close")
    )
    found = evaluate(two_models(panel, DAY[60:75]), panel)
    assert found.pegged == ("b",)
    assert set(found.losses["series_id"]) == {"a", "c"}
    assert found.losses["crps"].is_finite().all()


def test_prices_at_and_below_zero_are_scaled_by_the_volatility_of_differences():
    rng = np.random.default_rng(3)
    panel = pl.DataFrame({"series_id": "oil", "time": DAY[:60], "close": rng.normal(size=60).cumsum()})
    table = forecasts(walks(60, ["oil"]), DAY[30:50])
    scale = with_volatility(panel, positive=False).filter(time=DAY[30])["volatility"].item()
    assert evaluate(table, panel, positive=False).losses["scale"][0] == pytest.approx(scale)
    with pytest.raises(ValueError, match="above 0"):
        evaluate(table, panel)


def test_a_forecast_that_is_not_finite_has_a_loss_that_is_not_finite_and_no_skill():
    panel = walks(300)
    table = two_models(panel, DAY[100:290])
    for bad in (None, math.nan, math.inf):
        spoiled = pl.when((pl.col("model") == "GRU") & (pl.col("origin") == DAY[150])).then(pl.lit(bad))
        found = evaluate(table.with_columns(spoiled.otherwise("q0.05").alias("q0.05")), panel)
        losses = found.losses.filter(model="GRU")
        assert losses.filter(pl.col("origin") == DAY[150])["crps"].is_finite().sum() == 0
        assert losses["crps"].is_finite().sum() == len(losses) - 6
        assert pooled(found, "GRU")["skill"] is None
        assert pooled(found, "random_walk")["skill"] == 0.0


# ----------------------------------------------------------------- summary
def test_a_forecast_compared_with_itself_has_skill_zero_and_p_one():
    panel = walks(300)
    summary = evaluate(two_models(panel, DAY[100:290]), panel).summary
    assert set(summary["skill"]) == {0.0}
    assert set(summary["ae_skill"]) == {0.0}
    assert set(summary["p"]) == {1.0}


def test_what_differs_by_rounding_only_is_the_same_forecast():
    panel = walks(300)
    assert pooled(evaluate(two_models(panel, DAY[100:290], width=1 + 1e-9), panel), "GRU")["p"] == 1.0


def test_skill_is_the_share_of_the_random_walks_loss_that_is_saved():
    panel = walks(400)
    found = evaluate(two_models(panel, DAY[100:390], width=3.0), panel)
    gru, walk = pooled(found, "GRU"), pooled(found, "random_walk")
    assert gru["skill"] == pytest.approx(1 - gru["crps"] / walk["crps"])
    assert gru["skill"] < -0.2
    assert gru["p"] > 0.999
    assert gru["ae_skill"] == 0.0
    swapped = two_models(panel, DAY[100:390], width=3.0).with_columns(
        model=pl.when(pl.col("model") == "GRU").then(pl.lit("random_walk")).otherwise(pl.lit("GRU"))
    )
    assert pooled(evaluate(swapped, panel), "GRU")["p"] < 0.001


def test_fewer_than_120_origins_have_a_skill_and_no_p():
    panel = walks(300)
    short, long = (evaluate(two_models(panel, DAY[100 : 100 + n], width=1.1), panel) for n in (119, 120))
    assert pooled(short, "GRU")["p"] is None
    assert pooled(short, "GRU")["skill_se"] > 0
    assert pooled(long, "GRU")["p"] is not None


def test_multiplying_every_series_by_ten_leaves_the_p_value_alone():
    panel = walks(300)
    copies = [panel.with_columns(series_id=pl.col("series_id") + str(k)) for k in range(10)]
    one, ten = (evaluate(two_models(p, DAY[100:290], width=1.05), p) for p in (panel, pl.concat(copies)))
    for number in ("skill", "skill_se", "p", "ae_skill", "mae", "crps", "coverage"):
        assert pooled(ten, "GRU")[number] == pytest.approx(pooled(one, "GRU")[number], rel=1e-9)


def test_models_are_compared_on_the_forecasts_that_all_of_them_have():
    panel = walks(400)
    table = two_models(panel, DAY[100:390], width=1.1)
    hard = evaluate(table, panel).losses.filter(model="GRU").sort("crps", descending=True).head(200)
    dropped = table.join(
        hard.select("model", "series_id", "origin", "step"), on=["model", "series_id", "origin", "step"], how="anti"
    )
    whole, part = evaluate(table, panel), evaluate(dropped, panel)
    assert len(part.losses.filter(model="GRU")) + 200 == len(part.losses.filter(model="random_walk"))
    assert pooled(part, "GRU")["crps"] < 0.9 * pooled(whole, "GRU")["crps"]
    assert pooled(part, "random_walk")["crps"] < 0.9 * pooled(whole, "random_walk")["crps"]
    assert abs(pooled(part, "GRU")["skill"]) < 0.05  # and not the profit of having left out the hard ones


def test_p_values_of_series_are_adjusted_for_their_number():
    panel = walks(400, [f"s{k}" for k in range(8)], seed=5)
    table = two_models(panel, DAY[100:390], width=1.3)
    by_series = evaluate(table, panel).summary.filter(group="series", model="GRU")
    alone = [
        evaluate(table.filter(series_id=name), panel).summary.filter(group="pooled", model="GRU")["p"].item()
        for name in by_series["series_id"]
    ]
    np.testing.assert_allclose(by_series["p"], stats.false_discovery_control(alone), rtol=1e-9)


def test_each_series_and_step_has_its_row_and_each_origin_counts_once():
    panel = walks(300)
    table = two_models(panel, DAY[100:200], width=1.1)
    alone = table.filter((pl.col("series_id") == "a") | (pl.col("origin") < DAY[150]))
    found = evaluate(alone, panel)
    assert found.summary.group_by("group").len().sort("group").rows() == [("pooled", 2), ("series", 6), ("step", 4)]
    losses = found.losses.filter(model="GRU")
    by_origin = losses.group_by("origin").agg(pl.col("crps").mean())
    assert pooled(found, "GRU")["crps"] == pytest.approx(by_origin["crps"].mean())
    step = found.summary.filter(group="step", model="GRU", step=2).row(0, named=True)
    by_origin = losses.filter(step=2).group_by("origin").agg(pl.col("ae").mean())
    assert (step["mae"], step["n_origins"]) == (pytest.approx(by_origin["ae"].mean()), 100)


def test_other_levels_than_the_default_are_called_pinball_and_have_their_skill_among_themselves():
    panel = walks(300)
    levels = (0.1, 0.5, 0.9)
    table = pl.concat(
        of(name, forecasts(panel, DAY[100:290], width=width, levels=levels))
        for name, width in (("random_walk", 1.0), ("GRU", 2.0))
    )
    found = evaluate(table, panel)
    for frame in (found.losses, found.summary):
        assert "pinball" in frame.columns
        assert "crps" not in frame.columns
    assert pooled(found, "GRU")["skill"] < 0
    assert pooled(found, "random_walk")["coverage"] == pytest.approx(0.8, abs=0.06)


def test_a_median_alone_is_evaluated_too():
    panel = walks(60)
    table = forecasts(panel, DAY[30:50]).select("series_id", "origin", "step", "time", "forecast")
    losses = evaluate(table, panel).losses
    np.testing.assert_allclose(losses["pinball"], losses["ae"] / 2)


def test_the_order_of_rows_does_not_matter_and_pandas_gives_pandas():
    panel = walks(300)
    table = two_models(panel, DAY[100:290], width=1.1)
    one = evaluate(table, panel)
    shuffled = [frame.sample(fraction=1, shuffle=True, seed=1) for frame in (table, panel)]
    other = evaluate(*(frame.to_pandas() for frame in shuffled))
    assert isinstance(other.summary, type(panel.to_pandas()))
    for column in ("crps", "skill", "p"):
        np.testing.assert_allclose(one.summary[column].to_numpy(), other.summary[column].to_numpy(), rtol=1e-9)
    assert one.losses["crps"].to_list() == pytest.approx(other.losses["crps"].to_list())


def test_forecasts_of_the_future_have_no_losses_yet():
    panel = walks(60)
    found = evaluate(forecasts(panel, [DAY[59]]), panel)
    assert found.losses.is_empty()
    assert found.summary.is_empty()
    assert {"group", "model", "crps", "skill", "p"} <= set(found.summary.columns)


# ------------------------------------------------------------------ errors
def test_bad_tables_are_refused_with_one_clear_error():
    panel = walks(60)
    table = forecasts(panel, DAY[30:40])
    with pytest.raises(ValueError, match=r"must have the columns .*\['origin'\] not found"):
        evaluate(table.drop("origin"), panel)
    with pytest.raises(ValueError, match=r"one row for each model.*120 rows share theirs"):
        evaluate(pl.concat([table, table]), panel)
    with pytest.raises(ValueError, match=r"none for 10 origins of 'c'"):
        evaluate(table, panel.filter(pl.col("series_id") != "c"))
    with pytest.raises(TypeError, match="LazyFrame"):
        evaluate(table.lazy(), panel)


def test_models_that_put_a_step_at_different_sessions_are_not_compared():
    panel = walks(60)
    table = forecasts(panel, DAY[30:40])
    later = table.with_columns(pl.col("time") + pl.duration(days=1))
    with pytest.raises(ValueError, match="same sessions"):
        evaluate(pl.concat([of("random_walk", table), of("GRU", later)]), panel)


def test_models_without_a_common_forecast_are_not_compared():
    panel = walks(60)
    table = pl.concat([of("random_walk", forecasts(panel, DAY[30:35])), of("GRU", forecasts(panel, DAY[35:40]))])
    with pytest.raises(ValueError, match=r"\['GRU', 'random_walk'\] have no forecast in common"):
        evaluate(table, panel)


# ---------------------------------------------------------------- the test
def test_the_cosine_estimator_equals_its_formula_written_out():
    rng = np.random.default_rng(0)
    x = rng.normal(size=150) + 0.1
    n, horizon = len(x), 5
    terms = max(4, int(min(0.41 * n ** (2 / 3), n / (2 * horizon))))
    at = np.arange(1, n + 1) - 0.5
    cosines = [math.sqrt(2 / n) * np.sum((x - x.mean()) * np.cos(math.pi * j * at / n)) for j in range(1, terms + 1)]
    se = math.sqrt(np.mean(np.square(cosines)) / n)
    found = dm_test(x, horizon)
    assert (found.mean, found.se, found.dof) == (pytest.approx(x.mean()), pytest.approx(se), terms)
    assert found.p == pytest.approx(stats.t.sf(x.mean() / se, terms))


def test_the_number_of_terms_follows_the_rule():
    cases = ((504, 5), (504, 1), (252, 21), (120, 5), (20, 5))
    assert [dm_test(np.arange(n), horizon).dof for n, horizon in cases] == [25, 25, 6, 9, 4]


def test_constant_differences_are_certain():
    assert (dm_test(np.ones(200), 5).p, dm_test(-np.ones(200), 5).p, dm_test(np.zeros(200), 5).p) == (0.0, 1.0, 1.0)


def test_differences_that_cannot_be_tested_are_refused():
    with pytest.raises(ValueError, match=r"at least 5 numbers in a row, got shape \(3,\)"):
        dm_test(np.ones(3), 1)
    with pytest.raises(ValueError, match="1 of 100 are not"):
        dm_test(np.array([math.nan, *np.ones(99)]), 1)
    with pytest.raises(ValueError, match="horizon must be at least 1, got 0"):
        dm_test(np.ones(100), 0)


def differences(rng, n_tables, n_origins=504, n_series=10, horizon=5):
    """Differences of equally good forecasts: overlapping, wild and calm times, fat tails, series moving together."""
    shape = (n_tables, n_origins + horizon)
    log_volatility = np.zeros(shape)
    shocks = 0.15 * rng.normal(size=shape)
    for t in range(1, shape[1]):
        log_volatility[:, t] = 0.95 * log_volatility[:, t - 1] + shocks[:, t]
    common, own = rng.standard_t(4, size=(*shape, 1)), rng.standard_t(4, size=(*shape, n_series))
    path = np.cumsum((common + own) * np.exp(log_volatility)[..., None], axis=1)
    steps = [(path[:, horizon:] - path[:, horizon - k : -k]) / math.sqrt(k) for k in range(1, horizon + 1)]
    return np.mean(steps, axis=0).mean(axis=-1)


def test_equal_forecasts_are_called_better_in_one_case_of_twenty():
    rng = np.random.default_rng(0)
    p = np.array([dm_test(row, 5).p for _ in range(8) for row in differences(rng, 250)])
    assert 0.03 < (p < 0.05).mean() < 0.07
    assert (p < 0.01).mean() < 0.02


def test_a_forecast_that_is_a_little_better_is_found():
    better = differences(np.random.default_rng(1), 200)
    better = better + 0.5 * better.std()
    assert np.mean([dm_test(row, 5).p < 0.01 for row in better]) > 0.9


def test_the_error_of_skill_is_its_standard_deviation_over_repetitions():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(400):
        base = rng.gamma(4, size=504)
        reference, loss = base + 0.3 * rng.gamma(4, size=504), 0.95 * base + 0.3 * rng.gamma(4, size=504)
        found.append(compare(loss, reference, 1))
    spread = np.std([skill.skill for skill in found])
    assert np.mean([skill.se for skill in found]) == pytest.approx(spread, rel=0.15)


@pytest.mark.parametrize("name", ["change", "volatility", "pegged", "_segment", "_moved", "truth", "price"])
def test_the_name_of_the_target_changes_no_loss(name):
    """Once, losses were in units of an own column of that name, or an own column was not found."""
    panel = walks(200)
    table = forecasts(panel, DAY[100:150])
    expected = evaluate(table, panel)
    found = evaluate(table, panel.rename({"close": name}), target=name)
    assert found.losses.equals(expected.losses)
    assert found.summary.equals(expected.summary)


# ------------------------------------------------------------ piece by piece
def assert_same(one, other):
    for name in ("losses", "summary"):
        assert_frame_equal(getattr(one, name), getattr(other, name), rel_tol=1e-12)
    assert one.pegged == other.pegged


def of_uneven_series():
    """A panel whose series begin on different days, one of them pegged, and forecasts by two models."""
    panel = walks(60).filter((pl.col("series_id") != "c") | (pl.col("time") >= DAY[41]))
    pegged = pl.DataFrame({"series_id": "p", "time": DAY[:60], "close": 7.0})
    panel = pl.concat([panel, pegged]).sort("series_id", "time")
    return panel, two_models(panel, DAY[30:58], tilt=0.001)


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_a_table_scored_a_piece_at_a_time_has_the_same_scores(rows, monkeypatch):
    panel, table = of_uneven_series()
    whole = evaluate(table, panel)
    assert whole.pegged == ("c", "p")  # the scale of c is not known on its first day
    monkeypatch.setattr("tidecast.forecasting.evaluation.scored_rows.PIECE", rows)
    assert_same(evaluate(table, panel), whole)


def test_folds_that_are_scored_one_after_the_other_have_the_same_scores():
    panel, table = of_uneven_series()
    running = RunningEvaluation(panel, "close", True)
    for since, until in ((30, 39), (40, 44), (45, 57)):
        running.add(table.filter(pl.col("origin").is_between(DAY[since], DAY[until])))
    assert_same(running.result(), evaluate(table, panel))


def test_a_model_that_forecasts_some_origins_only_is_compared_on_these_also_piece_by_piece(monkeypatch):
    panel, table = of_uneven_series()
    table = table.filter((pl.col("model") != "GRU") | (pl.col("origin") >= DAY[50]))
    whole = evaluate(table, panel)
    assert pooled(whole, "random_walk")["n_origins"] == pooled(whole, "GRU")["n_origins"] < 10
    monkeypatch.setattr("tidecast.forecasting.evaluation.scored_rows.PIECE", 20)
    assert_same(evaluate(table, panel), whole)


def test_a_row_that_comes_twice_is_found_in_any_piece(monkeypatch):
    panel, table = of_uneven_series()
    monkeypatch.setattr("tidecast.forecasting.evaluation.scored_rows.PIECE", 20)
    with pytest.raises(ValueError, match="2 rows share theirs"):
        evaluate(pl.concat([table, table[-5:-4]]), panel)
