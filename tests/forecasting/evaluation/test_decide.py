"""The gate."""

import json
import math
from datetime import date, timedelta
from functools import lru_cache

import numpy as np
import polars as pl
import pytest

from tidecast.forecasting.evaluation.decide import decide
from tidecast.forecasting.evaluation.decision import p_value, percent, skill_text
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

FIRST = date(2020, 1, 1)


def losses(models, n_origins=504, n_series=10, n_steps=2, seed=0):
    """A table of losses; `models` is {name: (factor on crps, factor on ae)} of a loss that all models share.

    Each model has its own noise besides; that of the names sorted first comes first, so tables of a seed agree.
    """
    rng = np.random.default_rng(seed)
    days = pl.date_range(FIRST, FIRST + timedelta(days=n_origins - 1), eager=True).alias("origin")
    series = pl.DataFrame({"series_id": [f"s{k:02d}" for k in range(n_series)]})
    rows = series.join(pl.DataFrame(days), how="cross").join(pl.DataFrame({"step": range(1, n_steps + 1)}), how="cross")
    common = np.abs(rng.standard_t(4, size=len(rows))) + 0.1
    return pl.concat(
        rows.with_columns(
            model=pl.lit(name),
            crps=crps * common + 0.05 * rng.standard_normal(len(rows)),
            ae=ae * common + 0.05 * rng.standard_normal(len(rows)),
        )
        for name, (crps, ae) in sorted(models.items())
    )


BETTER = {"GRU": (0.98, 1.0), "random_walk": (1.0, 1.0)}


def failed(decision):
    return [check.name for check in decision.checks if not check.passed]


# -------------------------------------------------------------- the verdict
def test_a_candidate_with_a_better_distribution_is_promoted_and_only_its_distribution_is_called_better():
    decision = decide(losses(BETTER))
    assert (decision.winner, decision.promoted, decision.n_origins) == ("GRU", True, 504)
    assert decision.distribution_skill == pytest.approx(0.02, abs=0.003)
    assert decision.distribution_p < 0.001
    assert decision.verdict.splitlines() == [
        "Median +0.01 % (95 %: −0.12 … 0.14), no better than the last price.",
        "Distribution +2.03 % (95 %: 1.90 … 2.16), p < 0.001.",
    ]
    assert decision.reason == (
        "GRU is published: its distribution is better than that of the random walk, and its median does no harm."
    )
    assert "price" not in decision.reason


def test_when_no_network_earns_it_the_random_walk_is_published_and_said_so():
    decision = decide(losses({"GRU": (1.0, 1.0), "random_walk": (1.0, 1.0)}))
    assert (decision.winner, decision.promoted) == ("random_walk", False)
    assert decision.reason.startswith("No model earned it: the random walk is published. GRU failed: CRPS skill ")
    assert failed(decision) == ["distribution"]


def test_a_median_that_is_worse_is_not_published_however_good_the_distribution():
    decision = decide(losses({"GRU": (0.98, 1.01), "random_walk": (1.0, 1.0)}))
    assert failed(decision) == ["median"]
    assert decision.verdict.startswith("Median −0.99 % (95 %: −1.12 … −0.86), worse than the last price.")


def test_a_median_may_be_worse_by_a_fifth_of_a_per_cent():
    assert decide(losses({"GRU": (0.98, 1.001), "random_walk": (1.0, 1.0)})).promoted


def test_a_median_is_called_better_only_if_it_is_significant():
    assert ", better than the last price." in decide(losses({"GRU": (0.98, 0.98), "random_walk": (1.0, 1.0)})).verdict


def test_an_equal_forecast_has_no_skill_and_p_one():
    table = losses({"random_walk": (1.0, 1.0)})
    decision = decide(pl.concat([table, table.with_columns(model=pl.lit("GRU"))]))
    assert (decision.distribution_skill, decision.distribution_p, decision.median_skill) == (0.0, 1.0, 0.0)
    assert decision.verdict == "Median 0.00 % (equal to the last price).\nDistribution 0.00 %, p = 1.000."
    assert not decision.promoted


def test_a_tenth_of_the_series_may_not_pay_for_the_others():
    table = losses(BETTER, n_series=20)
    paying = (pl.col("model") == "GRU") & pl.col("series_id").is_in(["s00", "s01", "s02"])
    decision = decide(table.with_columns(crps=pl.when(paying).then(pl.col("crps") * 1.06).otherwise("crps")))
    assert failed(decision) == ["worst decile"]
    assert decision.worst_decile < -0.02
    one = (pl.col("model") == "GRU") & (pl.col("series_id") == "s00")
    assert decide(table.with_columns(crps=pl.when(one).then(pl.col("crps") * 1.06).otherwise("crps"))).promoted


