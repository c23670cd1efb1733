"""What the README says is true: its commands exist, its example runs, its tree is the tree."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tidecast.flows.cli.main import tidecast

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [line for block in blocks("console") for line in block.splitlines()]


def test_the_first_commands_are_the_demo_and_the_tests():
    assert COMMANDS[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_make_knows_its_targets(command):
    assert f"\n{command.removeprefix('make ')}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("tidecast ")])
def test_the_command_line_understands_every_command(command):
    name, *options = shlex.split(command)[1:]
    parsed = CliRunner().invoke(tidecast, [name, *options, "--help"])
    assert parsed.exit_code == 0
    known = {option for parameter in tidecast.commands[name].params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} <= known


def test_the_example_in_python_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    exec(compile(blocks("python")[0], "README.md", "exec"), names)
    assert list(names["forecast"].columns[:4]) == ["series_id", "origin", "step", "time"]
    assert set(names["scores"]["model"]) == {"GRUForecaster", "random_walk"}


def test_every_module_stands_in_the_tree():
    tree = next(block for block in blocks("text") if "flows/" in block and "forecasting/" in block)
    files = [
        path
        for package in ("flows", "forecasting", "features")
        for path in (ROOT / package).glob("*.py")
        if path.name != "__init__.py"
    ]
    missing = sorted(str(path.relative_to(ROOT)) for path in files if path.name not in tree)
    assert not missing
    named = set(re.findall(r"\b(\w+\.py)\b", tree))
    assert named - {path.name for path in files} <= {"drill.py", "races.py", "door.py"}
