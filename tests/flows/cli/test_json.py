"""``--json``: one object of one shape, on standard output alone, that agrees with the text."""

import itertools
import json
import re
from datetime import date
from io import StringIO

import click
import pytest
from click.testing import CliRunner

from tidecast.flows.cli.answer import json_text
from tidecast.flows.cli.main import tidecast
from tidecast.flows.redaction import redact

WITHOUT = {"ui", "schedule", "completion"}
"""Commands that serve until stopped, or print a script."""


@pytest.fixture
def typed(sandbox, monkeypatch):
    """A function: `tidecast …` on a panel with prices and no forecasts, in this process."""
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    monkeypatch.chdir(sandbox.folder)
    sandbox.take_in(None, date(2030, 1, 1))

    def run(*arguments):
        return CliRunner().invoke(tidecast, [*arguments, "--home", str(sandbox.folder / "home")])

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "fields"),
    [
        (["decisions"], 0, {"home", "decisions"}),
        (["quarantine"], 0, {"home", "count", "by_rule", "decided", "waiting"}),
        (["maintain"], 0, {"home", "tables"}),
        (["show"], 1, set()),
        (["rollback", "--why", "no"], 1, set()),
        (["show", "--as-of", "yesterday"], 2, set()),
        (["quarantine", "release", "--why", "no"], 2, set()),
    ],
)
def test_each_answer_has_the_same_head_and_the_exit_code_of_the_process(typed, arguments, code, fields):
    found = typed(*arguments, "--json")
    answer = json.loads(found.stdout)
    assert found.exit_code == code, found.output
    assert list(answer)[:3] == ["command", "exit_code", "error"]
    assert set(answer) - {"command", "exit_code", "error"} == fields
    assert answer["exit_code"] == code
    assert answer["command"] == " ".join(itertools.takewhile(lambda word: not word.startswith("-"), arguments))
    assert (answer["error"] is None) == (code == 0)
    if code == 1:
        assert found.stderr == f"tidecast: {answer['error']}\n"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["--json", "show"], "show"),
        (["shwo", "--json"], ""),
        (["promote", "--json", "--why", "no"], "promote"),
        (["quarantine", "repair", "--json"], "quarantine repair"),
        (["backfill", "--json", "--from", "2026-01-02", "--to", "2026-01-01"], "backfill"),
        (["run", "--json", "--output", "forecasts.xlsx"], "run"),
    ],
)
def test_wrong_use_is_answered_with_json_wherever_it_is_found(arguments, command):
    """Once, `tidecast --json show` printed no JSON, and of a subcommand only the group was named."""
    found = CliRunner().invoke(tidecast, arguments)
    answer = json.loads(found.stdout)
    assert (answer["command"], answer["exit_code"], found.exit_code) == (command, 2, 2)
    assert answer["error"]
    assert answer["error"] in found.stderr.replace("\n", " ")


def test_doctor_of_a_folder_that_is_not_made_yet_has_all_fields(tmp_path, monkeypatch):
    """Once, tables, champion and lock were not there."""
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    monkeypatch.chdir(tmp_path)
    answer = json.loads(CliRunner().invoke(tidecast, ["doctor", "--json", "--home", str(tmp_path / "none")]).stdout)
    assert (answer["exit_code"], answer["problems"]) == (0, [])
    assert answer["tables"] is answer["champion"] is answer["lock"] is None
    assert answer["settings"]["horizon"] == {"value": "5", "from": "default"}


def test_doctors_answer_has_the_numbers_of_its_text(typed, sandbox):
    answer = json.loads(typed("doctor", "--json").stdout)
    rows = sandbox.workspace.warehouse.height("prices")
    assert answer["tables"]["prices"]["rows"] == rows
    assert answer["settings"]["horizon"]["value"] == str(sandbox.workspace.settings.horizon)
    assert answer["problems"] == []
    text = typed("doctor").stdout
    assert re.search(rf"^prices +{rows} +\d+ *$", text, re.MULTILINE), text
    assert answer["lock"] in text


def commands(group=tidecast, path=()):
    for name, command in group.commands.items():
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def test_every_command_that_shows_something_has_json_and_a_line_in_the_docs():
    from tests.test_readme import text_of

    page = text_of("docs/command_line.md")
    for name, command in commands():
        has = "--json" in {option for parameter in command.params for option in parameter.opts}
        assert has == (name not in WITHOUT), name
        assert f"`{name}`" in page, name


def test_numbers_are_whole_dates_are_iso_and_what_is_not_finite_is_null():
    text = json_text({"a": 0.1 + 0.2, "b": date(2026, 10, 30), "c": float("nan"), "d": (1, None), "e": StringIO})
    assert json.loads(text)["a"] == 0.1 + 0.2
    assert '"b": "2026-10-30"' in text
    assert '"c": null' in text


@pytest.mark.parametrize("value", ['password=abc"def', "key=abc\\", 'https://token"x@host/"q"', "token=a\nb"])
def test_an_answer_stays_json_when_a_secret_is_removed_next_to_a_quotation_mark(value):
    assert json.loads(json_text({"value": value})) == {"value": value}
    json.loads(redact(json_text({"value": value})))
