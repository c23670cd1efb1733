"""train, backtest, promote, rollback and decisions, as a person types them."""

import json
import re

import polars as pl
import pytest
from click.testing import CliRunner

from tests.flows.trainings import crowned
from tidecast.flows.cli.main import tidecast
from tidecast.flows.workspace.load_settings import load_settings
from tidecast.flows.workspace.workspace import Workspace

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def workspace(store, judged) -> Workspace:
    """A panel with prices and a memory, on which nothing was trained yet."""
    rows = judged.panel.with_columns(known_at=pl.col("time"), as_of=pl.lit(judged.as_of))
    remembered = {"calendar": "weekdays", "horizon": 2, "quantiles": [0.1, 0.5, 0.9]}
    store.home.panel_file.write_text(json.dumps(remembered))
    made = Workspace(store.home, load_settings(store.home, {}, {}, store.home.path)[0])
    made.warehouse.store_prices(rows)
    return made


@pytest.fixture
def typed(workspace, monkeypatch):
    """A function: `tidecast …` on that panel, in this process."""
    monkeypatch.setattr("tidecast.flows.cli.options.enter", lambda *arguments: None)
    for name, value in {"MODELS": "GRU", "MAX_EPOCHS": "1", "LOOKBACK": "16", "N_JOBS": "1"}.items():
        monkeypatch.setenv(f"TIDECAST_{name}", value)
    for name, value in {"MIN_ORIGINS": "120", "MAX_ORIGINS": "120"}.items():
        monkeypatch.setenv(f"TIDECAST_GATE_{name}", value)

    def run(*arguments):
        return CliRunner().invoke(tidecast, [*arguments, "--home", str(workspace.state_folder.path)])

    return run


def test_a_training_says_in_two_lines_what_was_decided_and_the_second_time_the_same(typed, workspace):
    first = typed("train")
    assert first.exit_code == 0, first.output
    *_, decided, champion = first.stdout.splitlines()
    assert decided.startswith("Decided   No model earned it: the random walk is published. GRU failed: CRPS skill")
    assert champion == "Champion  random walk, version 1"
    again = typed("train")
    assert again.stdout.splitlines()[-2:] == [decided, champion]
    assert workspace.warehouse.decisions().height == 1

    listed = typed("decisions").stdout
    assert re.search(r"first +random walk +1 +GRU +[+−]\d\.\d\d \(−?\d\.\d\d … −?\d\.\d\d\) +\d\.\d", listed), listed
    early = typed("train", "--as-of", "2016-01-04")
    assert early.exit_code == 1
    assert "A training must see all that the champion has" in early.stderr


def test_a_backtest_leaves_the_gates_origins_alone_unless_asked_and_writes_what_it_prints(typed, workspace, tmp_path):
    sessions = workspace.warehouse.prices()["time"].unique().sort()
    found = typed("backtest", "--model", "drift", "--folds", "3", "--output", str(tmp_path / "scores.csv"))
    assert found.exit_code == 0, found.output
    judged = re.search(r"Judged +(\d+) origins, (\S+) to (\S+); the 120 newest are the gate's", found.stdout)
    assert judged, found.stdout
    assert judged[3] < str(sessions[-120 - 2])
    table = pl.read_csv(tmp_path / "scores.csv")
    drift = table.filter(model="drift", group="pooled").row(0, named=True)
    assert drift["n_origins"] == int(judged[1])
    assert f"{100 * drift['skill']:+.2f}".replace("-", "−") in found.stdout

    looked = typed("backtest", "--model", "drift", "--include-gate")
    assert "the gate's 120 among them: a model chosen on these numbers cannot be evaluated on them" in looked.stdout
    assert str(sessions[-1 - 2]) in looked.stdout
    assert "Before the gate:" not in found.stdout
    assert looked.stdout.index("Before the gate:") < looked.stdout.index("The gate's origins:")
    many = typed("backtest", "--model", "drift", "--folds", "50")
    assert many.exit_code == 0
    assert typed("backtest", "--model", "ARIMA").exit_code == 2


def test_a_backtest_of_two_seeds_has_a_line_for_each_with_its_cpu_seconds(typed):
    found = typed("backtest", "--model", "RNN", "--model", "drift", "--seeds", "2", "--folds", "1")
    assert found.exit_code == 0, found.output
    for name in ("RNN/0", "RNN/1"):
        skill, fit = (line.split() for line in found.stdout.splitlines() if line.startswith(name))
        assert len(skill) > 2
        assert float(fit[-1]) > 0


def test_a_person_promotes_and_rolls_back_and_says_why(typed, workspace, store, judged, refreshed):
    crowned(store, refreshed, "early")
    crowned(store, judged, "late")
    assert typed("rollback").exit_code == 2
    back = typed("rollback", "--by", "ada", "--why", "too wide")
    assert back.exit_code == 0, back.output
    assert back.stdout.splitlines() == [
        "Decided   Rolled back to version 1 by ada: too wide",
        "Champion  GRU, version 1",
    ]
    forth = typed("promote", "2", "--by", "ada", "--why", "it was right")
    assert forth.stdout.splitlines()[-1] == "Champion  random walk, version 2"
    wrong = typed("promote", "7", "--why", "why not")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    assert "There must be a version 7 of this panel to promote; there are: 1, 2." in wrong.stderr
    both = typed("promote", "1", "--challenger", "--why", "why not")
    assert both.exit_code == 2
    assert "Name a version, or --challenger" in both.stderr
