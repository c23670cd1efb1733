"""A search for settings in MLflow: one run, with a run inside for each trial, written while they run.

A run has the tag ``tuning_key`` from its creation and ``complete`` as its last tag. A search that was killed continues
in its own run. A training only takes the result of a complete search.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Metric, RunTag

from tidecast.flows.config.state_folder import hold
from tidecast.flows.errors import Busy
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.tracking.store import MlflowStore, TrackingError, log_params
from tidecast.flows.tracking.tuning_record import (
    RECIPE,
    TABLE,
    ended_text,
    metrics_of,
    metrics_of_trial,
    name_of,
    name_of_trial,
    params_of,
    params_of_trial,
    points_of_trial,
    result_text,
    running_text,
    write_files,
)
from tidecast.flows.training.candidates import NETWORKS, TunedRecipe
from tidecast.flows.training.search_problem import SearchProblem
from tidecast.forecasting.tables.names import VOLATILITY_REGRESSION

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from tidecast.forecasting.tuning.result import TrialRecord, TuningResult

KEY, COMPLETE, TRIAL, STATE, NOTE = "tuning_key", "complete", "trial", "state", "mlflow.note.content"
PARENT = "mlflow.parentRunId"
SOURCE_TAGS = {"mlflow.source.name": "tidecast tune", "mlflow.source.type": "JOB"}
ENDED = {"complete": "FINISHED", "pruned": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class TuningRuns:
    """One state folder's searches.

    Parameters
    ----------
    store : MlflowStore
    """

    def __init__(self, store: MlflowStore) -> None:
        self.store = store

    def recover(self) -> int:
        """End the RUNNING runs of a search that was killed, and return their number. A running search is left alone."""
        if self.store.is_new:
            return 0
        with suppress(Busy), hold(self.store.home.tuning, "clearing up"):
            return self.end_running()
        return 0

    def end_running(self) -> int:
        """End all RUNNING runs of searches as KILLED, and return their number. The caller holds the searches' lock."""
        if self.store.is_new:
            return 0
        with self.store.connected() as client:
            running = self._runs(client, f"attributes.status = 'RUNNING' and tags.{KEY} != ''")
            for run in running:
                client.set_terminated(run.info.run_id, "KILLED")
            return len(running)

    def begin(self, problem: SearchProblem) -> str:
        """Return the id of the run of a search; a continued search keeps its run.

        Parameters
        ----------
        problem : SearchProblem
        """
        with self.store.connected() as client:
            found = self._runs(client, f"tags.{KEY} = '{problem.key}' and tags.{STATE} = 'search'")
            if found:
                run_id = str(found[0].info.run_id)
                client.update_run(run_id, status="RUNNING")
                return run_id
            tags = {KEY: problem.key, "panel": self.store.where.panel, STATE: "search", NOTE: running_text(problem)}
            run = client.create_run(self.store.searches, run_name=name_of(problem), tags=tags | SOURCE_TAGS)
            log_params(client, run.info.run_id, params_of(problem))
            return str(run.info.run_id)

    def trials_of(self, run_id: str, problem: SearchProblem) -> TrialRuns:
        """Return a writer for the trials of a search.

        Parameters
        ----------
        run_id : str
            Of the search.
        problem : SearchProblem
        """
        with self.store.connected() as client:
            inside = self._runs(client, f"tags.`{PARENT}` = '{run_id}'")
        return TrialRuns(self.store, run_id, problem, inside)

    def finish(self, run_id: str, problem: SearchProblem, tuned: TuningResult) -> None:
        """Log numbers, text, table, pictures and recipe of a finished search, and end its run.

        Parameters
        ----------
        run_id : str
            Of the search.
        problem : SearchProblem
        tuned : TuningResult
        """
        with self.store.connected() as client:
            with tempfile.TemporaryDirectory() as folder:
                write_files(tuned, Path(folder))
                client.log_artifacts(run_id, folder)
            now = int(1000 * time.time())
            tags = {
                NOTE: result_text(problem, tuned),
                "as_of": problem.as_of.isoformat(),
                "looked_through": problem.looked_through.isoformat(),
                "winner": f"tuned {_cell(tuned)}",
                "mlflow.loggedArtifacts": json.dumps([{"path": TABLE, "type": "table"}]),
            }
            metrics = [Metric(key, value, now, 0) for key, value in metrics_of(tuned).items()]
            client.log_batch(run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])
            client.update_run(run_id, name=name_of(problem, tuned))
            client.set_tag(run_id, COMPLETE, "yes")
            client.set_terminated(run_id, "FINISHED")

    def newest(self, as_of: date) -> TunedRecipe | None:
        """Return the recipe of the newest complete search up to a session; None if there is none.

        Parameters
        ----------
        as_of : date
        """
        if self.store.is_new:
            return None
        with self.store.connected() as client, tempfile.TemporaryDirectory() as folder:
            complete = self._runs(client, f"tags.{COMPLETE} = 'yes' and tags.{KEY} != ''")
            tags = [run.data.tags | {"id": run.info.run_id} for run in complete]
            usable = [each for each in tags if date.fromisoformat(each["as_of"]) <= as_of]
            if not usable:
                return None
            last = max(usable, key=lambda each: each["as_of"])  # within a session, the one that ended last
            recipe = Path(client.download_artifacts(last["id"], RECIPE, folder)).read_text(encoding="utf-8")
            return TunedRecipe(
                date.fromisoformat(last["as_of"]), last["winner"], json.loads(recipe),
                date.fromisoformat(last["looked_through"]),
            )  # fmt: skip

    def _runs(self, client: MlflowClient, condition: str) -> list[Run]:
        """The panel's own runs, the newest first."""
        own = f"tags.panel = '{self.store.where.panel}' and {condition}"
        page = client.search_runs([self.store.searches], own, max_results=1000)
        found = list(page)
        while page.token:
            page = client.search_runs([self.store.searches], own, max_results=1000, page_token=page.token)
            found += page
        return found