# ------------------------------------------------------------- the champion
def test_a_candidate_must_beat_the_champions_recipe_too():
    models = {"GRU": (0.98, 1.0), "LSTM": (0.98, 1.0), "random_walk": (1.0, 1.0)}
    decision = decide(losses(models), champion="LSTM")
    assert (decision.winner, decision.candidate, failed(decision)) == ("LSTM", "GRU", ["champion"])
    assert decision.reason.startswith("LSTM stays. GRU failed: CRPS skill against LSTM is ")
    better = decide(losses(models | {"GRU": (0.96, 1.0)}), champion="LSTM")
    assert better.winner == "GRU"
    assert "better than that of the random walk and LSTM" in better.reason


def test_a_candidate_that_beats_a_poor_champion_but_not_the_random_walk_is_not_published():
    models = {"GRU": (1.0, 1.0), "LSTM": (1.03, 1.0), "random_walk": (1.0, 1.0)}
    decision = decide(losses(models), champion="LSTM")
    assert failed(decision) == ["distribution"]
    assert (decision.winner, decision.promoted, decision.demoted) == ("random_walk", False, True)
    assert decision.reason.startswith("The random walk is published. LSTM no longer beats the random walk: CRPS ")
    assert "GRU failed: CRPS skill" in decision.reason


def test_a_champion_that_no_longer_beats_the_random_walk_is_in_nobodys_way():
    models = {"GRU": (0.98, 1.0), "LSTM": (0.981, 1.01), "random_walk": (1.0, 1.0)}  # GRU is hardly better than LSTM
    decision = decide(losses(models), champion="LSTM")
    assert (decision.winner, decision.demoted) == ("GRU", False)
    assert [check.name for check in decision.champion_checks if not check.passed] == ["median"]
    assert "LSTM no longer beats the random walk: MAE of the median is 1.0" in decision.reason


def test_a_champion_on_trial_alone_stays_or_makes_way():
    good = decide(losses({"LSTM": (0.98, 1.0), "random_walk": (1.0, 1.0)}), candidate="LSTM", champion="LSTM")
    assert (good.winner, good.promoted, good.demoted) == ("LSTM", False, False)
    assert good.reason.startswith("LSTM was tested again and stays: CRPS skill against the random walk is +2.")
    bad = decide(losses({"LSTM": (1.0, 1.0), "random_walk": (1.0, 1.0)}), candidate="LSTM", champion="LSTM")
    assert (bad.winner, bad.demoted) == ("random_walk", True)


def test_a_champion_needs_less_evidence_to_stay_than_a_candidate_to_come():
    table = losses({"LSTM": (0.999, 1.0), "random_walk": (1.0, 1.0)}, seed=1)
    (p,) = {decide(table, GatePolicy(level=level)).distribution_p for level in (0.01, 0.001)}
    assert 0.01 < p < 0.1
    assert decide(table).winner == "random_walk"
    assert decide(table, candidate="LSTM", champion="LSTM").winner == "LSTM"
    assert decide(table, GatePolicy(stay_level=0.01), candidate="LSTM", champion="LSTM").winner == "random_walk"


def test_too_short_a_history_demotes_no_champion():
    table = losses({"LSTM": (1.03, 1.0), "random_walk": (1.0, 1.0)}, n_origins=251)
    assert decide(table, candidate="LSTM", champion="LSTM").winner == "LSTM"


def test_a_champion_that_is_not_finite_cannot_stay():
    table = losses({"GRU": (0.98, 1.0), "LSTM": (0.9, 1.0), "random_walk": (1.0, 1.0)})
    broken = (pl.col("model") == "LSTM") & (pl.col("origin") == FIRST + timedelta(days=400))
    spoiled = table.with_columns(crps=pl.when(broken).then(math.nan).otherwise("crps"))
    assert decide(spoiled, champion="LSTM").winner == "GRU"
    assert decide(table, champion="LSTM").winner == "LSTM"
    assert decide(spoiled, candidate="LSTM", champion="LSTM").winner == "random_walk"


# ---------------------------------------------------------- what is refused
@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
@pytest.mark.parametrize("column", ["crps", "ae"])
def test_a_loss_that_is_not_finite_refuses_the_candidate(bad, column):
    one = (pl.col("model") == "GRU") & (pl.col("series_id") == "s03") & (pl.col("origin") == date(2020, 12, 24))
    decision = decide(losses(BETTER).with_columns(pl.when(one).then(pl.lit(bad)).otherwise(column).alias(column)))
    assert not decision.promoted
    assert "2 of 10080 forecasts are missing or not finite" in decision.reason
    assert decision.verdict.startswith("Median not known: forecasts are missing or not finite.")


