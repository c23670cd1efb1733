"""The report: right numbers, plain words, one file that asks for nothing, whatever the series are called."""

import re
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from tidecast.features import PanelSchema
from tidecast.flows.reporting.report import ReportData, forecast_table, render, track_record, write_report
from tidecast.forecasting.backtesting.backtest import backtest
from tidecast.forecasting.evaluation.decide import decide
from tidecast.forecasting.evaluation.decision import skill_text
from tidecast.forecasting.evaluation.dm_test import compare
from tidecast.forecasting.evaluation.gate_policy import GatePolicy
from tidecast.forecasting.evaluation.metrics import evaluate
from tidecast.forecasting.evaluation.splits import RollingOrigin
from tidecast.forecasting.forecasters.baselines import Drift, RandomWalk

SHARED = {"horizon": 2, "lookback": 16}
NAMES = ["USD", "<script>alert(1)</script>", "../x $a$ & co"]
SCORES = {
    "as_of": pl.Date, "step": pl.Int64, "model": pl.String, "live": pl.Boolean, "crps": pl.Float64,
    "crps_random_walk": pl.Float64, "covered": pl.Boolean,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(random_walks) -> ReportData:
    prices = random_walks(n_series=3, n_rows=400)
    prices = prices.with_columns(pl.col("series_id").replace_strict(dict(zip("ABC", NAMES, strict=True))))
    folds = backtest({"drift": Drift(**SHARED)}, prices, RollingOrigin(n_splits=1, horizon=2, stride=130))
    evaluation = evaluate(folds, prices)
    decision = decide(evaluation.losses, GatePolicy(max_origins=130, min_origins=120), candidate="drift")
    as_of = prices["time"].max()
    return ReportData(
        as_of=as_of, champion="random_walk", version="4", run_id="0123abcd", trained_through=as_of,
        decision={"reason": decision.reason, "verdict": decision.verdict, "decision": decision.to_dict()},
        gate_as_of=as_of, evidence=evaluation.summary, forecasts=RandomWalk(**SHARED).fit(prices).predict(),
        prices=prices, scores=pl.DataFrame(schema=SCORES),
        counts={"rows_in": 12345, "rows_stored": 12000, "rows_corrected": 5, "rows_unchanged": 300,
                "rows_quarantined": 40},
        quarantined={"not_a_session": 39, "not_positive": 1},
        flagged={"stale_quote": 17},
        left_out={"no price for more than 5 sessions": ["<b>CYP</b>", "EEK"]},
        source="ecb", settings_digest="feedbeef", table_versions={"prices": 7}, versions={"torch": "2.13.0"},
    )  # fmt: skip


def scores_of(losses, model="GRU", live=True, start=date(2026, 1, 1)) -> pl.DataFrame:
    """One forecast a day: pairs of the model's and the random walk's loss."""
    rows = [
        {"as_of": start + timedelta(days=day), "step": 1, "model": model, "live": live, "crps": own,
         "crps_random_walk": walk, "covered": day % 10 != 0}
        for day, (own, walk) in enumerate(losses)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SCORES)


class Words(HTMLParser):
    """Visible text, tags and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.seen = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_says_who_is_published_and_why(data):
    seen = Words(render(data)).seen
    assert "The random walk is published: no model earned it" in seen
    assert "The drift against the random walk (turned down)" in seen
    for line in data.decision["verdict"].splitlines():
        assert line.split(" ", 1)[1] in seen
    assert "130 origins" in seen


def test_a_network_is_named_and_no_sentence_is_said_twice(data):
    reason = "GRU is published: its distribution is better than that of the random walk, and its median does no harm."
    seen = Words(render(replace(data, champion="GRU", decision={**data.decision, "reason": reason}))).seen
    assert seen.count("is published") == 1
    assert "The GRU is published Its distribution is better" in seen


def test_without_a_gate_the_page_says_that_no_test_was_held(data):
    decision = {"reason": "Too little history for a gate: 252 origins are needed.", "verdict": None, "decision": None}
    seen = Words(render(replace(data, decision=decision, evidence=None, gate_as_of=None, version="", run_id=""))).seen
    assert "The random walk is published Too little history" in seen
    assert "No network has been tested yet" in seen


def test_the_numbers_of_the_evidence_are_those_of_evaluate(data):
    seen = Words(render(data)).seen
    for row in data.evidence.filter(pl.col("group") == "pooled").iter_rows(named=True):
        name = row["model"].replace("_", " ")
        skill = skill_text(row["skill"], row["skill_low"], row["skill_high"], unit=False)
        assert f"{name} {row['crps']:.4f} {row['mae']:.4f} {skill}" in seen


def test_series_where_the_network_did_worse_are_named_the_worst_first(data):
    skills = dict(zip(NAMES, (-0.01, 0.02, -0.05), strict=True))
    of_series = pl.col("group") == "series"
    found = pl.col("series_id").replace_strict(skills, default=None)
    evidence = data.evidence.with_columns(
        skill=pl.when(of_series).then(found).otherwise("skill"),
        skill_high=pl.when(of_series).then(found + 0.02).otherwise("skill_high"),
    )
    seen = Words(render(replace(data, evidence=evidence))).seen
    assert "worse than the random walk for 2 of 3 series: ../x $a$ & co, USD." in seen
    assert "The 95 % interval excludes zero for: ../x $a$ & co." in seen
    better = evidence.with_columns(skill=pl.when(of_series).then(0.01).otherwise("skill"))
    assert "worse than the random walk for none of 3 series" in Words(render(replace(data, evidence=better))).seen


def test_every_live_series_is_in_the_table_with_median_and_intervals(data):
    table = forecast_table(data.forecasts, data.prices)
    assert [row["series"] for row in table["rows"]] == sorted(NAMES)
    assert table["promises"] == ["90 %", "50 %"]
    seen = Words(render(data)).seen
    for row in table["rows"]:
        of_series = data.forecasts.filter(pl.col("series_id") == row["series"]).sort("step")
        for cell, forecast in zip(row["cells"], of_series.iter_rows(named=True), strict=True):
            number = float(cell["median"].replace(",", ""))
            width = forecast["q0.75"] - forecast["q0.25"]
            assert abs(number - forecast["forecast"]) <= 0.05 * width  # two digits of the interval
            assert cell["median"] in seen
            assert all(span in seen for span in cell["spans"])


def test_a_long_horizon_shows_five_sessions_from_the_first_to_the_last(data):
    forecasts = RandomWalk(horizon=21, lookback=16).fit(data.prices).predict()
    table = forecast_table(forecasts, data.prices)
    assert [session["step"] for session in table["sessions"]] == [1, 6, 11, 16, 21]
    assert "of all steps" in Words(render(replace(data, forecasts=forecasts))).seen


def test_a_series_that_is_a_day_behind_says_so(data):
    late = data.prices.filter((pl.col("series_id") != "USD") | (pl.col("time") < data.as_of))
    forecasts = RandomWalk(**SHARED).fit(late).predict()
    rows = {row["series"]: row["late"] for row in forecast_table(forecasts, late)["rows"]}
    assert rows == {
        name: late.filter(pl.col("series_id") == "USD")["time"].max() if name == "USD" else None for name in NAMES
    }
    assert f"from {rows['USD']}" in Words(render(replace(data, prices=late, forecasts=forecasts))).seen


def test_names_are_text_and_the_page_asks_for_nothing(data):
    page = render(data)
    words = Words(page)
    assert not words.tags & {"b", "link", "iframe", "img", "object"}
    assert all(address.startswith("#") or address == "index.html" for address in words.addresses)
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(|innerHTML", page)
    outside = set(re.findall(r"https?://[^\s\"'<)]+", page))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    for name in (*NAMES, "<b>CYP</b>"):
        assert name in words.seen


def test_what_came_in_and_was_left_out_is_counted(data):
    seen = Words(render(data)).seen
    for said in ("Rows read 12,345", "In quarantine 40", "not a session 39", "not positive 1", "<b>CYP</b>, EEK"):
        assert said in seen
    for said in ("Source: ECB statistics", "0123abcd", "prices version 7", "feedbeef", "torch 2.13.0", "version 4"):
        assert said in seen
    for said in ("Stored, but flagged", "stale quote 17"):
        assert said in seen
    assert "ECB statistics" not in Words(render(replace(data, source="prices.csv"))).seen


def test_the_track_record_is_skill_against_the_random_walk_with_its_interval():
    generator = np.random.default_rng(0)
    walk = generator.uniform(0.5, 1.5, 60)
    own = 0.98 * walk + 0.01 * generator.standard_normal(60)
    scores = pl.concat([scores_of(zip(own, walk, strict=True)), scores_of([(9.0, 1.0)], live=False)])
    (record,) = track_record(scores)
    expected = compare(own, walk, 1)
    assert record["model"] == "the GRU"
    assert (record["forecasts"], record["origins"], record["coverage"]) == (60, 60, "90.0")
    assert record["skill"] == skill_text(expected.skill, expected.low, expected.high, unit=False)
    assert record["against"] == skill_text(expected.skill, expected.low, expected.high)


def test_a_short_track_record_has_no_interval_and_an_empty_one_is_said(data):
    (record,) = track_record(scores_of([(1.0, 1.0)] * 3))
    assert record["skill"] == "0.00 (too few yet for an interval)"
    assert track_record(scores_of([(1.0, 1.0)], live=False)) == []
    late = replace(data, scores=scores_of([(1.0, 1.0)], live=False), live=False)
    seen = Words(render(late)).seen
    assert "No live forecast can be scored yet. 1 forecast issued late is not counted." in seen
    assert "Issued late: these forecasts are not part of the track record." in seen


def test_several_champions_stand_one_under_the_other():
    second = scores_of([(0.9, 1.0)] * 4, start=date(2026, 2, 1))
    records = track_record(pl.concat([scores_of([(1.0, 1.0)] * 5, model="random_walk"), second]))
    assert [(record["model"], record["forecasts"]) for record in records] == [
        ("all published forecasts", 9), ("the random walk", 5), ("the GRU", 4),
    ]  # fmt: skip


def test_pegged_series_and_other_quantiles_make_no_difference(data):
    pegged = data.prices.with_columns(close=pl.when(pl.col("series_id") == "USD").then(3.75).otherwise("close"))
    forecasts = RandomWalk(**SHARED, quantiles=(0.1, 0.9)).fit(pegged).predict()
    seen = Words(render(replace(data, prices=pegged, forecasts=forecasts))).seen
    assert "Pegged, so forecast but not scored: USD." in seen
    assert "then the 80 % interval" in seen
    only_median = RandomWalk(**SHARED, quantiles=(0.5,)).fit(pegged).predict()
    assert "Each cell: the median." in Words(render(replace(data, prices=pegged, forecasts=only_median))).seen


def test_prices_at_and_below_zero_are_shown(data):
    spread = data.prices.with_columns(close=pl.col("close") - pl.col("close").mean().over("series_id"))
    forecasts = RandomWalk(**SHARED, schema=PanelSchema(positive=False)).fit(spread).predict()
    assert "−" in render(replace(data, prices=spread, forecasts=forecasts, positive=False))


def test_a_verdict_of_a_former_version_is_shown_in_todays_terms(data):
    verdict = "Centre 0.0 ± 0.0 % (no better than the last price).\nSpread +0.3 ± 0.1 %, p = 0.031."
    seen = Words(render(replace(data, decision={**data.decision, "verdict": verdict}))).seen
    assert "Median 0.0 % (no better than the last price). Distribution +0.3 %, p = 0.031." in seen
    assert "Centre" not in seen
    assert "±" not in seen


def test_evidence_of_a_former_version_gets_intervals_from_its_errors(data):
    former = data.evidence.drop("skill_low", "skill_high")
    row = former.filter(group="pooled", model="drift").row(0, named=True)
    low, high = (row["skill"] + sign * 1.96 * row["skill_se"] for sign in (-1, 1))
    seen = Words(render(replace(data, evidence=former))).seen
    assert f"{row['mae']:.4f} {skill_text(row['skill'], low, high, unit=False)}" in seen


def test_the_file_is_written_whole_or_not_at_all(data, tmp_path, monkeypatch):
    path = write_report(tmp_path / "reports" / "2026-11-20.html", data)
    before = path.read_bytes()
    assert before.decode() == render(data)
    write_report(path, data)
    assert path.read_bytes() == before
    with monkeypatch.context() as patch:
        patch.setattr("tidecast.flows.reporting.report.render", lambda data: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_report(path, data)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]
