"""A day's page: all its series in a block of JSON, whatever their names; nothing but its own script may run."""

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from datetime import date, timedelta
from functools import lru_cache

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flows.reporting.pages.page_data import Outline, page_data, series_of, watch_data
from tidecast.flows.redaction import redact
from tidecast.flows.reporting.pages import series_json as made
from tidecast.flows.reporting.pages.changes import changes_by_series
from tidecast.flows.reporting.pages.series_json import days_of
from tidecast.flows.reporting.pages.series_table import newest_rows, pegged_series
from tidecast.flows.reporting.pages.template import SCRIPT_TAG, script_text
from tidecast.flows.reporting.report import render

NAMES = ["USD", "</script><script>alert(1)</script>", "<!-- open", "a&b \u2028 c", "نفط", "🛢 crude", "A" * 60]
ANY_NAME = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def data():
    return page_data(NAMES)


@pytest.fixture(scope="module")
def page(data):
    return render(data)


def decoded(found, i):
    """Prices of a series' forecast, a row per step, as the page's script reads them."""
    width, unit = len(found["levels"]), 10 ** found["digits"][i]
    whole = [(found["last"][i] + delta) / unit for delta in found["forecast"][i]]
    return [whole[at : at + width] for at in range(0, len(whole), width)]


def test_the_json_holds_the_table_of_forecasts_to_the_digit(data, page):
    found = series_of(page)
    assert found["names"] == sorted(NAMES)
    columns = ["forecast" if level == 0.5 else f"q{level!r}" for level in found["levels"]]
    assert len(columns) == 19
    for i, name in enumerate(found["names"]):
        table = data.forecasts.filter(pl.col("series_id") == name).sort("step")
        assert days_of(found["dayLists"][found["ahead"][i]]) == table["time"].to_list()
        for numbers, row in zip(decoded(found, i), table.select(columns).iter_rows(), strict=True):
            assert numbers == [round(value, found["digits"][i]) for value in row]
        width = table["q0.75"][0] - table["q0.25"][0]
        assert 10.0 ** -found["digits"][i] <= width / 99  # three digits of the interval


def test_the_json_holds_the_newest_prices_and_their_days(data, page):
    found = series_of(page)
    for i, name in enumerate(found["names"]):
        past = data.prices.filter(pl.col("series_id") == name).tail(made.HISTORY)
        whole = [sum(found["past"][i][: k + 1]) for k in range(len(found["past"][i]))]
        assert [value / 10 ** found["digits"][i] for value in whole] == [
            round(price, found["digits"][i]) for price in past["close"]
        ]
        assert whole[-1] == found["last"][i]
        assert days_of(found["dayLists"][found["pastDays"][i]]) == past["time"].to_list()


def test_no_name_ends_the_block_of_data(page):
    block = page.partition('id="series-data">')[2].partition("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(block)
    assert json.loads(block)["names"] == sorted(NAMES)


@lru_cache
def usual_day(n_series):
    """A day of series with plain names, and the tags of its page."""
    usual = page_data([f"S{k}" for k in range(n_series)])
    return usual, Outline(render(usual)).tags


@settings(max_examples=25, deadline=None)
@given(st.lists(ANY_NAME, min_size=3, max_size=8, unique=True))
def test_names_drawn_at_random_never_break_the_page(names):
    usual, tags = usual_day(len(names))
    renamed = dict(zip(usual.forecasts["series_id"].unique().sort(), sorted(names), strict=True))
    rename = pl.col("series_id").replace_strict(renamed)
    tables = {name: getattr(usual, name).with_columns(rename) for name in ("forecasts", "prices")}
    before = replace(usual.before, forecasts=usual.before.forecasts.with_columns(rename))
    watched = watch_data(tables["prices"], usual.as_of)
    outline = Outline(page := render(replace(usual, **tables, before=before, watched=watched)))
    assert outline.tags == tags
    assert series_of(page)["names"] == sorted(names)
    assert set(outline.names) == set(names)


def test_the_policy_allows_the_pages_own_script_and_no_other(page):
    outline = Outline(page)
    scripts = [attributes for tag, attributes in outline.attributes if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "series-data"}, {"id": "page-script"}]
    script = page.partition(SCRIPT_TAG)[2].partition("</script>")[0]
    assert script == script_text()
    policy = next(
        attributes["content"] for tag, attributes in outline.attributes if attributes.get("http-equiv")
    )  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert not [name for _, attributes in outline.attributes for name in attributes if name.startswith("on")]


def test_hiding_secrets_changes_names_only_and_never_a_number_or_the_script(monkeypatch):
    """Once thought through: a password of digits, hidden in the whole page, would have broken data and pictures."""
    usual = series_of(render(page_data(["USD", "api-key=s3cret", "postgresql://me:hunter2@host/db"])))
    digits = str(abs(usual["last"][0]))
    monkeypatch.setenv("PGPASSWORD", digits)
    page = render(page_data(["USD", "api-key=s3cret", "postgresql://me:hunter2@host/db"]))
    found = series_of(page)
    assert found["last"] == usual["last"]
    assert not re.search("s3cret|hunter2", page)
    assert page.partition(SCRIPT_TAG)[2].partition("</script>")[0] == script_text()
    assert redact(script_text()) == script_text()


