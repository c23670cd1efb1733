"""The tables of the watch: the live record, the width of bands in three parts, online calibration, demotion."""

import math
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.flows.watch.simulation import SETTINGS, days_of, panel, tables, with_break
from tidecast.flows.watch.band_width import band_widths
from tidecast.flows.watch.demotion import evidence_against, stake
from tidecast.flows.watch.live_record import live_record, promoted_since
from tidecast.flows.watch.online_calibration import misses, rescaled, width_factors
from tidecast.flows.watch.record_text import record_lines
from tidecast.forecasting.evaluation.dm_test import compare


@pytest.fixture(scope="module")
def prices():
    return panel()


@pytest.fixture(scope="module")
def wide(prices):
    return tables(prices, "GRU", width=1.3)


def test_the_record_is_that_of_the_scores(wide):
    record = live_record(wide)
    row = record.filter(window="all", group="pooled").row(0, named=True)
    means = wide.scores.group_by("as_of").agg(pl.col("crps", "crps_random_walk").mean()).sort("as_of")
    expected = compare(means["crps"].to_numpy(), means["crps_random_walk"].to_numpy(), 5)
    found = row["skill"], row["skill_low"], row["skill_high"]
    assert found == pytest.approx((expected.skill, expected.low, expected.high), rel=1e-9)
    assert row["skill"] < 0 < row["coverage"]
    assert row["coverage_low"] < row["coverage"] <= row["coverage_high"] <= 1
    assert row["below"] + row["above"] == pytest.approx(1 - wide.scores["covered"].mean())
    assert row["pit"] == pytest.approx(0.5, abs=0.1)
    assert row["interval_score"] > 0
    assert record.filter(window="all", group="series").height == wide.scores["series_id"].n_unique()
    assert "all (59 days): −" in record_lines(record)


@pytest.mark.parametrize(("group", "column"), [("series", "series_id"), ("step", "step"), ("model", "model")])
def test_a_group_has_the_numbers_of_its_own_scores_alone(wide, group, column):
    numbers = pl.selectors.float() | pl.selectors.by_name("first", "last", "days", "forecasts")
    for row in live_record(wide).filter(window="all", group=group).partition_by(column):
        alone = replace(wide, scores=wide.scores.filter(pl.col(column) == row[column].item()))
        expected = live_record(alone).filter(window="all", group="pooled")
        assert_frame_equal(row.select(numbers), expected.select(numbers), rel_tol=1e-9)


def test_forecasts_issued_late_stay_out_of_the_record(wide):
    days = wide.scores["as_of"].unique().sort()
    live = pl.col("as_of") >= days[30]
    record = live_record(replace(wide, scores=wide.scores.with_columns(live=live)))
    row = record.filter(window="all", group="pooled").row(0, named=True)
    assert (row["first"], row["days"]) == (days[30], len(days) - 30)
    assert live_record(replace(wide, scores=wide.scores.with_columns(live=False))).is_empty()


def test_coverage_after_a_break_is_that_of_the_sixty_sessions_after_it(prices):
    known = tables(with_break(prices, days_of(prices)[20], 3.0))
    row = live_record(known).filter(window="all", group="pooled").row(0, named=True)
    assert 0 < row["forecasts_after_break"] < row["forecasts"]
    assert row["coverage_after_break"] < 0.9


def test_a_record_since_promotion_begins_with_the_recipe_and_not_with_its_refresh():
    rows = [("random_walk", "first", 1), ("GRU", "promoted", 2), ("GRU", "refreshed", 3), ("GRU", "kept", 4)]
    decisions = pl.DataFrame(
        [{"decision": str(day), "winner": winner, "outcome": outcome, "as_of": date(2026, 1, day)}
         for winner, outcome, day in rows]
    )  # fmt: skip
    assert promoted_since(decisions, "GRU") == date(2026, 1, 2)
    assert promoted_since(decisions, "LSTM") is None


def test_the_parts_of_a_width_add_up_and_the_random_walk_has_no_network(prices, wide):
    for known in (wide, tables(prices)):
        widths = band_widths(known, SETTINGS)
        assert widths.height == 8
        parts = widths["volatility"] + widths["network"] + widths["calibration"]
        assert parts.to_list() == pytest.approx(widths["ratio"].log().to_list(), abs=1e-9)
    assert widths["network"].to_list() == pytest.approx([0.0] * 8, abs=1e-12)
    assert widths["calibration"].to_list() == pytest.approx([0.0] * 8, abs=1e-9)
    assert widths["of_random_walk"].to_list() == [1.0] * 8


def test_what_a_network_adds_to_a_width_is_its_own_part(prices, wide):
    last = days_of(prices)[-1]
    wider = pl.when(pl.col("as_of") == last).then(math.exp(0.2)).otherwise(1.0)
    names = [name for name in wide.forecasts.columns if name.startswith("q0.")]
    moved = [(pl.col("forecast") * (pl.col(name) / pl.col("forecast")) ** wider).alias(name) for name in names]
    before = band_widths(wide, SETTINGS).sort("series_id")
    after = band_widths(replace(wide, forecasts=wide.forecasts.with_columns(moved)), SETTINGS).sort("series_id")
    assert before["of_random_walk"].median() == pytest.approx(1.3, abs=0.05)
    same = after["usual_day"] == before["usual_day"]
    assert (after["network"] - before["network"]).filter(same).to_list() == pytest.approx([0.2] * int(same.sum()))


def test_a_stake_grows_on_a_worse_champion_only_and_hardly_ever_on_an_equal_one():
    rng = np.random.default_rng(0)
    noise = rng.standard_t(4, size=(252, 5)) * 0.1
    assert stake(noise + 0.05).max() > 100
    assert stake(noise - 0.05).max() < 5
    alarms = [stake(rng.standard_t(4, size=(252, 5)) * 0.1).max() >= 100 for _ in range(200)]
    assert sum(alarms) <= 4


def test_a_stake_does_not_depend_on_what_comes_later():
    rng = np.random.default_rng(1)
    values = rng.normal(0.02, 0.1, size=(120, 5))
    assert np.array_equal(stake(values)[:80], stake(values[:80]))


def test_the_random_walk_is_never_demoted(prices):
    assert evidence_against(tables(prices)) is None


def test_online_calibration_widens_what_covers_too_little_and_sees_nothing_later(prices):
    narrow = tables(prices, width=0.6)
    truths = prices.select("series_id", "time", truth="close")
    known = misses(narrow.forecasts.join(truths, on=["series_id", "time"]))
    days = days_of(prices)
    factors = width_factors(known, days, 0.9, rate=0.1)
    assert factors.filter(as_of=days[0])["factor"].to_list() == [1.0] * 5
    assert factors.filter(as_of=days[-1])["factor"].min() > 1.1
    early = width_factors(known.filter(pl.col("time") <= days[30]), days[:31], 0.9, rate=0.1)
    assert early.equals(factors.filter(pl.col("as_of") <= days[30])) or early.sort("step", "as_of").equals(
        factors.filter(pl.col("as_of") <= days[30]).sort("step", "as_of")
    )
    wider = rescaled(narrow.forecasts, factors)
    assert (wider["q0.95"] >= narrow.forecasts["q0.95"]).all()
    assert wider["forecast"].equals(narrow.forecasts["forecast"])
