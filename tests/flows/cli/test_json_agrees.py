"""``--json`` and the text of each command: the same numbers under the same names, JSON alone on standard output."""

import json
import re
from datetime import date

import polars as pl
import pytest
from click.testing import CliRunner

from tests.flows.trainings import crowned
from tidecast.flows.cli.main import tidecast
from tidecast.flows.workspace.load_settings import load_settings
from tidecast.flows.workspace.workspace import Workspace

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def invoked(monkeypatch):
    """A function: `tidecast …` in this process, and its result."""
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    return lambda *arguments: CliRunner().invoke(tidecast, [str(each) for each in arguments])


@pytest.fixture
def both(invoked):
    """A function: the text of a command, and the answer of the same command with ``--json``."""

    def run(*arguments, code=0):
        text, answer = invoked(*arguments), invoked(*arguments, "--json")
        assert (text.exit_code, answer.exit_code) == (code, code), text.output + answer.output
        found = json.loads(answer.stdout)  # nothing else may be there
        assert found["exit_code"] == code
        return text.stdout, found

    return run


def fact(text, name):
    """The value next to a name at the end of a command's text."""
    return re.search(rf"^{name} +(.+)$", text, re.MULTILINE)[1].strip()


@pytest.fixture
def panel_home(sandbox, monkeypatch, plain_days):
    """Options of a panel whose first day was published; `tidecast run` runs its flow in this process."""
    from tidecast.flows.backfill import backfill_forecasts
    from tidecast.flows.daily import daily_forecast

    def run_backfill(folder, settings, first, last):
        return backfill_forecasts(first, last, home=str(folder.path), settings=settings)

    monkeypatch.setattr("tidecast.flows.scheduling.launch.run_backfill", run_backfill)

    def run_day(folder, settings, as_of, reissue):
        return daily_forecast(as_of=as_of, reissue=reissue, home=str(folder.path), settings=settings)

    monkeypatch.setattr("tidecast.flows.scheduling.launch.run_day", run_day)
    monkeypatch.chdir(sandbox.folder)
    for name, value in {"MODELS": "GRU", "LOOKBACK": "16", "N_JOBS": "1"}.items():
        monkeypatch.setenv(f"TIDECAST_{name}", value)
    bad = sandbox.rows.tail(1).with_columns(close=-pl.col("close"), series_id=pl.lit("bad"))
    sandbox.rows = pl.concat([sandbox.rows, bad])
    sandbox.write()
    return "--home", sandbox.folder / "home"


