"""The command: what a person types, reads and gets back."""

import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from click.testing import CliRunner

from tidecast.flows.cli.main import tidecast
from tidecast.flows.config.state_folder import StateFolder, hold

ROOT = Path(__file__).resolve().parents[3]


def command(*arguments, home, folder, **environ):
    """`tidecast …` as a process of its own, in an empty home directory."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder / "user"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    (folder / "user").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "tidecast", *arguments, "--home", str(home)],
        env=clean | environ, cwd=folder, capture_output=True, text=True,
    )  # fmt: skip


def refused(*arguments, folder):
    """`tidecast …` in this process, for commands that set nothing and end, or only look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
        return CliRunner().invoke(tidecast, [*arguments])


def test_one_command_forecasts_own_prices_and_the_second_time_finds_nothing_to_do(sandbox, prefect_api):
    folder, home = sandbox.folder, sandbox.folder / "home"
    renamed = sandbox.rows.rename({"series_id": "Name", "time": "Date", "close": "Close"})
    renamed.with_columns(Name=pl.col("Name").replace("A", "[red]<script>")).write_csv(folder / "own.csv")
    server = {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": os.environ["PREFECT_HOME"]}
    columns = ["--series-id", "Name", "--time", "Date", "--target", "Close"]
    first = command(
        "run", "--source", "own.csv", *columns, "--horizon", "3", "--quantiles", "0.1,0.9", "--output", "out.csv",
        home=home, folder=folder, **server,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert first.stdout.startswith(f"Home      {home} (found)\nSource    {folder}/own.csv\n")
    for words in ("[red]<script>", "weekdays", "random walk, version 1", "too little history", "Report", "tidecast ui"):
        assert words.lower() in first.stdout.lower(), words
    table = pl.read_csv(folder / "out.csv")
    assert table.height == 3 * 3
    assert [name for name in table.columns if name.startswith("q")] == ["q0.1", "q0.9"]

    second = refused("run", "--home", str(home), folder=folder)  # needs neither server nor settings
    assert second.exit_code == 0, second.stderr
    assert "Nothing to do" in second.stdout
    assert "(remembered)" in second.stdout
    shown = refused("show", "--series", "B", "--home", str(home), folder=folder)
    assert shown.exit_code == 0, shown.stderr
    assert "B " in shown.stdout
    assert "[red]" not in shown.stdout
    assert list((folder / "user").iterdir()) == [], "nothing may be written to the user's home directory"


def test_doctor_names_settings_their_origin_tables_and_problems(sandbox, monkeypatch):
    from datetime import date

    sandbox.take_in(None, date(2030, 1, 1))
    sandbox.workspace.warehouse.put_run({"as_of": date(2020, 1, 1), "status": "published"})
    monkeypatch.setenv("TIDECAST_N_JOBS", "1")
    found = refused("doctor", "--home", "home", folder=sandbox.folder)
    assert re.search(r"n_jobs +1 +TIDECAST_N_JOBS", found.stdout), found.stdout
    assert re.search(r"runs +1 +\d", found.stdout)
    assert "Lock      free" in found.stdout
    assert re.search(r"Schedule  tidecast schedule runs at \d\d:\d\d \(.+\), .+ after the close of", found.stdout)
    assert "The run of 2020-01-01 was stopped before it ended." in found.stdout
    assert found.exit_code == 1


def test_a_run_while_another_holds_the_folder_exits_with_75(sandbox):
    with hold(sandbox.workspace.state_folder, "another run"):
        found = refused("run", "--source", str(sandbox.source), "--home", "home", folder=sandbox.folder)
    assert found.exit_code == 75
    assert found.stderr.startswith("tidecast: One run at a time")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--source", "none.csv"], 1, "none.csv"),
        (["--source", "prices.csv", "--target", "Close"], 1, "close"),
        (["--source", "postgresql://me:secret@host/db"], 2, "environment variable"),
        (["--calendar", "XNYSE"], 2, "XNYS"),
        (["--horizon", "0"], 2, "horizon must be at least 1"),
        (["--quantiles", "5,95"], 2, "between 0 and 1"),
        (["--quantiles", "a"], 2, "0.1,0.5,0.9"),
        (["--as-of", "31.12.2024"], 2, "2026-11-20"),
        (["--output", "x.xlsx"], 2, ".parquet"),
        (["--output", "nowhere/x.csv"], 2, "existing folder"),
        (["--unknown"], 2, "--unknown"),
    ],
)
def test_wrong_input_is_one_clear_line_and_an_exit_code(sandbox, arguments, code, words):
    result = refused("run", "--home", "elsewhere", *arguments, folder=sandbox.folder)
    assert result.exit_code == code, result.output
    *_, last = result.stderr.strip().splitlines()
    assert words in last
    assert "secret" not in result.output
    assert "Traceback" not in result.output
    assert not (sandbox.folder / "elsewhere" / "warehouse").exists()


