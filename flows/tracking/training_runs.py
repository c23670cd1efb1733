"""Trainings in MLflow: a run each, with its model.

A training is first written into the state folder, then sent to MLflow, and removed from the folder when its winner is
champion. If a server is away or the process is killed, the next run logs it. Run ids are explicit; there is no "active
run". Every step can be repeated: a run has the tag ``training_key`` from its creation and ``complete`` as its last tag,
and only a complete, finished run is reused.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Run

from tidecast.flows.reporting.model_names import readable
from tidecast.flows.tracking.metric_names import is_of_gate
from tidecast.flows.tracking.model_package import adopt, package
from tidecast.flows.tracking.run_files import EVIDENCE, write_files
from tidecast.flows.tracking.run_record import RunRecord, describe
from tidecast.flows.tracking.store import MlflowStore, TrackingError, log_params
from tidecast.flows.training.result import TrainingResult

RECORD, FILES, MODEL = "record.json", "files", "model"  # of an unsent training: what MLflow gets
DECIDED, FORECASTS = "decided.parquet", "forecasts.parquet"  # and what promotion needs afterwards
REPORT = "report.html"
SOURCE_TAGS = {"mlflow.source.name": "tidecast", "mlflow.source.type": "JOB"}
NOTE = "mlflow.note.content"
PAGES = "?workflowType=machine_learning"  # otherwise MLflow opens its pages for language models
MAX_METRICS = 1000  # in one request to MLflow


class Tracking:
    """One state folder's runs.

    Parameters
    ----------
    store : MlflowStore
    """

    def __init__(self, store: MlflowStore) -> None:
        self.store = store

    def recover(self) -> list[str]:
        """End the runs and models of a killed process: RUNNING runs become KILLED, pending models FAILED.

        Only this state folder's own are changed. Searches for settings may be running; `TuningRuns.recover` ends
        theirs. The caller holds the folder's lock.

        Returns
        -------
        list of str
            Ids of the runs and models ended.
        """
        if self.store.is_new:
            return []
        with self.store.connected() as client:
            ended = []
            running = self._runs(client, "attributes.status = 'RUNNING'")
            for run in (each for each in running if "tuning_key" not in each.data.tags):
                client.set_terminated(run.info.run_id, "KILLED")
                ended.append(run.info.run_id)
            newest = client.search_logged_models([self.store.experiment], f"tags.panel = '{self.store.where.panel}'")
            for model in newest:
                if model.status == "PENDING":
                    client.finalize_logged_model(model.model_id, "FAILED")
                    ended.append(model.model_id)
            return ended

    def log_training(
        self,
        training: TrainingResult,
        key: str,
        decision: Mapping[str, Any] | None = None,
        prefect: Mapping[str, str] | None = None,
    ) -> str:
        """Log a training, unless `key` was logged before, and return the id of its run.

        The training stays in the state folder until `forget`.

        Parameters
        ----------
        training : TrainingResult
        key : str
            Identifies the training.
        decision : mapping, optional
            Row of the decision, stored with the training for `kept_decision`.
        prefect : mapping, optional
            ``id`` and, if it has one, ``url`` of the flow run that trained.

        Raises
        ------
        TrackingError
            MLflow did not accept it.
        """
        folder = self._folder(key)
        if not folder.exists():
            self._store(training, folder, decision or {}, prefect or {})
        try:
            return self.send(key)
        except TrackingError as error:
            raise TrackingError(f"{error} The training is kept in {folder}; the next run logs it.") from error

    def add_report(self, run_id: str, report: Path) -> None:
        """Store a session's report among the files of its training's run, in place of an earlier one.

        Parameters
        ----------
        run_id : str
        report : Path
            The page.

        Raises
        ------
        TrackingError
            MLflow did not accept it.
        """
        with self.store.connected() as client, tempfile.TemporaryDirectory() as folder:
            client.log_artifact(run_id, str(shutil.copy(report, Path(folder) / REPORT)))

    def kept(self) -> list[str]:
        """Return the keys of the trainings in the state folder, the oldest first."""
        folders = [folder for folder in self.store.home.unsent.glob("*") if not folder.name.startswith(".")]
        return [folder.name for folder in sorted(folders, key=_ended)]

    def send(self, key: str) -> str:
        """Log a stored training, unless it was logged before, and return the id of its run.

        Parameters
        ----------
        key : str
            Of the training, as of `TrainingKey.key`.
        """
        with self.store.connected() as client:
            complete = "attributes.status = 'FINISHED' and tags.complete = 'yes'"
            done = self._runs(client, f"{complete} and tags.training_key = '{key}'")
            return str(done[0].info.run_id) if done else self._log(client, self._folder(key))

    def kept_decision(self, key: str) -> dict[str, Any]:
        """Return the row of the decision of a stored training.

        Parameters
        ----------
        key : str
            Of the training.
        """
        row: dict[str, Any] = pl.read_parquet(self._folder(key) / DECIDED).to_dicts()[0]
        return row

    def kept_forecasts(self, key: str) -> pl.DataFrame:
        """Return the forecasts that a stored training's model made when it was fitted.

        Parameters
        ----------
        key : str
            Of the training.
        """
        return pl.read_parquet(self._folder(key) / FORECASTS)

    def forget(self, key: str) -> None:
        """Remove a training from the state folder.

        Parameters
        ----------
        key : str
            Of the training.
        """
        draft = _draft_of(self._folder(key))
        shutil.rmtree(draft, ignore_errors=True)
        self._folder(key).replace(draft)  # atomic: a kill leaves no partial training under its key
        shutil.rmtree(draft)

    def url_of(self, run_id: str) -> str:
        """Return the address of a run's page, which ``tidecast ui`` or the team's own server serves.

        Parameters
        ----------
        run_id : str
        """
        return f"{self._runs_page()}/{run_id}{PAGES}"

    def page(self) -> str:
        """Return the address of the page of all runs, which ``tidecast ui`` or the team's own server serves."""
        return f"{self._runs_page()}{PAGES}"

    def _runs_page(self) -> str:
        with self.store.connected():
            return f"{self.store.where.ui_url}/#/experiments/{self.store.experiment}/runs"

    def _folder(self, key: str) -> Path:
        return self.store.home.unsent / key

    def _store(
        self, training: TrainingResult, folder: Path, decision: Mapping[str, Any], prefect: Mapping[str, str]
    ) -> None:
        """Write a training under another name, then rename it to `folder`, so that a kill leaves no partial one."""
        draft = _draft_of(folder)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        record = describe(training, self._prices_of(training), prefect)
        write_files(training, draft / FILES)
        with self.store.connected():
            package(training, draft / MODEL)
        pl.from_dicts([dict(decision)]).write_parquet(draft / DECIDED)
        training.model.predict().write_parquet(draft / FORECASTS)
        (draft / RECORD).write_text(record.to_json(), encoding="utf-8")
        draft.replace(folder)

    def _log(self, client: MlflowClient, folder: Path) -> str:
        """Log a training in a run of its own, with a run inside it for each candidate."""
        self.store.say("Logging the training to MLflow …")
        record = RunRecord.from_json((folder / RECORD).read_text(encoding="utf-8"))
        ended = _ended(folder)
        tags = {"training_key": folder.name} | SOURCE_TAGS
        with self._run(client, record, ended, tags) as run:
            run_id: str = run.info.run_id
            model_id = self._add_model(client, run_id, record, folder / MODEL)
            self._fill(client, run, record, model_id)
            client.log_artifacts(run_id, str(folder / FILES))
            tables = sorted((folder / FILES / "tables").iterdir())
            shown = [{"path": f"tables/{table.name}", "type": "table"} for table in tables]
            client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(shown))
            for inner in record.inside:
                with self._run(client, inner, ended, SOURCE_TAGS | {"mlflow.parentRunId": run_id}) as child:
                    self._fill(client, child, inner, model_id)
            if (folder / FILES / EVIDENCE).exists():
                client.set_tag(run_id, "gate_run_id", run_id)
            client.set_tag(run_id, "complete", "yes")
        return run_id

    @contextmanager
    def _run(self, client: MlflowClient, record: RunRecord, ended: float, tags: Mapping[str, str]) -> Iterator[Run]:
        """A run with its tags, started when the training did; it ends FINISHED, or FAILED after an exception."""
        tags = {**record.tags, "panel": self.store.where.panel, **tags}
        begun = int(1000 * (ended - record.seconds))
        run = client.create_run(self.store.experiment, begun, tags, record.name)
        try:
            yield run
        except BaseException:
            with suppress(Exception):
                client.set_terminated(run.info.run_id, "FAILED")
            raise
        client.set_terminated(run.info.run_id, "FINISHED", int(1000 * ended))

    def _fill(self, client: MlflowClient, run: Run, record: RunRecord, model_id: str) -> None:
        """Log parameters, metrics and data set; the gate's numbers of the logged model's recipe belong to it, too."""
        run_id, when = run.info.run_id, run.info.start_time
        of_model = (model_id, record.dataset.get("name"), record.dataset.get("digest"))
        points = [(key, 0, value) for key, value in record.metrics.items()] + record.curves
        metrics = [
            Metric(key, value, when, step, *(of_model if record.of_logged_model and is_of_gate(key) else ()))
            for key, step, value in points
        ]
        log_params(client, run_id, record.params)
        for start in range(0, len(metrics), MAX_METRICS):
            client.log_batch(run_id, metrics=metrics[start : start + MAX_METRICS])
        if record.dataset:
            dataset = Dataset(**record.dataset)
            client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def _add_model(self, client: MlflowClient, run_id: str, record: RunRecord, folder: Path) -> str:
        """Log the forecaster as a model that MLflow can load and serve, linked to its run, and return its id."""
        own = next((inner for inner in record.inside if inner.of_logged_model), record)
        tags = {"panel": self.store.where.panel, NOTE: record.tags[NOTE]}
        name = readable(record.tags["winner"])
        model = client.create_logged_model(self.store.experiment, name, run_id, tags, own.params)
        adopt(folder, run_id, model.model_id, model.artifact_location)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return str(model.model_id)

    def _prices_of(self, training: TrainingResult) -> str:
        """Address of the prices table that a training read."""
        return f"{training.settings.warehouse or self.store.home.warehouse_uri}/prices"

    def _runs(self, client: MlflowClient, condition: str) -> list[Run]:
        own = f"tags.panel = '{self.store.where.panel}' and {condition}"
        return list(client.search_runs([self.store.experiment], own))


def _draft_of(folder: Path) -> Path:
    """Folder of a training while it is written or removed."""
    return folder.with_name(f".{folder.name}")


def _ended(folder: Path) -> float:
    """Time at which a stored training ended, in seconds since 1970."""
    return (folder / RECORD).stat().st_mtime