def test_a_candidate_that_leaves_out_hard_origins_does_not_profit():
    table = losses({"GRU": (1.0, 1.0), "random_walk": (1.0, 1.0)})
    hard = (pl.col("model") == "GRU") & (pl.col("crps") > pl.col("crps").quantile(0.9))
    decision = decide(table.filter(~hard))
    assert not decision.promoted
    assert "complete" in failed(decision)
    late = (pl.col("model") == "GRU") & (pl.col("series_id") == "s00") & (pl.col("origin") < FIRST + timedelta(days=9))
    assert "18 of 10080 forecasts are missing" in decide(losses(BETTER).filter(~late)).reason


def test_only_the_newest_origins_count():
    old = losses({"GRU": (0.5, 0.5), "random_walk": (1.0, 1.0)}, n_origins=300)
    new = losses({"GRU": (1.05, 1.0), "random_walk": (1.0, 1.0)}, n_origins=1260)
    both = pl.concat([old, new.with_columns(pl.col("origin") + pl.duration(days=300))])
    assert decide(both).to_dict() | {"first_origin": 0, "last_origin": 0} == decide(new).to_dict() | {
        "first_origin": 0, "last_origin": 0
    }  # fmt: skip
    assert decide(both).first_origin == FIRST + timedelta(days=300)


def test_with_too_few_origins_the_random_walk_stays():
    short = decide(losses(BETTER, n_origins=251))
    assert failed(short) == ["history"]
    assert "251 origins, at least 252 are needed" in short.reason
    assert decide(losses(BETTER, n_origins=252)).promoted
    very_short = decide(losses(BETTER, n_origins=100))
    assert very_short.distribution_p is None
    assert very_short.verdict.endswith("too little history for a p-value.")


def test_unclear_candidates_are_refused():
    table = losses({"GRU": (1.0, 1.0), "LSTM": (1.0, 1.0), "random_walk": (1.0, 1.0)}, n_origins=5)
    with pytest.raises(ValueError, match=r"One candidate is tested, found 'GRU', 'LSTM'\. Name it"):
        decide(table)
    with pytest.raises(ValueError, match="One candidate is tested, found none"):
        decide(table.filter(model="random_walk"))
    with pytest.raises(ValueError, match="must hold the model 'RNN', found 'GRU', 'LSTM', 'random_walk'"):
        decide(table, candidate="RNN")
    with pytest.raises(ValueError, match="must not be the random walk"):
        decide(table, candidate="random_walk", champion="GRU")
    with pytest.raises(ValueError, match="must hold the model 'random_walk'"):
        decide(table.filter(pl.col("model") != "random_walk"), candidate="GRU")


def test_bad_tables_are_refused():
    table = losses(BETTER, n_origins=5)
    with pytest.raises(ValueError, match=r"\['ae'\] not found"):
        decide(table.drop("ae"))
    walk = pl.col("model") == "random_walk"
    with pytest.raises(ValueError, match="Losses of the random walk must be finite"):
        decide(table.with_columns(crps=pl.when(walk).then(math.inf).otherwise("crps")))
    with pytest.raises(ValueError, match="one row for each model"):
        decide(pl.concat([table, table.filter(model="GRU")]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": 0.0}, "level must be above 0 and at most 0.5, got 0.0"),
        ({"level": math.nan}, "level must be above 0"),
        ({"min_origins": 119}, "min_origins must be at least 120, got 119"),
        ({"max_origins": 200}, "max_origins must be at least min_origins = 252, got 200"),
        ({"median_limit": 0.99}, "median_limit must be at least 1"),
        ({"worst_decile": 0.1}, "worst_decile must be above -1 and at most 0, got 0.1"),
        ({"stay_level": 0.0}, "stay_level must be above 0 and at most 0.5, got 0.0"),
        ({"every": 0}, "every must be at least 1, got 0"),
    ],
)
def test_impossible_policies_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        GatePolicy(**settings)


# ----------------------------------------------------------- pure and plain
def test_the_order_of_rows_and_the_kind_of_frame_do_not_matter():
    table = losses(BETTER)
    shuffled = table.sample(fraction=1, shuffle=True, seed=1)
    one, other, pandas = decide(table), decide(shuffled), decide(shuffled.to_pandas())
    for field in ("distribution_skill", "distribution_se", "median_skill", "worst_decile", "n_origins", "promoted"):
        assert getattr(one, field) == pytest.approx(getattr(other, field))
        assert getattr(pandas, field) == pytest.approx(getattr(other, field))


