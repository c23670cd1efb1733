"""`tidecast completion`, and what a shell then offers."""

import os
import shutil
import stat
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from tidecast.flows.warehouse.warehouse import Warehouse

ROOT = Path(__file__).resolve().parents[3]
ASK = {
    "bash": 'eval "$(tidecast completion bash)"; COMP_WORDS=({words}); COMP_CWORD={last}; '
    '_tidecast_completion tidecast; printf "%s\\n" "${{COMPREPLY[@]}}"',
}


@pytest.fixture
def shell(tmp_path):
    """A function: what bash offers after these words, with `tidecast` on its path."""
    script = tmp_path / "bin" / "tidecast"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m tidecast "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    environment = {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}

    def offered(*words):
        quoted = " ".join(f"'{word}'" for word in ("tidecast", *words))
        asked = ASK["bash"].format(words=quoted, last=len(words))
        done = subprocess.run(
            ["bash", "--norc", "-c", asked], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True,
            timeout=120,
        )  # fmt: skip
        assert done.stderr == ""
        return done.stdout.split()

    return offered


@pytest.fixture
def panel_folder(tmp_path):
    """A state folder with forecasts of three series, a report and a decision."""
    home = tmp_path / ".tidecast"
    (home / "reports").mkdir(parents=True)
    (home / "reports" / "2026-05-29.html").write_text("")
    (home / "reports" / "index.html").write_text("")
    for table, rows in {
        "forecasts": pl.DataFrame({"series_id": ["USD", "UAH", "JPY"], "step": [1, 1, 1]}),
        "decisions": pl.DataFrame({"version": ["1", "10", "2"]}),
    }.items():
        (home / "warehouse" / table / "year=2026").mkdir(parents=True)
        rows.write_parquet(home / "warehouse" / table / "year=2026" / "part.parquet")
    return home


def test_bash_completes_commands_options_and_names_of_the_panel(shell, panel_folder):
    assert shell("ba") == ["backfill", "backtest"]
    assert "--json" in shell("show", "--")
    assert shell("completion", "") == ["bash", "zsh", "fish"]
    assert shell("show", "--series", "U") == ["UAH", "USD"]
    assert shell("show", "--as-of", "2026") == ["2026-05-29"]
    assert shell("promote", "1") == ["1", "10"]


def test_without_a_panel_nothing_is_offered_and_nothing_is_printed(shell, tmp_path):
    assert shell("show", "--series", "U") == []
    assert not (tmp_path / ".tidecast").exists(), "a completion must not make a folder"


def test_series_are_found_in_the_files_that_the_warehouse_writes(tmp_path):
    from tidecast.flows.cli.completion import _series
    from tidecast.flows.config.state_folder import StateFolder

    folder = StateFolder(tmp_path)
    warehouse = Warehouse(folder.warehouse_uri)
    day = date(2026, 5, 29)
    rows = pl.DataFrame({
        "series_id": ["A", "B"], "step": [1, 1], "origin": [day] * 2, "time": [date(2026, 6, 1)] * 2,
        "forecast": [1.0, 2.0], "model": ["random_walk"] * 2, "run_id": ["r"] * 2, "live": [True] * 2,
        "trained_through": [day] * 2,
    })  # fmt: skip
    warehouse.publish(day, rows)
    assert _series(folder) == ["A", "B"]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_shell_can_read_its_script(name, tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "tidecast", "completion", name],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (tmp_path / "script").write_text(made.stdout)
    if shutil.which(name):
        subprocess.run([name, "-n", str(tmp_path / "script")], check=True, capture_output=True)
    assert "_TIDECAST_COMPLETE" in made.stdout
