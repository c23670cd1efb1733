"""MLflow: what every training leaves behind, and which model is champion.

The only module (with ``served_model.py``, which a logged model loads by) that knows MLflow. It works on run ids given
explicitly, never on an "active run", and every step can be killed and taken again:

- a run carries ``training_key`` from its first moment and ``complete`` as its last tag; only a complete, finished run
  is reused, and only one can be registered;
- a version is made in one transaction, with its key, so that a second attempt finds it;
- a champion is an alias: moving it is one write;
- a new ``mlflow.db`` is made beside its place and moved there when it is whole.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.models import Model, infer_signature

from flows.errors import TidecastError
from flows.mlflow_config import MlflowConfig
from flows.mlflow_home import MlflowHome, quietly
from flows.run_record import DECISION, EVIDENCE, RunRecord, describe, installed
from forecasting.persistence import load_forecaster

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from flows.home import Home
    from flows.train import Training

SERVED_MODEL = Path(__file__).with_name("served_model.py")
SERVED_BY = (
    "tidecast", "mlflow", "numpy", "pandas", "polars", "safetensors", "scikit-learn", "scipy", "torch",
    "exchange_calendars",
)  # fmt: skip
VERSION_TAGS = ("winner", "outcome", "as_of", "trained_through", "gate_run_id", "training_key", "panel")
MODEL_FILES = {"MLmodel", "served_model.py", "model.json", "weights.safetensors"}
EXPERIMENT_WORDS = (
    "Every training is a run; its description says in words what was decided, and why. "
    "The runs inside one are its candidates, with their learning curves."
)
SOURCE_TAGS = {"mlflow.source.name": "tidecast", "mlflow.source.type": "JOB"}
PAGES = "?workflowType=machine_learning"  # else MLflow opens its pages for language models


class TrackingError(TidecastError):
    """MLflow cannot be reached, or holds something that must not be touched or built on."""


@dataclass(frozen=True)
class Champion:
    """The version that forecasts.

    Attributes
    ----------
    name : str
        Which model won, as in ``Training.winner``: "GRU", "random_walk".
    version, run_id : str
        Registered version and the training run behind it.
    trained_through : date
        Last session of its training rows; it forecasts origins at or after it only.
    recipe : dict
        ``model.recipe()``: class, settings, features.
    model : forecaster
        Fitted, ready to predict.
    decision : dict
        What was decided at its last gate (``decision.json`` of that run): outcome, reason, verdict, numbers.
    gate_as_of : date or None
        Session of that gate; None when none was held yet.
    evidence : polars.DataFrame or None
        ``evaluate(...).summary`` of that gate's folds; None when none was held yet.
    """

    name: str
    version: str
    run_id: str
    trained_through: date
    recipe: dict[str, Any]
    model: Any
    decision: dict[str, Any]
    gate_as_of: date | None
    evidence: pl.DataFrame | None


class Tracking:
    """One state folder's runs and registered versions.

    Nothing is read, written or connected to before the first call that needs it.

    Parameters
    ----------
    home : Home
        State folder: ``mlflow.db`` and ``mlartifacts`` unless `config` names other places.
    config : MlflowConfig
        Names and addresses.
    environ : mapping, optional
        Where ``${VAR}`` in addresses is looked up; the process's own by default.
    say : callable, optional
        Told in one line what takes long.
    """

    def __init__(
        self,
        home: Home,
        config: MlflowConfig,
        environ: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.home = home
        self.config = config
        self.where = MlflowHome(home, config, os.environ if environ is None else environ)
        self._say = say

    # -- reading ------------------------------------------------------------------------------------------------

    def champion(self, as_of: date | None = None) -> Champion | None:
        """The champion, with its forecaster loaded; None while there is none.

        With `as_of`, one whose ``trained_through`` is not after it: the present champion, else the newest version that
        has been champion (a backfill uses the champion of that day).
        """
        if self._is_new:
            return None
        with self._mlflow() as client:
            version = self._aliased(client, self.config.registry.aliases.champion)
            if version is not None and as_of is not None and _trained_through(version) > as_of:
                former = [v for v in self._versions(client) if "promoted" in v.tags and _trained_through(v) <= as_of]
                version = max(former, key=lambda v: (_trained_through(v), int(v.version)), default=None)
            return None if version is None else self._load(client, version)

    def recover(self) -> list[str]:
        """End what a dead process left behind: its RUNNING runs become KILLED, its pending models FAILED; their ids.

        Only this state folder's own are touched. Call it while holding the folder's lock.
        """
        if self._is_new:
            return []
        with self._mlflow() as client:
            ended = []
            for run in self._runs(client, "attributes.status = 'RUNNING'"):
                client.set_terminated(run.info.run_id, "KILLED")
                ended.append(run.info.run_id)
            newest = client.search_logged_models([self._experiment], f"tags.panel = '{self.where.panel}'")
            for model in newest:
                if model.status == "PENDING":
                    client.finalize_logged_model(model.model_id, "FAILED")
                    ended.append(model.model_id)
            return ended

    # -- writing ------------------------------------------------------------------------------------------------

    def log_training(self, training: Training, key: str) -> str:
        """Id of the finished run that holds everything about `training`; made only when `key` has none yet."""
        with self._mlflow() as client:
            complete = "attributes.status = 'FINISHED' and tags.complete = 'yes'"
            done = self._runs(client, f"{complete} and tags.training_key = '{key}'")
            if done:
                return str(done[0].info.run_id)
            self._say("Logging the training to MLflow …")
            record = describe(training, self._prices_of(training))
            tags = {"training_key": key, "panel": self.where.panel} | SOURCE_TAGS
            run = client.create_run(self._experiment, run_name=record.name, tags=record.tags | tags)
            run_id: str = run.info.run_id
            with _failed_unless_done(client, run_id):
                self._fill(client, run, record)
                self._add_model(client, run_id, training, record)
                client.set_tag(run_id, "gate_run_id", self._gate_run(client, training, run_id))
                client.set_tag(run_id, "complete", "yes")
            return run_id

    def register(self, run_id: str, key: str) -> str:
        """Version made from a complete run, alias challenger; made only when `key` has none yet.

        Raises
        ------
        TrackingError
            The run is unfinished, its model is not all there, or the registered model belongs to another panel.
        """
        name, aliases = self.config.registry.model_name, self.config.registry.aliases
        with self._mlflow() as client:
            self._own_registered_model(client)
            for version in self._versions(client):
                if version.tags.get("training_key") == key:
                    return str(version.version)
            run = client.get_run(run_id)
            if run.info.status != "FINISHED" or run.data.tags.get("complete") != "yes":
                raise TrackingError(
                    f"Only a complete, finished run can be registered, {run_id} is {run.info.status}. Run again."
                )
            model_id = _model_of(run)
            folders = (None, "artifacts/forecaster")
            files = [file for folder in folders for file in client.list_logged_model_artifacts(model_id, folder)]
            if missing := MODEL_FILES - {Path(file.path).name for file in files}:
                raise TrackingError(
                    f"The model of run {run_id} must be whole, but has no {', '.join(sorted(missing))}."
                )
            copied = {tag: run.data.tags[tag] for tag in VERSION_TAGS if tag in run.data.tags}
            version = client.create_model_version(
                name,
                source=client.get_logged_model(model_id).artifact_location,
                run_id=run_id,
                tags=copied,
                description=run.data.tags["mlflow.note.content"],
                await_creation_for=0,
                model_id=model_id,
            )
            client.set_registered_model_alias(name, aliases.challenger, version.version)
            return str(version.version)

    def promote(self, version: str) -> None:
        """Make `version` champion; the champion before it becomes ``previous``. Safe to repeat."""
        name, aliases = self.config.registry.model_name, self.config.registry.aliases
        with self._mlflow() as client:
            self._own_registered_model(client)
            champion = self._aliased(client, aliases.champion)
            if champion is None or str(champion.version) != version:
                if champion is not None:
                    client.set_registered_model_alias(name, aliases.previous, champion.version)
                client.set_registered_model_alias(name, aliases.champion, version)
            client.set_model_version_tag(name, version, "promoted", "yes")
            challenger = self._aliased(client, aliases.challenger)
            if challenger is not None and str(challenger.version) == version:
                client.delete_registered_model_alias(name, aliases.challenger)

    def url_of(self, run_id: str) -> str:
        """Where a browser finds the run, once ``tidecast ui`` (or the team's own server) serves it."""
        return f"{self._runs_page()}/{run_id}{PAGES}"

    def page(self) -> str:
        """Where a browser finds all runs, once ``tidecast ui`` (or the team's own server) serves them."""
        return f"{self._runs_page()}{PAGES}"

    # -- what the steps above are made of -----------------------------------------------------------------------

    def _runs_page(self) -> str:
        with self._mlflow():
            return f"{self.where.ui_url}/#/experiments/{self._experiment}/runs"

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
            inside = {"panel": self.where.panel, "mlflow.parentRunId": run_id}
            child = client.create_run(self._experiment, run_name=name, tags=inside)
            with _failed_unless_done(client, child.info.run_id):
                client.log_batch(child.info.run_id, metrics=_curve(curve, when), params=[Param("model", name)])

    def _add_model(self, client: MlflowClient, run_id: str, training: Training, record: RunRecord) -> None:
        """The forecaster as a model that MLflow can load and serve, linked to its run."""
        own = {"panel": self.where.panel}
        model = client.create_logged_model(self._experiment, record.winner, run_id, own, record.params)
        layout = Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id)
        with tempfile.TemporaryDirectory() as folder:
            _package(training, Path(folder), layout)
            client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])

    def _load(self, client: MlflowClient, version: ModelVersion) -> Champion:
        """The forecaster of one registered version, and the evidence of its last gate."""
        with tempfile.TemporaryDirectory() as folder:
            uri = f"models:/{version.name}/{version.version}/artifacts/forecaster"
            model = load_forecaster(download_artifacts(uri, dst_path=folder))
            gate = version.tags.get("gate_run_id")
            decided = client.download_artifacts(gate or str(version.run_id), DECISION, folder)
            decision = json.loads(Path(decided).read_text(encoding="utf-8"))
            evidence = pl.read_parquet(client.download_artifacts(gate, EVIDENCE, folder)) if gate else None
        return Champion(
            name=version.tags["winner"],
            version=str(version.version),
            run_id=str(version.run_id),
            trained_through=_trained_through(version),
            recipe=model.recipe(),
            model=model,
            decision=decision,
            gate_as_of=date.fromisoformat(decision["as_of"]) if gate else None,
            evidence=evidence,
        )

    def _prices_of(self, training: Training) -> str:
        """Address of the prices table that a training read."""
        return f"{training.settings.warehouse or self.home.warehouse_uri}/prices"

    def _gate_run(self, client: MlflowClient, training: Training, run_id: str) -> str:
        """The run whose gate speaks for this training: itself, or the one behind the champion that is refreshed."""
        if training.decision is not None and training.evaluation is not None:
            return run_id
        champion = self._aliased(client, self.config.registry.aliases.champion)
        return "" if champion is None else champion.tags.get("gate_run_id", "")

    def _runs(self, client: MlflowClient, what: str) -> list[Run]:
        own = f"tags.panel = '{self.where.panel}' and {what}"
        return list(client.search_runs([self._experiment], own))

    def _versions(self, client: MlflowClient) -> list[ModelVersion]:
        found = client.search_model_versions(f"name = '{self.config.registry.model_name}'", max_results=10_000)
        return [version for version in found if version.tags.get("panel") == self.where.panel]

    def _aliased(self, client: MlflowClient, alias: str) -> ModelVersion | None:
        """The version that an alias names; None when there is none.

        Aliases of another panel's versions are refused, so that nobody's champion is forecast with by mistake.
        """
        name = self.config.registry.model_name
        try:
            version = client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        self._refuse_strangers(version.tags.get("panel"))
        return version

    def _own_registered_model(self, client: MlflowClient) -> None:
        """Make the registered model, unless it is there."""
        name = self.config.registry.model_name
        words = "Forecasts of one panel of prices. The version called champion is published every day."
        try:
            client.create_registered_model(name, tags={"panel": self.where.panel}, description=words)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            self._refuse_strangers(client.get_registered_model(name).tags.get("panel"))

    def _refuse_strangers(self, panel: str | None) -> None:
        if panel != self.where.panel:
            raise TrackingError(
                f"The registered model {self.config.registry.model_name!r} must belong to this panel, but another "
                "state folder made it. Name one of your own in mlflow.yml (registry.model_name)."
            )

    # -- where things are ---------------------------------------------------------------------------------------

    @contextmanager
    def _mlflow(self) -> Iterator[MlflowClient]:
        """The client, in silence; what goes wrong inside is one line."""
        with quietly(self.where.global_addresses):
            try:
                yield self._client
            except (MlflowException, OSError) as error:
                words = " ".join(str(error).split())
                raise TrackingError(f"MLflow at {self.where.shown} answered: {words[:300]}") from error

    @cached_property
    def _client(self) -> MlflowClient:
        if self._is_new:
            self._say("Making the MLflow store, once …")
            self._make_store()
        return MlflowClient(self.where.tracking_uri, self.where.registry_uri)

    @property
    def _is_new(self) -> bool:
        """Whether the state folder's own store does not exist yet."""
        return self.where.is_local and not self.home.mlflow_db.exists()

    def _make_store(self) -> None:
        """All tables of an empty store, then the move to its place: a kill in between leaves nothing half made."""
        draft = self.home.mlflow_db.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
        draft.replace(self.home.mlflow_db)

    @cached_property
    def _experiment(self) -> str:
        """Id of the experiment, made when it does not exist."""
        name = self.where.experiment
        found = self._client.get_experiment_by_name(name)
        if found is None:
            words = {"mlflow.note.content": EXPERIMENT_WORDS}
            return str(self._client.create_experiment(name, self.where.artifact_location, tags=words))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


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


def _model_of(run: Run) -> str:
    """Id of the one model that a complete run has logged."""
    assert run.outputs is not None
    model_id: str = run.outputs.model_outputs[0].model_id
    return model_id


def _trained_through(version: ModelVersion) -> date:
    return date.fromisoformat(version.tags["trained_through"])


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
