"""The registry: versions of the registered model, and which of them is champion.

Every step can be killed and taken again: a version is made in one transaction, with the key of its training, so that a
second attempt finds it; a champion is an alias, and moving it is one write.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from flows.mlflow_store import MlflowStore, TrackingError
from flows.run_record import DECISION, EVIDENCE
from forecasting.persistence import load_forecaster

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

VERSION_TAGS = ("winner", "outcome", "as_of", "trained_through", "training_key", "panel")
MODEL_FILES = {"MLmodel", "served_model.py", "model.json", "weights.safetensors"}


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


class Registry:
    """One state folder's registered versions.

    Parameters
    ----------
    store : MlflowStore
    """

    def __init__(self, store: MlflowStore) -> None:
        self.store = store

    def champion(self, as_of: date | None = None) -> Champion | None:
        """The champion, with its forecaster loaded; None while there is none.

        With `as_of`, one whose ``trained_through`` is not after it: the present champion, else the newest version that
        has been champion (a backfill uses the champion of that day).
        """
        if self.store.is_new:
            return None
        with self.store.connected() as client:
            version = self._aliased(client, self.store.config.registry.aliases.champion)
            if version is not None and as_of is not None and _trained_through(version) > as_of:
                former = [v for v in self._versions(client) if "promoted" in v.tags and _trained_through(v) <= as_of]
                version = max(former, key=lambda v: (_trained_through(v), int(v.version)), default=None)
            return None if version is None else self._load(client, version)

    def register(self, run_id: str, key: str) -> str:
        """Version made from a complete run, alias challenger; made only when `key` has none yet.

        Raises
        ------
        TrackingError
            The run is unfinished, its model is not all there, or the registered model belongs to another panel.
        """
        name, aliases = self.store.config.registry.model_name, self.store.config.registry.aliases
        with self.store.connected() as client:
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
            copied["gate_run_id"] = self._gate_run(client, run)
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
        name, aliases = self.store.config.registry.model_name, self.store.config.registry.aliases
        with self.store.connected() as client:
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

    def _gate_run(self, client: MlflowClient, run: Run) -> str:
        """The run whose gate speaks for this one: itself, or the one behind the champion whose recipe it refreshes."""
        if own := run.data.tags.get("gate_run_id"):
            return own
        champion = self._aliased(client, self.store.config.registry.aliases.champion)
        return "" if champion is None else champion.tags.get("gate_run_id", "")

    def _versions(self, client: MlflowClient) -> list[ModelVersion]:
        found = client.search_model_versions(f"name = '{self.store.config.registry.model_name}'", max_results=10_000)
        return [version for version in found if version.tags.get("panel") == self.store.where.panel]

    def _aliased(self, client: MlflowClient, alias: str) -> ModelVersion | None:
        """The version that an alias names; None when there is none.

        Aliases of another panel's versions are refused, so that nobody's champion is forecast with by mistake.
        """
        name = self.store.config.registry.model_name
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
        name = self.store.config.registry.model_name
        words = "Forecasts of one panel of prices. The version called champion is published every day."
        try:
            client.create_registered_model(name, tags={"panel": self.store.where.panel}, description=words)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            self._refuse_strangers(client.get_registered_model(name).tags.get("panel"))

    def _refuse_strangers(self, panel: str | None) -> None:
        if panel != self.store.where.panel:
            raise TrackingError(
                f"The registered model {self.store.config.registry.model_name!r} must belong to this panel, but "
                "another state folder made it. Name one of your own in mlflow.yml (registry.model_name)."
            )


def _model_of(run: Run) -> str:
    """Id of the one model that a complete run has logged."""
    assert run.outputs is not None
    model_id: str = run.outputs.model_outputs[0].model_id
    return model_id


def _trained_through(version: ModelVersion) -> date:
    return date.fromisoformat(version.tags["trained_through"])