def test_what_a_day_says_is_what_its_json_has(both, invoked, panel_home, sandbox):
    source = "--source", sandbox.source
    first = json.loads(invoked("run", *source, *panel_home, "--json").stdout)
    assert first["prices"]["new"] == 3 * 130
    assert first["prices"]["in_quarantine_by_rule"] == {"not_positive": 1}

    text, run = both("run", *panel_home)
    assert run["champion"] == first["champion"] | {"verdict": None}  # nothing was done, and the champion not looked at
    prices = run["prices"]
    assert fact(text, "Prices") == (
        f"{prices['read']:,} rows read: {prices['new']:,} new, {prices['corrected']:,} corrected, "
        f"{prices['known']:,} known, {prices['in_quarantine']:,} in quarantine"
    )
    assert fact(text, "Session").startswith(run["as_of"])
    assert ("issued late" in fact(text, "Session")) == (not run["live"])
    champion = run["champion"]
    assert fact(text, "Champion") == (
        f"{champion['name']}, version {champion['version']}, trained through {champion['trained_through']}"
    )
    assert (
        fact(text, "Forecast")
        == f"{run['series_forecast']} series, {run['steps']} sessions ahead, in {run['forecasts']}"
    )
    assert fact(text, "Report") == run["report"]
    assert (run["outcome"], run["source"]) == ("done before", str(sandbox.source))

    text, shown = both("show", *panel_home)
    assert fact(text, "Session") == shown["as_of"] == run["as_of"]
    assert shown["champion"] == first["champion"]
    assert shown["champion"]["verdict"] in text
    assert f"version {shown['champion']['version']}, trained through" in fact(text, "Champion")
    last = [row for row in shown["forecasts"] if row["step"] == run["steps"]]
    for row in last:
        line = re.search(rf"^{row['series_id']} .*$", text, re.MULTILINE)[0]
        assert f"{row['forecast']:.5g}" in line
        assert f"{row['q0.05']:.5g} … {row['q0.95']:.5g}" in line

    text, checked = both("check", *panel_home, code=3)  # the panel's prices are years old
    assert fact(text, "Session") == checked["as_of"]
    assert fact(text, "State") == f"{len(checked['findings'])} found."
    for finding in checked["findings"]:
        assert finding["what"] in text
        assert finding["since"][:10] in text

    text, listed = both("quarantine", *panel_home)
    assert fact(text, "not_positive") == str(listed["by_rule"]["not_positive"]) == str(listed["count"])
    assert listed["waiting"][0]["series_id"] == "bad"

    text, doctor = both("doctor", *panel_home)
    for name, table in doctor["tables"].items():
        version = "not there yet" if table["version"] is None else table["version"]
        assert re.search(rf"^{name} +{table['rows']} +{version} *$", text, re.MULTILINE), name
    assert f"{doctor['champion']['name']}, version {doctor['champion']['version']}" in text
    assert doctor["schedule"] in fact(text, "Schedule")

    day = sandbox.sessions[-3]
    text, filled = both("backfill", "--from", day, "--to", day, *panel_home)
    assert (filled["published"], filled["done_before"], filled["failed"]) == ([], [str(day)], [])
    assert "1" in fact(text, "Backfill")


def test_upkeep_says_the_numbers_of_its_json(both, invoked, sandbox, monkeypatch):
    monkeypatch.chdir(sandbox.folder)
    sandbox.take_in(None, date(2030, 1, 1))
    home = "--home", sandbox.folder / "home"
    written = json.loads(invoked("features", *home, "--json").stdout)
    assert written["rows_written"] == sandbox.workspace.warehouse.height("features") > 0
    text, again = both("features", *home)
    assert fact(text, "Features") == f"{again['rows_written']:,} rows new or changed, as known on {again['as_of']}"
    text, tidied = both("maintain", *home)
    for name, counts in tidied["tables"].items():
        assert fact(text, name) == f"{counts['files_joined']} files joined, {counts['files_removed']} no longer needed"


def test_rows_in_quarantine_are_counted_alike_when_they_are_released(invoked, sandbox, monkeypatch):
    monkeypatch.chdir(sandbox.folder)
    sandbox.rows = sandbox.rows.with_columns(  # a price in hundredths, twice
        pl.when(pl.int_range(pl.len()).over("series_id").is_in([100, 101]) & (pl.col("series_id") == "A"))
        .then(pl.col("close") / 100).otherwise("close").alias("close")
    )  # fmt: skip
    sandbox.write()
    sandbox.take_in(None, date(2030, 1, 1))
    home, why = ("--home", sandbox.folder / "home"), ("--why", "right")
    listed = json.loads(invoked("quarantine", *home, "--json").stdout)
    assert listed["by_rule"] == {"unit_error": 2}
    first, second = (row["time"] for row in sorted(listed["waiting"], key=lambda row: row["time"]))
    text = invoked("quarantine", "release", "--from", second, *why, *home).stdout
    assert text.startswith("1 row is a price now, known from ")
    repair = "quarantine", "repair", "--from", first, "--to", first, "--multiply", 100, *why, *home, "--json"
    answer = json.loads(invoked(*repair).stdout)
    assert (answer["command"], answer["rows"]) == ("quarantine repair", 1)
    assert answer["known_from"] in text