def test_a_long_horizon_of_many_series_keeps_the_intervals_and_some_steps(monkeypatch):
    data = page_data(["A", "B"], horizon=12)
    assert made.chosen(data.forecasts)[0] == list(range(1, 13))
    monkeypatch.setattr(made, "MOST_NUMBERS", 2 * 5 * 6)
    steps, columns = made.chosen(data.forecasts)
    assert columns == ["q0.05", "q0.25", "forecast", "q0.75", "q0.95"]
    assert (steps[0], steps[-1], len(steps)) == (1, 12, 6)
    found = series_of(render(data))
    assert (found["steps"], found["spans"]) == (steps, [[0, 4], [1, 3]])
    table = data.forecasts.filter(pl.col("series_id") == "B", pl.col("step").is_in(steps)).sort("step")
    assert [row[2] for row in decoded(found, 1)] == [round(value, found["digits"][1]) for value in table["forecast"]]


def test_series_that_are_not_forecast_are_in_the_table_with_their_reason(data):
    reason = "no price for more than 5 sessions"
    found = series_of(render(replace(data, left_out={reason: ["OLD"]})))
    i = found["names"].index("OLD")
    assert (found["forecast"][i], found["last"][i], found["past"][i]) == (None, None, [])
    assert found["reasons"][found["reason"][i]] == reason
    assert found["markNames"][found["marks"][i][0]] == "not forecast"


def test_what_is_worth_a_look_comes_first(data):
    finding = {"state": "missing_series", "what": "A series is missing.", "since": data.as_of, "how_sure": "sure",
               "to_do": "Ask.", "series": ["USD"]}  # fmt: skip
    flags = pl.DataFrame({"series_id": ["🛢 crude", None], "rule": ["stale_quote", "stale_feed"]})
    page = render(replace(data, flags=flags, watched=watch_data(data.prices, data.as_of, [finding])))
    found = series_of(page)
    ranked = [name for _, name in sorted(zip(found["rank"], found["names"], strict=True))]
    assert ranked[0] == "USD"
    own = [[found["markNames"][mark] for mark in marks] for marks in found["marks"]]
    marks = dict(zip(found["names"], own, strict=True))
    assert "in a finding" in marks["USD"]
    assert "flagged: stale quote" in marks["🛢 crude"]
    assert "1 finding: missing series" in page


def test_changes_since_the_session_before_by_hand():
    day, step = date(2026, 11, 26), timedelta(days=1)

    def forecast(median, low, high, origin):
        return {"series_id": "A", "step": 1, "origin": origin, "time": origin + step, "forecast": median,
                "q0.05": low, "q0.95": high}  # fmt: skip

    before = pl.DataFrame([forecast(100.0, 95.0, 104.0, day)])
    now = pl.DataFrame([forecast(106.0, 96.0, 116.0, day + step)])
    last = pl.DataFrame({"series_id": ["A"], "close": [106.0], "time": [day + step]})
    (row,) = changes_by_series(now, before, last, positive=True).to_dicts()
    assert row["reach"] == pytest.approx(1.5)  # 6 above the median, where the interval reaches 4
    assert row["outside"]
    assert row["away"] == pytest.approx(0.06)
    assert row["width_ratio"] == pytest.approx(math.log(116 / 96) / math.log(104 / 95))
    late = last.with_columns(time=pl.lit(day))  # no new price: nothing is said of it
    assert changes_by_series(now, before, late, positive=True)["outside"].to_list() == [None]


def test_the_page_says_what_changed(data):
    names = data.forecasts["series_id"].unique().sort()
    gone = replace(
        data, version="4", champion="GRU", forecasts=data.forecasts.filter(pl.col("series_id") != names[0]),
        before=replace(data.before, forecasts=data.before.forecasts.filter(pl.col("series_id") != names[1])),
        corrected=pl.DataFrame({"series_id": ["USD"], "time": [data.as_of], "before": [1.25], "close": [1.5]}),
    )  # fmt: skip
    page = render(gone)
    assert "The GRU, version 4. Before: the random walk." in page
    assert "New: " in page
    assert "; no longer forecast: " in page
    assert "1.25 → 1.5" in page
    assert "What changed since" not in render(replace(data, before=None))


def test_pegs_are_found_in_the_newest_rows_as_in_all(untidy_panel):
    panel = untidy_panel.sort("series_id", "time")
    names = panel.select("series_id").unique()
    assert pegged_series(newest_rows(panel), names, True) == pegged_series(panel, names, True) == ["A"]
    newest = newest_rows(panel, 5)
    assert newest.equals(panel.drop_nulls("close").group_by("series_id", maintain_order=True).tail(5))
    assert newest_rows(panel.clear()).is_empty()


def test_every_table_scrolls_by_itself_and_has_scopes(page):
    outline = Outline(page)
    heads = [attributes for tag, attributes in outline.attributes if tag == "th"]
    assert heads
    assert all(attributes.get("scope") in ("col", "row") for attributes in heads)
    regions = [attributes for tag, attributes in outline.attributes if (attributes.get("class") or "") == "scroll"]
    assert regions
    assert all(attributes.get("tabindex") == "0" for attributes in regions)
