"""The index of all days and the links between pages: made anew from tables and files, the same every time."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from tests.flows.reporting.pages.page_data import Outline, page_data
from tidecast.flows.reporting.pages import files
from tidecast.flows.reporting.pages.files import INDEX, PageNote, link_days, note_of, pages_in, write_whole
from tidecast.flows.reporting.pages.index_page import ROLLING, index_rows, write_index
from tidecast.flows.reporting.report import render, write_report
from tidecast.flows.warehouse.schema import TABLES
from tidecast.forecasting.evaluation.decision import skill_text
from tidecast.forecasting.evaluation.dm_test import compare

FIRST = date(2026, 8, 3)
DAYS = [FIRST + timedelta(days=k) for k in range(80)]


@pytest.fixture(scope="module")
def page():
    """A day's page, and the day."""
    data = page_data(["USD", "GBP"])
    return render(data)


@pytest.fixture(scope="module")
def runs():
    rows = [
        {"as_of": day, "status": "done", "champion": "GRU" if day > DAYS[2] else "random_walk",
         "champion_version": "2" if day > DAYS[2] else "1", "series_live": 12, "series_forecast": 10,
         "trained_through": FIRST, "started": datetime(2026, 1, 1, tzinfo=UTC)}
        for day in DAYS
    ]  # fmt: skip
    return pl.concat([TABLES["runs"].row(row) for row in rows])


@pytest.fixture(scope="module")
def scores():
    generator = np.random.default_rng(0)
    rows = [
        {"as_of": day, "series_id": name, "step": 1, "origin": day, "time": day + timedelta(days=1), "model": "GRU",
         "live": day != DAYS[4], "truth": 1.0, "crps": own, "ae": 1.0, "covered": True, "crps_random_walk": 1.0,
         "ae_random_walk": 1.0, "scale": 1.0}
        for day in DAYS[:-1]
        for name, own in zip("AB", generator.uniform(0.8, 1.1, 2), strict=True)
    ]  # fmt: skip
    return TABLES["scores"].shape(pl.DataFrame(rows))


@pytest.fixture(scope="module")
def decisions():
    row = {"decision": "d", "as_of": DAYS[2], "outcome": "promoted", "winner": "GRU", "version": "2",
           "distribution_skill": 0.0071, "distribution_low": 0.0031, "distribution_high": 0.0111,
           "at": datetime(2026, 8, 5, tzinfo=UTC)}  # fmt: skip
    return TABLES["decisions"].row(row)


def test_each_day_has_its_champion_verdict_skill_and_findings(runs, scores, decisions):
    notes = {DAYS[-1]: PageNote(("missing_series", "drift")), DAYS[-2]: PageNote(())}
    rows = index_rows(runs, scores, decisions, notes)
    assert [row["day"] for row in rows] == DAYS[::-1]
    newest, second, *_, oldest = rows
    assert (newest["champion"], newest["verdict"], newest["series"]) == ("GRU v2", "+0.71 (0.31 … 1.11)", "10 of 12")
    assert (newest["findings"], second["findings"], oldest["findings"]) == ("missing series, drift", "none", "–")
    assert (newest["skill"], newest["rolling"]) == ("–", "–")  # nothing came true yet
    assert (oldest["champion"], oldest["verdict"]) == ("random walk v1", "–")
    assert [row["has_page"] for row in rows[:3]] == [True, True, False]


def test_a_session_is_not_called_unfinished_by_the_run_that_is_about_to_finish_it(runs, scores, decisions):
    """Once, the newest session stood as "not finished": the index is written before the run closes."""
    status = pl.when(pl.col("as_of") == DAYS[-1]).then(pl.lit("published")).when(pl.col("as_of") == DAYS[0])
    mixed = runs.with_columns(status=status.then(pl.lit("failed")).otherwise("status"))
    rows = index_rows(mixed, scores, decisions, {})
    assert (rows[0]["status"], rows[-1]["status"]) == ("", "a step failed")


def test_the_rolling_skill_is_of_the_days_up_to_the_rows_own(runs, scores, decisions):
    row = index_rows(runs, scores, decisions, {})[1]
    days = scores.filter("live").group_by("as_of").agg(pl.col("crps").mean()).sort("as_of")["crps"].to_numpy()
    expected = compare(days[-ROLLING:], np.ones(ROLLING), 1)
    assert row["rolling"] == skill_text(expected.skill, expected.low, expected.high, unit=False)
    assert row["skill"] == f"{100 * (1 - days[-1]):+.1f} %".replace("-", "−")
    late = next(row for row in index_rows(runs, scores, decisions, {}) if row["day"] == DAYS[4])
    assert (late["skill"], late["rolling"]) == ("–", "–")  # issued late


