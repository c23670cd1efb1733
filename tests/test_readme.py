"""README and docs are true: every command is understood, every example runs, every package stands in the tree."""

import re
import shlex
from pathlib import Path

import click
import polars as pl
import pytest
from click.testing import CliRunner

from tidecast.flows.cli.main import tidecast

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
NEED_A_REGISTRY = {"docs/mlflow.md"}  # tests/flows/tracking/test_serving.py does the same with a model of its own
SHORTER = {  # what would take an hour, in a second
    "n_trials=50": "n_trials=2",
    "n_jobs=2": "n_jobs=1",
    "GRUForecaster(schema": "GRUForecaster(max_epochs=1, schema",
    "    older,\n": "    older.filter(pl.col('series_id') == 'USD', pl.col('time') > pl.date(2019, 1, 1)),\n",
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text_of(page), flags=re.DOTALL)


COMMANDS = [(page, line) for page in PAGES for block in blocks(page, "console") for line in block.splitlines()]


def test_the_first_commands_are_the_demo_and_the_tests():
    assert COMMANDS[:2] == [("README.md", "make demo"), ("README.md", "make test")]


@pytest.mark.parametrize(("page", "command"), [each for each in COMMANDS if each[1].startswith("make ")])
def test_make_knows_its_targets(page, command):
    assert f"\n{command.removeprefix('make ')}:" in text_of("Makefile")


@pytest.mark.parametrize(("page", "command"), [each for each in COMMANDS if each[1].startswith("tidecast ")])
def test_the_command_line_understands_every_command(page, command):
    _, *words = shlex.split(command)
    parsed = CliRunner().invoke(tidecast, [*words, "--help"])
    assert parsed.exit_code == 0, parsed.output
    found = tidecast
    while isinstance(found, click.Group) and words and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    names = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= names


def write_bars(path: Path) -> None:
    """Half-hour bars of one symbol on two days, named by their end."""
    ends = pl.datetime_range(
        pl.datetime(2024, 1, 2, 14), pl.datetime(2024, 1, 3, 22), "30m", time_zone="UTC", eager=True
    )
    values = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    pl.DataFrame({"symbol": "A", "stamp": ends, **values}).write_parquet(path)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page not in NEED_A_REGISTRY])
def test_the_examples_in_python_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").symlink_to(ROOT / "flows")
    write_bars(tmp_path / "bars.parquet")
    prices = pl.read_parquet("flows/data/ecb_fx_daily.parquet").rename({"date": "time", "value": "close"})
    recent = prices.filter(pl.col("series_id").is_in(["USD", "JPY"]), pl.col("time") >= pl.date(2023, 1, 1))
    names: dict[str, object] = {"pl": pl, "prices": recent.with_columns(open="close"), "__name__": "example"}
    for block in blocks(page, "python"):
        for long, short in SHORTER.items():
            block = block.replace(long, short)
        exec(compile(block, page, "exec"), names)
    if page == "README.md":
        assert list(names["forecast"].columns[:4]) == ["series_id", "origin", "step", "time"]
        assert set(names["scores"]["model"]) == {"GRUForecaster", "random_walk"}


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text_of(page))
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


def test_every_package_stands_in_the_tree():
    tree = next(block for block in blocks("README.md", "text") if "flows/" in block)
    lines = [line.split()[0] for line in tree.splitlines()]
    packages = {
        f"{path.parent.name}/"
        for folder in ("flows", "forecasting", "features")
        for path in (ROOT / folder).glob("*/__init__.py")
    }
    assert packages | {"flows/", "forecasting/", "features/"} <= set(lines)
    named = re.findall(r"\b(\w+\.py)\b", tree)
    inside = {
        path.name for folder in ("flows", "forecasting", "features", "tests") for path in (ROOT / folder).glob("*.py")
    }
    assert set(named) <= inside
