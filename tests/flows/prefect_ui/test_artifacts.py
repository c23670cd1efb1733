"""What Prefect's pages show of a day: bounded, escaped, without secrets."""

from dataclasses import dataclass
from datetime import date, timedelta
from types import SimpleNamespace

import polars as pl

from tidecast.flows.prefect_ui import artifacts
from tidecast.flows.prefect_ui.artifacts import MOST_ROWS, picture, summary, table

DAY = date(2026, 11, 27)


def issued(names, steps=5):
    """A forecast table of one session."""
    rows = [
        {"series_id": name, "step": step, "time": DAY + timedelta(days=step), "forecast": 10.0 + step, "q0.05": 9.0,
         "q0.95": 12.5, "live": True}
        for name in names
        for step in range(1, steps + 1)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def day(**changed):
    """A day's result, as far as the summary reads it."""
    row = {"champion": "GRU", "champion_version": "4", "trained_through": DAY, "training": "none"}
    found = SimpleNamespace(rows_in=9, stored=6, corrected=1, unchanged=2, quarantined={"jump": 1})
    return SimpleNamespace(
        **{"as_of": DAY, "row": row, "ingested": found, "champion": None, "forecasts": None, "report": "r.html"}
        | {"problems": (), "made_up": {}} | changed
    )  # fmt: skip


def test_the_table_has_the_first_and_the_last_step_of_at_most_a_hundred_series():
    rows, about = table(issued([f"S{number:04}" for number in range(2000)]))
    assert len(rows) == MOST_ROWS
    assert rows[0] == {
        "series": "S0000",
        "step 1, session": "2026-11-28", "step 1, median": "11", "step 1, low": "9", "step 1, high": "12.5",
        "step 5, session": "2026-12-02", "step 5, median": "15", "step 5, low": "9", "step 5, high": "12.5",
    }  # fmt: skip
    assert about == "first and last step of 100 of 2,000 series by name, with the quantiles 0.05 and 0.95."


def test_pictures_and_tables_once_had_the_first_names_and_not_the_series_most_worth_a_look(monkeypatch):
    names = [f"S{number:04}" for number in range(2000)]
    rows, about = table(issued(names), ["S1500", "S0007", "gone"])
    assert [row["series"] for row in rows[:3]] == ["S1500", "S0007", "S0000"]
    assert "100 of 2,000 series, those most worth a look first" in about
    assert [row["series"] for row in table(issued(["A", "B"]), ["B"])[0]] == ["A", "B"]  # all of them, by name

    drawn = []
    monkeypatch.setattr(artifacts, "fans", lambda prices, issued, series, sessions: drawn.append(series) or Drawn())
    warehouse = SimpleNamespace(closes=lambda as_of: pl.DataFrame({"series_id": names}))
    picture(day(workspace=SimpleNamespace(warehouse=warehouse)), issued(names), ["S1500", "S0007"])
    assert drawn == [["S1500", "S0007", "S0000", "S0001", "S0002", "S0003"]]


@dataclass(frozen=True)
class Drawn:
    """A figure without a picture."""

    title: str = ""

    def png(self):
        return b""


def test_the_summary_says_what_was_published_by_which_model_and_what_failed():
    lacks = {DAY - timedelta(days=1): "Future covariates are missing for 1 series ('A'): load (step 5)."}
    said = summary(day(problems=("the report failed: no room",), made_up=lacks), issued(["A", "B"]))
    assert "| Past sessions | Of the past session 2026-11-26: Future covariates are missing" in said
    assert said.startswith("# 2026-11-27\nForecasts of 2 series for 5 sessions are published, by GRU, version 4")
    assert "| Quarantine, jump | 1 row |" in said
    assert "## Failed\n- the report failed: no room" in said


def test_the_reason_and_its_sample_of_series_were_once_not_in_the_diary():
    decision = {
        "verdict": "Median 0.00 %.\nDistribution +0.20 %.",
        "reason": "GRU wins. Compared on 148 of 5,000 series.",
    }
    said = summary(day(champion=SimpleNamespace(decision=decision)), issued(["A"]))
    assert "> Distribution +0.20 %.\n\nGRU wins. Compared on 148 of 5,000 series." in said
    only = summary(day(champion=SimpleNamespace(decision={"verdict": None, "reason": "It stays."})), issued(["A"]))
    assert only.count("It stays.") == 1


def test_no_secret_and_no_markup_of_a_users_reaches_prefects_pages():
    problem = "copying failed: postgresql://me:hunter2@host/db | <script>alert(1)</script> [a](b)"
    said = summary(day(problems=(problem,)), issued(["A"]))
    assert "hunter2" not in said
    assert "<script>" not in said
    assert "[a](b)" not in said
    rows, _ = table(issued(["postgresql://me:hunter2@host/db"]))
    assert "hunter2" not in str(rows)