def test_days_link_to_their_neighbours_and_the_index_to_those_that_have_a_page(page, runs, scores, decisions, tmp_path):
    for day in (DAYS[0], DAYS[5], DAYS[9]):
        write_whole(tmp_path / f"{day}.html", page)
    write_index(tmp_path, runs, scores, decisions)
    middle = (tmp_path / f"{DAYS[5]}.html").read_text()
    assert f'<a rel="prev" href="{DAYS[0]}.html">' in middle
    assert f'<a rel="next" href="{DAYS[9]}.html">' in middle
    assert f'<a href="{INDEX}">All days</a>' in middle
    index = Outline((tmp_path / INDEX).read_text())
    assert {attributes["href"] for tag, attributes in index.attributes if tag == "a"} == {
        f"{day}.html" for day in (DAYS[0], DAYS[5], DAYS[9])
    }

    (tmp_path / f"{DAYS[5]}.html").unlink()
    write_index(tmp_path, runs, scores, decisions)
    assert f'href="{DAYS[5]}.html"' not in (tmp_path / INDEX).read_text()
    assert f'<a rel="next" href="{DAYS[9]}.html">' in (tmp_path / f"{DAYS[0]}.html").read_text()


def test_the_same_tables_and_pages_give_the_same_bytes_and_untouched_files(page, runs, scores, decisions, tmp_path):
    for day in DAYS[:3]:
        write_whole(tmp_path / f"{day}.html", page)
    index = write_index(tmp_path, runs, scores, decisions)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.glob("20*.html")}
    content = index.read_bytes()
    assert link_days(tmp_path) == []
    write_index(tmp_path, runs, scores, decisions)
    assert index.read_bytes() == content
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_pages_of_earlier_versions_and_files_of_others_stay_as_they_are(page, runs, scores, decisions, tmp_path):
    old = tmp_path / f"{DAYS[0]}.html"
    old.write_text("<!doctype html><title>Tidecast</title>")
    others = [tmp_path / name for name in ("notes.html", "2026-02-30.html", "2026-08-03.html.bak")]
    for other in others:
        other.write_text("mine")
    write_whole(tmp_path / f"{DAYS[1]}.html", page)
    write_index(tmp_path, runs, scores, decisions)
    assert old.read_text() == "<!doctype html><title>Tidecast</title>"
    assert [other.read_text() for other in others] == ["mine"] * 3
    assert list(pages_in(tmp_path)) == DAYS[:2]
    assert note_of(old) == PageNote(None)
    assert f'href="{DAYS[0]}.html"' in (tmp_path / INDEX).read_text()


def test_a_page_carries_its_findings_for_the_index(tmp_path):
    path = write_report(tmp_path / "2026-08-03.html", page_data(["A & B", "C", "long" * 1000]))
    note = note_of(path)
    assert note.findings == ()
    assert sorted(note.series) == ["A & B", "C"]  # a long name would push the links out of the head
    assert len(path.read_bytes().partition(b"<!--/days-->")[0]) < files.HEAD


def test_an_index_without_runs_or_scores_says_so(tmp_path):
    empty = (TABLES[name].row({}).clear() for name in ("runs", "scores", "decisions"))
    page = write_index(tmp_path, *empty).read_text()
    assert "No session was run yet." in page


class Killed(BaseException):
    """The process ends here."""


def test_a_kill_between_files_is_put_right_by_the_next_run(page, runs, scores, decisions, tmp_path, monkeypatch):
    for day in DAYS[:4]:
        write_whole(tmp_path / f"{day}.html", page)
    written = []

    def dies(path, text):
        written.append(path)
        if len(written) == 3:
            raise Killed
        return write_whole(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_whole", dies)
        with pytest.raises(Killed):
            write_index(tmp_path, runs, scores, decisions)
    assert not (tmp_path / INDEX).exists()
    write_index(tmp_path, runs, scores, decisions)
    assert link_days(tmp_path) == []
    for before, after in pairwise(DAYS[:4]):
        assert f'rel="next" href="{after}.html"' in (tmp_path / f"{before}.html").read_text()