def test_a_decision_is_the_same_to_the_bit_however_the_rows_lie():
    """Unsorted rows were added up by whichever thread was first: the last digits of skills changed from run to run."""
    table = losses(BETTER | {"LSTM": (0.99, 1.0)}, n_origins=300)
    first, *others = (decide(table.sample(fraction=1, shuffle=True, seed=k), candidate="GRU", champion="LSTM")
                      for k in range(6))  # fmt: skip
    assert all(other == first for other in others)


def test_a_pinball_loss_over_other_levels_serves_as_well():
    assert decide(losses(BETTER).rename({"crps": "pinball"})).promoted


def test_numbers_are_written_as_people_write_them():
    assert [percent(x) for x in (0.0071, -0.003, 0.00001, -0.00001)] == ["+0.71 %", "−0.30 %", "0.00 %", "0.00 %"]
    assert skill_text(0.0071, 0.0031, 0.0111) == "+0.71 % (95 %: 0.31 … 1.11)"
    assert skill_text(-0.0001, -0.0031, 0.00001, unit=False) == "−0.01 (−0.31 … 0.00)"
    assert [skill_text(0.0, 0.0, 0.0), skill_text(0.002), skill_text(None)] == ["0.00 %", "+0.20 %", "not known"]
    written = [p_value(x) for x in (0.2972, 0.0096, 0.003, 0.0004)]
    assert written == ["p = 0.297", "p = 0.0096", "p = 0.003", "p < 0.001"]


def test_a_decision_can_be_written_as_json():
    decision = decide(losses(BETTER))
    written = json.loads(json.dumps(decision.to_dict()))
    assert written["first_origin"] == "2020-01-01"
    assert written["verdict"] == decision.verdict
    assert [check["name"] for check in written["checks"]] == [
        "history",
        "complete",
        "distribution",
        "median",
        "worst decile",
    ]


# ------------------------------------------------------------- in simulation
@lru_cache
def keys_of(n_origins, n_series, horizon):
    keys = losses({"random_walk": (1.0, 1.0)}, n_origins, n_series, horizon).select("origin", "series_id", "step")
    return keys.sort("origin", "series_id", "step")


def equal_losses(rng, n_origins, n_series=8, horizon=3):
    """Losses of two models of equal accuracy: overlapping, wild and calm times, fat tails, series moving together."""
    calm_and_wild = np.zeros(n_origins + horizon)
    for t in range(1, len(calm_and_wild)):
        calm_and_wild[t] = 0.97 * calm_and_wild[t - 1] + 0.15 * rng.normal()

    def paths():
        shape = (n_origins + horizon, n_series)
        shocks = rng.standard_t(4, size=(shape[0], 1)) + rng.standard_t(4, size=shape)
        sums = np.cumsum(shocks * np.exp(calm_and_wild)[:, None], axis=0)
        return np.stack([sums[horizon:] - sums[horizon - k : -k] for k in range(1, horizon + 1)], axis=-1)

    common, keys = np.abs(paths()), keys_of(n_origins, n_series, horizon)
    return pl.concat(
        keys.with_columns(
            model=pl.lit(name), crps=(common + 0.05 * paths()).ravel(), ae=(common + 0.05 * paths()).ravel()
        )
        for name in ("random_walk", "GRU")
    )


def test_an_equal_model_that_is_gated_every_quarter_of_a_year_is_hardly_ever_promoted():
    """1,000 tables of 20 series and 5 steps with gates at 0, 63, … 252 sessions: 1.9 % ever promote."""
    rng = np.random.default_rng(0)
    promoted = []
    for _ in range(60):
        table = equal_losses(rng, n_origins=504 + 252)
        gates = [FIRST + timedelta(days=63 * k) for k in range(5)]
        windows = (table.filter(pl.col("origin").is_between(day, day + timedelta(days=503))) for day in gates)
        promoted.append(any(decide(window).promoted for window in windows))
    assert np.mean(promoted) <= 0.07


def test_a_distribution_that_is_a_few_per_cent_better_is_found():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(20):
        table = equal_losses(rng, n_origins=504)
        better = pl.when(pl.col("model") == "GRU").then(0.95 * pl.col("crps")).otherwise("crps")
        found.append(decide(table.with_columns(crps=better)).distribution_p < 0.01)
    assert np.mean(found) > 0.7
