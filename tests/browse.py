"""Look at MLflow's pages as people do: a training and a search are logged, `tidecast ui` serves them, a browser reads.

``python -m tests.browse [FOLDER]`` leaves a picture of each page in FOLDER (build/pages) and fails, naming what is
missing, when a page does not show what it should.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.browser import Browser, Missing, browsing
from tests.conftest import make_random_walks
from tests.flows.trainings import crowned, judged_on
from tidecast.flows.config.mlflow_yml import MlflowConfig
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.scheduling.prefect_server import free_port
from tidecast.flows.steps import search
from tidecast.flows.tracking.registry import Registry
from tidecast.flows.tracking.store import MlflowStore
from tidecast.flows.tracking.training_runs import PAGES
from tidecast.flows.tracking.tuning_runs import TuningRuns
from tidecast.flows.training.champion import Champion
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

SECONDS = 180.0
TRIALS = 4


def main(shots: Path) -> int:
    shots.mkdir(parents=True, exist_ok=True)
    with browsing() as browser, tempfile.TemporaryDirectory() as folder:  # first the browser: it may not be installed
        print("Logging a training ...")
        home = StateFolder(Path(folder) / "home").make()
        store = MlflowStore(home, MlflowConfig(), {})
        training = judged_on(make_random_walks(n_series=3, n_rows=400))
        run_id = crowned(store, training, "browsed")
        print("Searching for settings ...")
        search_id = searched(home, store)
        port = free_port(5000)
        (Path(folder) / "mlflow.yml").write_text(f"ui:\n  port: {port}\n", encoding="utf-8")
        print("Starting tidecast ui ...")
        command = [sys.executable, "-m", "tidecast", "ui", "--home", str(home.path)]
        environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        with (shots / "ui.log").open("w") as log:
            ui = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)
            try:
                begun = time.monotonic()
                page = _address(ui, shots / "ui.log")
                print(f"  it took {time.monotonic() - begun:.1f} s")
                wanted = pages(page, run_id, Registry(store).champion()) | pages_of_search(page, store, search_id)
                return _visit(browser, wanted, shots)
            finally:
                ui.terminate()
                ui.wait()


def pages(listed: str, run_id: str, champion: Champion) -> dict[str, tuple[str, list[str]]]:
    """Address of each page, and what it must show."""
    root = listed.partition("/#/")[0]
    run = f"{listed.partition('?')[0]}/{run_id}"
    decision = champion.decision
    median, distribution = decision["verdict"].splitlines()
    name = f"% drift, turned down {decision['as_of']}, random walk published"
    return {
        "experiment": (listed, ["Every training is a run", "% drift"]),
        "run": (f"{run}{PAGES}", [name, "GRU, not chosen", "prices version 7", "tidecast", "lookback"]),
        "pictures": (f"{run}/artifacts/pictures/4_reliability.png{PAGES}", ["8_memory.png", "decision.json"]),
        "table": (f"{run}/artifacts/tables/series.json{PAGES}", ["series_id", "skill_percent"]),
        "model": (f"{root}/#/models/tidecast{PAGES}", ["champion", "Version 1", "Random walk"]),
        "version": (f"{root}/#/models/tidecast/versions/1{PAGES}", [median, distribution, "Compared:", "Data:"]),
    }


def searched(home: StateFolder, store: MlflowStore) -> str:
    """Id of the run of a search among tiny networks on random walks."""
    settings = Settings(
        calendar="weekdays", horizon=2, lookback=16, quantiles=(0.1, 0.9), max_epochs=2, models=("RNN", "GRU"),
        n_jobs=1, gate=GatePolicy(max_origins=130, min_origins=120),
    )  # fmt: skip
    walks = make_random_walks(n_series=2, n_rows=600)
    ground, runs = search.search_problem_in(walks, walks["time"].max(), settings), TuningRuns(store)
    run_id = runs.begin(ground)
    tuned = search.search(home.tuning, ground, TRIALS, SECONDS, runs.trials_of(run_id, ground))
    runs.finish(run_id, ground, tuned)
    return run_id


def pages_of_search(listed: str, store: MlflowStore, run_id: str) -> dict[str, tuple[str, list[str]]]:
    """As `pages`, of a search and of its first trial."""
    runs = f"{listed.partition('/#/')[0]}/#/experiments/{store.searches}/runs"
    inside = f"tags.`mlflow.parentRunId` = '{run_id}' and tags.trial = '0'"
    (first,) = store.client.search_runs([store.searches], inside)
    files = f"{runs}/{run_id}/artifacts"
    return {
        "searches": (f"{runs}{PAGES}", ["% best", "Every search for settings is a run"]),
        "search": (f"{runs}/{run_id}{PAGES}", ["best, tuning 20", "trial 1", f"{TRIALS} trials: ", "tidecast tune"]),
        "history": (f"{files}/pictures/1_history.png{PAGES}", ["2_importances.png", "recipe.json"]),
        "importances": (f"{files}/pictures/2_importances.png{PAGES}", ["1_history.png"]),
        "trials": (f"{files}/tables/trials.json{PAGES}", ["number", "skill_percent", "complete"]),
        "trial": (
            f"{runs}/{first.info.run_id}{PAGES}",
            ["the default settings, ", "on all folds", "seconds/trial"],
        ),
    }


def _visit(browser: Browser, wanted: dict[str, tuple[str, list[str]]], shots: Path) -> int:
    """Open each page, wait for its words, take its picture; the number of pages that lack some."""
    lacking = 0
    for number, (name, (address, texts)) in enumerate(wanted.items(), start=1):
        browser.open("about:blank")  # else a change after the # does not load the page anew
        browser.open(address)
        try:
            browser.wait_for(*texts)
            print(f"  {name}: {', '.join(texts)}")
        except Missing as error:
            lacking += 1
            print(f"  {name}: MISSING. {error}")
        time.sleep(1)  # pictures come after the words
        browser.shoot(shots / f"{number:02}_{name}.png")
    print(f"{len(wanted) - lacking} of {len(wanted)} pages are as they should be; pictures in {shots}")
    return int(lacking > 0)


def _address(ui: subprocess.Popen[bytes], log: Path) -> str:
    """Where `tidecast ui` says that its pages are, once they answer."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and ui.poll() is None:
        words = log.read_text(encoding="utf-8").split()
        page = next((word for word in words if word.startswith("http")), None)
        if page and httpx.get(page.partition("#")[0]).status_code == 200:
            return page
        time.sleep(0.2)
    raise SystemExit(f"tidecast ui must come up within {SECONDS:.0f} s, it said: {log.read_text(encoding='utf-8')}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/pages")))