@pytest.fixture
def trained_home(store, judged, refreshed, monkeypatch):
    """Options of a panel with prices and two versions of the champion."""
    rows = judged.panel.with_columns(known_at=pl.col("time"), as_of=pl.lit(judged.as_of))
    remembered = {"calendar": "weekdays", "horizon": 2, "quantiles": [0.1, 0.5, 0.9]}
    store.home.panel_file.write_text(json.dumps(remembered))
    Workspace(store.home, load_settings(store.home, {}, {}, store.home.path)[0]).warehouse.store_prices(rows)
    crowned(store, refreshed, "early")
    crowned(store, judged, "late")
    settings = {"MODELS": "GRU", "MAX_EPOCHS": "1", "LOOKBACK": "16", "N_JOBS": "1"}
    settings |= {"GATE_MIN_ORIGINS": "120", "GATE_MAX_ORIGINS": "120"}
    for name, value in settings.items():
        monkeypatch.setenv(f"TIDECAST_{name}", value)
    return "--home", store.home.path


def test_decisions_of_people_and_gates_are_the_same_in_text_and_json(both, invoked, trained_home):
    why = "--by", "ada", "--why", "a test"
    for command, version in ((("rollback",), "1"), (("promote", "2"), "2")):
        said = invoked(*command, *why, *trained_home, "--json")  # with --json, the text goes to standard error
        answer = json.loads(said.stdout)
        decision = answer["decision"]
        assert (answer["command"], decision["version"], decision["by"]) == (command[0], version, "ada")
        assert fact(said.stderr, "Decided") == decision["reason"]
        assert fact(said.stderr, "Champion").endswith(f"version {version}")
    text, trained = both("train", *trained_home)
    assert fact(text, "Decided") == trained["decision"]["reason"]
    assert fact(text, "Champion").endswith(f"version {trained['decision']['version']}")
    text, listed = both("decisions", *trained_home)
    assert fact(text, "Last") == listed["decisions"][-1]["reason"]
    assert listed["decisions"][-1]["version"] == trained["decision"]["version"]
    assert isinstance(listed["decisions"][-1]["checks"], dict | list | None)


def test_a_backtest_prints_the_skill_of_its_json(both, trained_home):
    text, found = both("backtest", "--model", "drift", "--folds", "2", *trained_home)
    assert fact(text, "Judged") == found["judged"]
    ((_, lines),) = found["compared"].items()
    (drift,) = [line for line in lines if line["model"] == "drift"]
    row = re.search(r"^drift .*$", text, re.MULTILINE)[0]
    assert f"{100 * drift['skill']:+.2f}".replace("-", "−") in row


def test_a_search_prints_the_counts_and_the_best_of_its_json():
    from tidecast.flows.cli.answers import tuning_fields
    from tidecast.flows.tracking.tuning_record import best_of, counts_of
    from tidecast.forecasting.tuning.result import TrialRecord, TuningResult

    def trial(number, state, value=None, skill=None, why=""):
        return TrialRecord(number, state, {"hidden_size": 8} if number else {}, value, skill, 1.0, why, {}, {})

    trials = (trial(0, "complete", 0.5, 0.01), trial(1, "complete", 0.4, 0.0312), trial(2, "failed", why="no room"))
    found = TuningResult(None, None, {"hidden_size": 8}, 1, 0.4, 0.413, "crps", trials)
    fields = tuning_fields(found)
    complete, pruned, failed = (fields["counts"][state] for state in ("complete", "pruned", "failed"))
    assert f"{complete} complete, {pruned} pruned, {failed} failed." in counts_of(found)
    assert (complete, pruned, failed) == (2, 0, 1)
    said = best_of(found)
    assert said.startswith(f"Trial {fields['best']['number']} is the best: {100 * fields['best']['skill']:+.2f} %")
    assert f"{100 * fields['trials'][0]['skill']:+.2f} %" in said
    assert "hidden size 8" in said
    assert fields["trials"][2]["why"] == "no room"
