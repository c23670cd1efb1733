"""README and docs are true: every command is understood, every example runs, every package stands in the map."""

import configparser
import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from datetime import date
from itertools import pairwise
from pathlib import Path

import click
import polars as pl
import pytest
import yaml

from benchmarks.readme_table import with_results
from tests.doc_blocks import PAGES, ROOT, blocks_of, text_of
from tidecast.flows.cli.main import tidecast

NEED_A_REGISTRY = {"docs/mlflow.md", "docs/how_to/serving.md"}
"""tests/flows/tracking/test_serving.py does the same with a model of its own."""
SHORTER = {  # what would take an hour, in a second
    "n_trials=50": "n_trials=2",
    "n_jobs=2": "n_jobs=1",
    "GRUForecaster(schema": "GRUForecaster(max_epochs=1, schema",
    "    older,\n": "    older.filter(pl.col('series_id') == 'USD', pl.col('time') > pl.date(2019, 1, 1)),\n",
}
OTHER_PROGRAMS = {
    "bash", "cd", "cp", "crontab", "curl", "dask", "docker", "echo", "export", "git", "journalctl", "mkdir", "mkdocs",
    "mlflow", "npm", "pip", "prefect", "psql", "python", "python3", "ray", "source", "spark-class", "sudo", "systemctl",
    "torchrun", "uv",
}  # fmt: skip
"""Whose lines are checked as shell only."""
CONSOLE = [(block.page, line) for page in PAGES for block in blocks_of(page, "console") for line in block.commands]
DATA = [block for page in PAGES for block in blocks_of(page) if block.language in ("json", "toml", "yaml", "ini")]
PYTHON = [page for page in PAGES if any(not block.reason for block in blocks_of(page, "python"))]


def words_of(line):
    """The words of a command, without variables set before it, and up to a pipe or `&`."""
    words = shlex.split(line)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    end = next((place for place, word in enumerate(words) if word in ("|", "&", "&&", ">", ">>", "||")), len(words))
    return words[:end]


def beginning_with(*programs):
    return [each for each in CONSOLE if words_of(each[1])[:1] and words_of(each[1])[0] in programs]


def test_the_first_commands_are_the_demo_and_the_tests():
    assert CONSOLE[:2] == [("README.md", "make demo"), ("README.md", "make test")]


def test_the_readme_is_short():
    assert len(text_of("README.md").splitlines()) < 120


def test_the_results_in_the_readme_are_those_of_the_benchmarks():
    assert with_results(text_of("README.md")) == text_of("README.md"), "run python -m benchmarks.readme_table"


@pytest.mark.parametrize(("page", "command"), beginning_with("make"))
def test_make_knows_its_targets(page, command):
    assert f"\n{command.removeprefix('make ')}:" in text_of("Makefile")


@pytest.mark.parametrize(("page", "command"), beginning_with("tidecast"))
def test_the_command_line_understands_every_command(page, command):
    _, *words = words_of(command)
    found = tidecast
    context = found.make_context("tidecast", []) if not words else None
    while isinstance(found, click.Group) and words and words[0] in found.commands:
        found = found.commands[words.pop(0)]
    assert found is not tidecast or not words or words[0].startswith("-"), f"no command {words[0]!r}"
    if context is None:
        found.make_context(found.name, words)  # parses options and values, and runs nothing


@pytest.mark.parametrize(("page", "command"), [each for each in CONSOLE if " -m " in each[1]])
def test_a_module_that_a_command_runs_exists(page, command):
    words = words_of(command)
    module = words[words.index("-m") + 1]
    if module.split(".")[0] in ("benchmarks", "docs", "examples", "tests", "tidecast"):
        assert importlib.util.find_spec(module)


def test_the_other_lines_are_shell_with_programs_that_we_expect():
    texts = [block.text for page in PAGES for block in blocks_of(page, "console") if not block.reason]
    done = subprocess.run(["bash", "-n"], input="\n".join(texts), text=True, capture_output=True, check=False)
    assert done.stderr == ""
    first = {words_of(line)[0].rpartition("/")[2] for _, line in CONSOLE if words_of(line)}
    assert first - {"make", "tidecast"} <= OTHER_PROGRAMS


@pytest.mark.parametrize("block", DATA, ids=lambda block: f"{block.page}-{block.language}")
def test_blocks_of_data_can_be_read(block):
    if block.language == "ini":
        configparser.ConfigParser(strict=False, interpolation=None).read_string(block.text)
    else:
        {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}[block.language](block.text)


def write_bars(path: Path) -> None:
    """Half-hour bars of one symbol on two days, named by their end."""
    ends = pl.datetime_range(
        pl.datetime(2024, 1, 2, 14), pl.datetime(2024, 1, 3, 22), "30m", time_zone="UTC", eager=True
    )
    values = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    pl.DataFrame({"symbol": "A", "stamp": ends, **values}).write_parquet(path)


def run_blocks(page: str, names: dict[str, object]) -> None:
    """Run the Python blocks of a page in one namespace, in order, as a script or a notebook does."""
    names["__name__"] = "__main__"
    for block in blocks_of(page, "python"):
        text = block.text
        for long, short in SHORTER.items():
            text = text.replace(long, short)
        if not block.reason:
            exec(compile(text, page, "exec"), names)


@pytest.mark.parametrize("page", [page for page in PYTHON if page not in NEED_A_REGISTRY])
def test_the_examples_in_python_run(page, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").symlink_to(ROOT / "flows")
    write_bars(tmp_path / "bars.parquet")
    prices = pl.read_parquet("flows/data/ecb_fx_daily.parquet").rename({"date": "time", "value": "close"})
    recent = prices.filter(pl.col("series_id").is_in(["USD", "JPY"]), pl.col("time") >= pl.date(2023, 1, 1))
    recent.rename({"series_id": "Name", "time": "Date", "close": "Close"}).write_csv("prices.csv")
    names: dict[str, object] = {"pl": pl, "prices": recent.with_columns(open="close"), "__name__": "example"}
    run_blocks(page, names)
    if page == "README.md":
        documented = next(block.text for block in blocks_of(page, "text") if "┌" in block.text)
        printed = capsys.readouterr().out
        shown, found = (
            [line.split("┆")[:4] for line in text.splitlines() if "┆" in line] for text in (documented, printed)
        )
        assert shown == found, "all but the quantiles, whose last digits depend on the machine"
        assert names["forecast"]["origin"].max() == date(2026, 10, 30)


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_to_files(page):
    targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text_of(page))
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_list_has_a_line_before_it(page):
    """The site shows a list as running text when it follows a paragraph without an empty line; GitHub does not."""
    lines = re.sub(r"^( *)```.*?^ *```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE).splitlines()
    item = re.compile(r"\s*([-*]|\d+\.) ")
    wrong = [
        line
        for before, line in pairwise(lines)
        if item.match(line) and before.strip() and not item.match(before) and not before.startswith((" ", "<!--"))
    ]
    assert wrong == []


def test_every_package_stands_in_the_map():
    tree = next(block.text for block in blocks_of("docs/code_map.md", "text") if "flows/" in block.text)
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


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/code_map.md"])
def test_the_files_that_a_map_names_exist(page):
    named = re.findall(r"`((?:flows|forecasting|features|tests|benchmarks|docs)/[\w/.]+)`", text_of(page))
    assert [path for path in named if not (ROOT / path).exists()] == []
