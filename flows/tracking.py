"""What every training leaves behind in MLflow: a run with all there is to say, and the model in it.

It works on run ids given explicitly, never on an "active run", and every step can be killed and taken again: a run
carries ``training_key`` from its first moment and ``complete`` as its last tag, and only a complete, finished run is
reused.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param
from mlflow.models import Model, infer_signature

from flows.mlflow_store import MlflowStore
from flows.run_record import RunRecord, describe, installed

if TYPE_CHECKING:
    from mlflow.entities import Run

    from flows.train import Training

SERVED_MODEL = Path(__file__).with_name("served_model.py")
SERVED_BY = (
    "tidecast", "mlflow", "numpy", "pandas", "polars", "safetensors", "scikit-learn", "scipy", "torch",
    "exchange_calendars",
)  # fmt: skip
SOURCE_TAGS = {"mlflow.source.name": "tidecast", "mlflow.source.type": "JOB"}
PAGES = "?workflowType=machine_learning"  # else MLflow opens its pages for language models


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

        Only this state folder's own are touched. Call it while holding the folder's lock.
        """
        if self.store.is_new:
            return []
        with self.store.connected() as client:
            ended = []
            for run in self._runs(client, "attributes.status = 'RUNNING'"):
                client.set_terminated(run.info.run_id, "KILLED")
                ended.append(run.info.run_id)
            newest = client.search_logged_models([self.store.experiment], f"tags.panel = '{self.store.where.panel}'")
            for model in newest:
                if model.status == "PENDING":
                    client.finalize_logged_model(model.model_id, "FAILED")
                    ended.append(model.model_id)
            return ended

    def log_training(self, training: Training, key: str) -> str:
        """Id of the finished run that holds everything about `training`; made only when `key` has none yet."""
        with self.store.connected() as client:
            complete = "attributes.status = 'FINISHED' and tags.complete = 'yes'"
            done = self._runs(client, f"{complete} and tags.training_key = '{key}'")
            if done:
                return str(done[0].info.run_id)
            self.store.say("Logging the training to MLflow …")
            record = describe(training, self._prices_of(training))
            tags = {"training_key": key, "panel": self.store.where.panel} | SOURCE_TAGS
            run = client.create_run(self.store.experiment, run_name=record.name, tags=record.tags | tags)
            run_id: str = run.info.run_id
            with _failed_unless_done(client, run_id):
                self._fill(client, run, record)
                self._add_model(client, run_id, training, record)
                if training.evaluation is not None:
                    client.set_tag(run_id, "gate_run_id", run_id)
                client.set_tag(run_id, "complete", "yes")
            return run_id

    def url_of(self, run_id: str) -> str:
        """Where a browser finds the run, once ``tidecast ui`` (or the team's own server) serves it."""
        return f"{self._runs_page()}/{run_id}{PAGES}"

    def page(self) -> str:
        """Where a browser finds all runs, once ``tidecast ui`` (or the team's own server) serves them."""
        return f"{self._runs_page()}{PAGES}"

    def _runs_page(self) -> str:
        with self.store.connected():
            return f"{self.store.where.ui_url}/#/experiments/{self.store.experiment}/runs"

    def _fill(self, client: MlflowClient, run: Run, record: RunRecord) -> None:
        """Parameters, metrics, tables, pictures and the data set of one run."""
        run_id, when = run.info.run_id, run.info.start_time
        params = [Param(key, value) for key, value in record.params.items()]
        metrics = [Metric(key, value, when, 0) for key, value in record.metrics.items()]
        metrics += _curve(record.curves.get(record.winner), when)
        for part in range(0, max(len(params), 1), 100):
            client.log_batch(run_id, params=params[part : part + 100])
        for part in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[part : part + 1000])
        dataset = Dataset(**record.dataset)
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        with tempfile.TemporaryDirectory() as folder:
            record.write(Path(folder))
            client.log_artifacts(run_id, folder)
        shown_as_tables = [{"path": path, "type": "table"} for path in record.tables]
        client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(shown_as_tables))
        for name, curve in record.curves.items():
            inside = {"panel": self.store.where.panel, "mlflow.parentRunId": run_id}
            child = client.create_run(self.store.experiment, run_name=name, tags=inside)
            with _failed_unless_done(client, child.info.run_id):
                client.log_batch(child.info.run_id, metrics=_curve(curve, when), params=[Param("model", name)])

    def _add_model(self, client: MlflowClient, run_id: str, training: Training, record: RunRecord) -> None:
        """The forecaster as a model that MLflow can load and serve, linked to its run."""
        own = {"panel": self.store.where.panel}
        model = client.create_logged_model(self.store.experiment, record.winner, run_id, own, record.params)
        layout = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
        with tempfile.TemporaryDirectory() as folder:
            _package(training, Path(folder), layout)
            client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _prices_of(self, training: Training) -> str:
        """Address of the prices table that a training read."""
        return f"{training.settings.warehouse or self.store.home.warehouse_uri}/prices"

    def _runs(self, client: MlflowClient, what: str) -> list[Run]:
        own = f"tags.panel = '{self.store.where.panel}' and {what}"
        return list(client.search_runs([self.store.experiment], own))


def _package(training: Training, folder: Path, model: Model) -> None:
    """The forecaster in MLflow's own layout, in ``folder/model``: code, safetensors, JSON, signature and an example."""
    from mlflow.pyfunc import save_model  # not at the top: it warns on import

    forecaster = training.model
    schema = forecaster.schema
    columns = ["series_id", "time", forecaster.target, *((*schema.covariates, *schema.static) if schema else ())]
    (folder / "forecaster").mkdir()
    forecaster.save(folder / "forecaster")
    names = forecaster.predict()["series_id"].unique(maintain_order=True)[:2].implode()
    rows = training.panel.filter(pl.col("series_id").is_in(names)).sort("series_id", "time")
    example = rows.group_by("series_id", maintain_order=True).tail(forecaster.lookback + 1).select(columns).to_pandas()
    times = {"time": "datetime64[us]"}
    forecast = forecaster.predict(example).astype({"origin": "datetime64[us]", **times})
    save_model(
        folder / "model",
        python_model=str(SERVED_MODEL),
        artifacts={"forecaster": str(folder / "forecaster")},
        signature=infer_signature(example.astype(times), forecast),
        input_example=example.astype(times),
        pip_requirements=[f"{name}=={installed(name)}" for name in SERVED_BY],
        mlflow_model=model,
    )


def _curve(curve: pl.DataFrame | None, when: int) -> list[Metric]:
    """Losses by epoch."""
    if curve is None:
        return []
    losses = ("train_loss", "validation_loss")
    points = ((name, row[name], row["epoch"]) for row in curve.iter_rows(named=True) for name in losses)
    return [Metric(name, value, when, epoch) for name, value, epoch in points if value is not None]


@contextmanager
def _failed_unless_done(client: MlflowClient, run_id: str) -> Iterator[None]:
    """End a run as FINISHED, or as FAILED when an exception passes."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")
