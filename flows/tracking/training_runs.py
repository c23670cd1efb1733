"""What every training leaves behind in MLflow: a run with all there is to say, and the model in it.

A training is first written whole into the state folder, then sent, and forgotten there when its winner is champion:
what a server that is away, or a kill, kept from being logged, the next run logs. It works on run ids given explicitly,
never on an "active run", and every step can be taken again: a run carries ``training_key`` from its first moment and
``complete`` as its last tag, and only a complete, finished run is reused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, Run

from tidecast.flows.tracking.model_package import adopt, package
from tidecast.flows.tracking.run_files import EVIDENCE, write_files
from tidecast.flows.tracking.run_record import RunRecord, describe
from tidecast.flows.tracking.store import MlflowStore, TrackingError

if TYPE_CHECKING:
    from tidecast.flows.training.result import TrainingResult

RECORD, FILES, MODEL = "record.json", "files", "model"  # of a kept training: what MLflow gets
DECIDED, FORECASTS = "decided.parquet", "forecasts.parquet"  # and what is done with it then
SOURCE_TAGS = {"mlflow.source.name": "tidecast", "mlflow.source.type": "JOB"}
PAGES = "?workflowType=machine_learning"  # else MLflow opens its pages for language models
MOST_PARAMS, MOST_METRICS = 100, 1000  # that MLflow takes at once


class Tracking:
    """One state folder's runs.

    Parameters
    ----------
    store : MlflowStore
    """

    def __init__(self, store: MlflowStore) -> None:
        self.store = store

    def recover(self) -> list[str]:
        """End what a dead process left behind: its RUNNING runs become KILLED, its pending models FAILED; their ids.

        Only this state folder's own are touched; searches for settings, which may be at work, are left to
        `TuningRuns.recover`. Call it while holding the folder's lock.
        """
        if self.store.is_new:
            return []
        with self.store.connected() as client:
            ended = []
            running = self._runs(client, "attributes.status = 'RUNNING'")
            for run in (each for each in running if "tuning_key" not in each.data.tags):  # those may be at work
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
        """Id of the finished run that holds everything about `training`; made only when `key` has none yet.

        The training is kept in the state folder until `forget`.

        Parameters
        ----------
        training : TrainingResult
        key : str
            What the training is known by.
        decision : mapping, optional
            What it came to, kept with it for `kept_decision`.
        prefect : mapping, optional
            ``id`` and, where it has one, ``url`` of the flow run that trained.

        Raises
        ------
        TrackingError
            MLflow did not take it.
        """
        place = self._place(key)
        if not place.exists():
            self._keep(training, place, decision or {}, prefect or {})
        try:
            return self.send(key)
        except TrackingError as error:
            raise TrackingError(f"{error} The training is kept in {place}; the next run logs it.") from error

    def kept(self) -> list[str]:
        """Keys of the trainings that are kept here, oldest first."""
        places = [place for place in self.store.home.unsent.glob("*") if not place.name.startswith(".")]
        return [place.name for place in sorted(places, key=_ended)]

    def send(self, key: str) -> str:
        """Log a kept training, unless it was; the id of its run."""
        with self.store.connected() as client:
            complete = "attributes.status = 'FINISHED' and tags.complete = 'yes'"
            done = self._runs(client, f"{complete} and tags.training_key = '{key}'")
            return str(done[0].info.run_id) if done else self._log(client, self._place(key))

    def kept_decision(self, key: str) -> dict[str, Any]:
        """What a kept training came to."""
        row: dict[str, Any] = pl.read_parquet(self._place(key) / DECIDED).to_dicts()[0]
        return row

    def kept_forecasts(self, key: str) -> pl.DataFrame:
        """What a kept training's model forecast as it was fitted."""
        return pl.read_parquet(self._place(key) / FORECASTS)

    def forget(self, key: str) -> None:
        """Keep a training no longer: all is done with it."""
        draft = _draft_of(self._place(key))
        shutil.rmtree(draft, ignore_errors=True)
        self._place(key).replace(draft)  # a kill leaves all of it or nothing
        shutil.rmtree(draft)

    def url_of(self, run_id: str) -> str:
        """Where a browser finds the run, once ``tidecast ui`` (or the team's own server) serves it."""
        return f"{self._runs_page()}/{run_id}{PAGES}"

    def page(self) -> str:
        """Where a browser finds all runs, once ``tidecast ui`` (or the team's own server) serves them."""
        return f"{self._runs_page()}{PAGES}"

    # -- what the steps above are made of -----------------------------------------------------------------------

    def _runs_page(self) -> str:
        with self.store.connected():
            return f"{self.store.where.ui_url}/#/experiments/{self.store.experiment}/runs"

    def _place(self, key: str) -> Path:
        return self.store.home.unsent / key

    def _keep(
        self, training: TrainingResult, place: Path, decision: Mapping[str, Any], prefect: Mapping[str, str]
    ) -> None:
        """Write a training whole into `place`: all of it or nothing."""
        draft = _draft_of(place)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        record = describe(training, self._prices_of(training), prefect)
        write_files(training, draft / FILES)
        with self.store.connected():
            package(training, draft / MODEL)
        pl.from_dicts([dict(decision)]).write_parquet(draft / DECIDED)
        training.model.predict().write_parquet(draft / FORECASTS)
        (draft / RECORD).write_text(record.to_json(), encoding="utf-8")
        draft.replace(place)

    def _log(self, client: MlflowClient, place: Path) -> str:
        """Everything about one training, in a run of its own with a run inside for each candidate."""
        self.store.say("Logging the training to MLflow …")
        record = RunRecord.from_json((place / RECORD).read_text(encoding="utf-8"))
        ended = _ended(place)
        tags = {"training_key": place.name} | SOURCE_TAGS
        with self._run(client, record, ended, tags) as run:
            run_id: str = run.info.run_id
            model_id = self._add_model(client, run_id, record, place / MODEL)
            self._fill(client, run, record, model_id)
            client.log_artifacts(run_id, str(place / FILES))
            tables = sorted((place / FILES / "tables").iterdir())
            shown = [{"path": f"tables/{table.name}", "type": "table"} for table in tables]
            client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(shown))
            for inner in record.inside:
                with self._run(client, inner, ended, SOURCE_TAGS | {"mlflow.parentRunId": run_id}) as child:
                    self._fill(client, child, inner)
            if (place / FILES / EVIDENCE).exists():
                client.set_tag(run_id, "gate_run_id", run_id)
            client.set_tag(run_id, "complete", "yes")
        return run_id

    @contextmanager
    def _run(self, client: MlflowClient, record: RunRecord, ended: float, tags: Mapping[str, str]) -> Iterator[Run]:
        """A run with its tags, begun when the training did; FINISHED at the end, or FAILED when an exception passes."""
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

    def _fill(self, client: MlflowClient, run: Run, record: RunRecord, model_id: str | None = None) -> None:
        """Parameters, metrics, learning curve and data set of a run; metrics without a slash are of its model, too."""
        run_id, when = run.info.run_id, run.info.start_time
        params = [Param(key, value) for key, value in record.params.items()]
        seen = record.dataset.get("name"), record.dataset.get("digest")
        metrics = [
            Metric(key, value, when, 0) if "/" in key else Metric(key, value, when, 0, model_id, *seen)
            for key, value in record.metrics.items()
        ]
        metrics += [Metric(key, value, when, epoch) for key, epoch, value in record.curves]
        for part in range(0, len(params), MOST_PARAMS):
            client.log_batch(run_id, params=params[part : part + MOST_PARAMS])
        for part in range(0, len(metrics), MOST_METRICS):
            client.log_batch(run_id, metrics=metrics[part : part + MOST_METRICS])
        if record.dataset:
            dataset = Dataset(**record.dataset)
            client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def _add_model(self, client: MlflowClient, run_id: str, record: RunRecord, folder: Path) -> str:
        """The forecaster as a model that MLflow can load and serve, linked to its run; its id."""
        own = {"panel": self.store.where.panel}
        model = client.create_logged_model(self.store.experiment, record.tags["winner"], run_id, own, record.params)
        adopt(folder, run_id, model.model_id, model.artifact_location)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return str(model.model_id)

    def _prices_of(self, training: TrainingResult) -> str:
        """Address of the prices table that a training read."""
        return f"{training.settings.warehouse or self.store.home.warehouse_uri}/prices"

    def _runs(self, client: MlflowClient, what: str) -> list[Run]:
        own = f"tags.panel = '{self.store.where.panel}' and {what}"
        return list(client.search_runs([self.store.experiment], own))


def _draft_of(place: Path) -> Path:
    """Where a kept training is while it is written or removed."""
    return place.with_name(f".{place.name}")


def _ended(place: Path) -> float:
    """When a kept training was over, in seconds since 1970."""
    return (place / RECORD).stat().st_mtime