class TrialRuns:
    """Writer of trials as runs inside the run of their search. Call it with all trials, repeatedly: it writes changes.

    A write that fails is reported once and the search continues; the next run of the search writes what is missing.

    Parameters
    ----------
    store : MlflowStore
    run_id : str
        Of the search.
    problem : SearchProblem
        That the search solves.
    inside : sequence of Run
        Runs of trials that MLflow has already.
    """

    def __init__(self, store: MlflowStore, run_id: str, problem: SearchProblem, inside: Sequence[Run]) -> None:
        self.store, self.run_id, self.problem = store, run_id, problem
        self._ids = {int(run.data.tags[TRIAL]): str(run.info.run_id) for run in inside}
        self._done = {int(run.data.tags[TRIAL]) for run in inside if run.data.tags.get(STATE) in ENDED}
        self._written: dict[int, int] = {}
        self.failed: TrackingError | None = None

    def __call__(self, trials: Sequence[TrialRecord]) -> None:
        if self.failed is not None:
            return
        try:
            with self.store.connected() as client:
                for trial in trials:
                    if trial.state != "waiting" and trial.number not in self._done:
                        self._write(client, trial)
        except TrackingError as error:
            self.failed = error
            self.store.say(f"The search continues, but MLflow shows no further trials: {error}")

    def _write(self, client: MlflowClient, trial: TrialRecord) -> None:
        number, now = trial.number, int(1000 * time.time())
        if number not in self._ids:
            tags = {KEY: self.problem.key, "panel": self.store.where.panel, PARENT: self.run_id, TRIAL: str(number)}
            run = client.create_run(self.store.searches, run_name=name_of_trial(trial), tags=tags | SOURCE_TAGS)
            self._ids[number] = str(run.info.run_id)
            log_params(client, self._ids[number], params_of_trial(self.problem, trial))
        points = points_of_trial(trial)
        new = points[self._written.get(number, 0) :] if trial.state == "running" else points
        metrics = [Metric(name, value, now, step) for name, step, value in new]
        ends = []
        if trial.state in ENDED:
            ends = [RunTag(STATE, trial.state), RunTag(NOTE, ended_text(trial))]
            numbers = metrics_of_trial(self.problem, trial)
            metrics += [Metric(name, value, now, 0) for name, value in numbers.items()]
        if metrics or ends:
            client.log_batch(self._ids[number], metrics=metrics, tags=ends)
        self._written[number] = len(points)
        if trial.state in ENDED:
            client.update_run(self._ids[number], name=name_of_trial(trial))
            client.set_terminated(self._ids[number], ENDED[trial.state])
            self._done.add(number)


def both(*listeners: Callable[[list[TrialRecord]], None]) -> Callable[[list[TrialRecord]], None]:
    """Return a function that calls every listener with the trials.

    Parameters
    ----------
    *listeners : callable
    """

    def notify(trials: list[TrialRecord]) -> None:
        for listener in listeners:
            listener(trials)

    return notify


def _cell(tuned: TuningResult) -> str:
    names = (name for name, kind in NETWORKS.items() if isinstance(tuned.model, kind))
    return next(names, readable(VOLATILITY_REGRESSION))