@pytest.mark.parametrize(
    "name",
    [
        "run",
        "schedule",
        "show",
        "backfill",
        "train",
        "tune",
        "backtest",
        "promote",
        "rollback",
        "decisions",
        "ui",
        "doctor",
    ],
)
def test_every_help_has_an_example_that_can_be_typed(name):
    result = CliRunner().invoke(tidecast, [name, "--help"])
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\n +tidecast {name}", result.output), result.output


def test_a_backfill_that_lacks_values_known_ahead_once_ended_with_0(tmp_path, monkeypatch):
    from tidecast.flows.cli import day
    from tidecast.flows.scheduling import launch
    from tidecast.flows.steps.backfill import Backfilled

    first, last = date(2026, 5, 28), date(2026, 5, 29)
    lacks = "Future covariates are missing for 1 series ('A'): load (step 5)."
    monkeypatch.setattr(day, "existing_panel", lambda *a: (SimpleNamespace(path=tmp_path), None))
    monkeypatch.setattr(launch, "run_backfill", lambda *a: Backfilled((first, last), (), (), {first: lacks, last: ""}))
    arguments = ["backfill", "--from", str(first), "--to", str(last)]
    result = CliRunner().invoke(tidecast, arguments)
    assert (result.exit_code, f"Of the past session {first}: {lacks}" in result.output) == (3, True)
    answer = json.loads(CliRunner().invoke(tidecast, [*arguments, "--json"]).stdout)
    assert (answer["exit_code"], answer["shortfalls"]) == (3, {str(first): lacks})


def test_a_backfill_with_a_failed_session_once_gave_no_fields_as_json(tmp_path, monkeypatch):
    from tidecast.flows.cli import day
    from tidecast.flows.scheduling import launch
    from tidecast.flows.steps.backfill import Backfilled, BackfillIncomplete

    first, last = date(2026, 5, 28), date(2026, 5, 29)

    def run_backfill(*arguments):
        raise BackfillIncomplete(Backfilled((last,), (), (first,)), f"the session {first} failed: no memory left")

    monkeypatch.setattr(day, "existing_panel", lambda *a: (SimpleNamespace(path=tmp_path), None))
    monkeypatch.setattr(launch, "run_backfill", run_backfill)
    result = CliRunner().invoke(tidecast, ["backfill", "--from", str(first), "--to", str(last), "--json"])
    answer = json.loads(result.stdout)
    assert (answer["published"], answer["failed"], answer["exit_code"]) == ([str(last)], [str(first)], 3)
    assert answer["error"].startswith("1 session is published, 0 done before, 1 failed. The session")


def test_a_run_that_published_but_had_a_failing_step_shows_its_summary_and_exits_with_3(sandbox, monkeypatch):
    from tidecast.flows.cli import show
    from tidecast.flows.scheduling import launch
    from tidecast.flows.steps.day import Incomplete

    def run_day(*arguments):
        problems = ("training failed: no memory left.", "scoring failed: so it did.")
        raise Incomplete(SimpleNamespace(as_of=sandbox.sessions[-1], problems=problems))

    monkeypatch.setattr(launch, "run_day", run_day)
    monkeypatch.setattr(show, "summary", lambda out, day, asked: out.print(f"summary of {day.as_of}"))
    result = refused("run", "--home", "elsewhere", "--source", "prices.csv", folder=sandbox.folder)
    assert result.exit_code == 3
    assert f"summary of {sandbox.sessions[-1]}" in result.stdout
    assert "training failed: no memory left. 1 more of its steps failed." in result.stderr


def test_a_run_with_fewer_forecasts_than_quoted_series_says_so_and_exits_with_3(sandbox, monkeypatch):
    from tidecast.flows.cli import show
    from tidecast.flows.scheduling import launch
    from tidecast.flows.steps.day import Day

    row = {"as_of": sandbox.sessions[-1], "series_live": 30, "series_forecast": 28}
    day = Day(None, row["as_of"], None, row, "a champion")
    monkeypatch.setattr(launch, "run_day", lambda *arguments: day)
    monkeypatch.setattr(show, "summary", lambda out, day, asked: out.print("summary"))
    result = refused("run", "--home", "elsewhere", "--source", "prices.csv", folder=sandbox.folder)
    assert result.exit_code == 3
    assert f"tidecast: Only 28 of 30 quoted series have a forecast of {day.as_of}." in result.stderr


def test_commands_that_look_at_a_folder_ask_for_one_that_is_there(tmp_path):
    for name in ("show", "ui"):
        result = refused(name, folder=tmp_path)
        assert result.exit_code == 1
        assert "tidecast run" in result.stderr


def test_help_does_not_wait_for_heavy_imports(tmp_path):
    code = (
        "import sys; from tidecast.flows.cli.main import main; sys.argv = ['tidecast', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'prefect', 'mlflow', 'polars'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True
    )


def test_an_existing_prefect_profile_is_used_and_not_hidden(tmp_path):
    from tidecast.flows.scheduling.prefect_env import additions

    ours, user = StateFolder(tmp_path / "state").prefect, tmp_path / "user"
    assert additions(ours, {}, user)["PREFECT_HOME"] == str(ours)
    assert "PREFECT_HOME" not in additions(ours, {"PREFECT_PROFILE": "work"}, user)
    assert "PREFECT_LOGGING_EXTRA_LOGGERS" not in additions(ours, {"PREFECT_LOGGING_EXTRA_LOGGERS": "mine"}, user)
    (user / ".prefect").mkdir(parents=True)
    (user / ".prefect" / "profiles.toml").write_text("")
    assert "PREFECT_HOME" not in additions(ours, {}, user)


def test_a_proxy_is_not_asked_for_this_machine_where_prefects_server_starts(tmp_path):
    from tidecast.flows.scheduling.prefect_env import additions

    assert "NO_PROXY" not in additions(tmp_path, {}, tmp_path)
    added = additions(tmp_path, {"HTTPS_PROXY": "http://proxy:8080", "NO_PROXY": ".corp, 10.0.0.1"}, tmp_path)
    assert added["no_proxy"] == added["NO_PROXY"] == ".corp,10.0.0.1,127.0.0.1,localhost"


def test_a_prefect_server_that_does_not_answer_is_one_clear_error_also_for_schedule(tmp_path, monkeypatch):
    import httpx

    from tidecast.flows.scheduling.launch import prefect_api
    from tidecast.flows.scheduling.prefect_server import ServerError

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(ServerError, match="Prefect's server must answer at"), prefect_api(StateFolder(tmp_path)):
        raise httpx.ConnectError("All connection attempts failed")


def test_a_misspelt_home_is_not_scheduled_and_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("TIDECAST_HOME", raising=False)
    for source in ({}, {"TIDECAST_SOURCE": "prices.csv"}):
        for name, value in source.items():
            monkeypatch.setenv(name, value)
        said = refused("schedule", "--home", "TYPO", folder=tmp_path)
        assert said.exit_code == 1
        assert f"There must be a panel to schedule, found none in {tmp_path / 'TYPO'}." in said.stderr
        assert "tidecast schedule --source URI" in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_bundled_rates_are_not_scheduled_unless_they_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    said = refused("schedule", "--home", "empty", folder=tmp_path)
    assert said.exit_code == 1
    assert "There must be a panel to schedule" in said.stderr
    assert list((tmp_path / "empty").iterdir()) == []
