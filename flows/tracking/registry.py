"""The registry: versions of the registered model, and which of them is champion.

Every step can be killed and taken again: a version is made in one transaction, with the key of its training, so that a
second attempt finds it; a champion is an alias, and moving it is one write.

MLflow moves an alias whatever it stood on. So whoever promotes raises a flag on his version first (the tag
``promoting``), then looks for other flags, then at the champion, and only then moves the alias. Of two at once, the one
whose flag came later sees the other's flag, or the alias it has moved: they may both give up, never both get through.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from tidecast.flows.tracking.lost_model import damaged
from tidecast.flows.tracking.run_files import DECISION, EVIDENCE
from tidecast.flows.tracking.store import MlflowStore, TrackingError
from tidecast.flows.training.decisions import evidence_of, of_run
from tidecast.forecasting.saving.recipes import load_forecaster

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

VERSION_TAGS = ("winner", "outcome", "as_of", "trained_through", "training_key", "panel")
MODEL_FILES = {"MLmodel", "served_model.py", "model.json", "weights.safetensors"}
FLAG = "promoting"
FLAG_HOLDS = timedelta(minutes=10)
"""A promotion takes seconds: an older flag was left behind by a process that was killed."""


class ChampionChanged(TrackingError):
    """Somebody else has made another version champion; this one is not."""


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
        What was decided at its last gate: outcome, reason, verdict, numbers.
    gate_as_of : date or None
        Session of that gate; None when none was held yet.
    evidence : polars.DataFrame or None
        ``evaluate(...).summary`` of that gate's folds; None when none was held yet, or MLflow's run of it was deleted.
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
    decisions : callable, optional
        Gives the table `decisions`, which says why a version is champion. Where it does not, the run in MLflow does.
    """

    def __init__(self, store: MlflowStore, decisions: Callable[[], pl.DataFrame] | None = None) -> None:
        self.store, self._decisions = store, decisions

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

    def aliases(self) -> dict[str, str]:
        """Versions by what they are: "champion", "challenger", "previous"; those there are."""
        if self.store.is_new:
            return {}
        names = self.store.config.registry.aliases.model_dump()
        with self.store.connected() as client:
            found = {what: self._aliased(client, alias) for what, alias in names.items()}
            return {what: str(version.version) for what, version in found.items() if version is not None}

    def versions(self) -> set[str]:
        """The registered versions of this panel."""
        if self.store.is_new:
            return set()
        with self.store.connected() as client:
            return {str(version.version) for version in self._versions(client)}

    def load(self, version: str) -> Champion:
        """Any version, with its forecaster.

        Raises
        ------
        TrackingError
            There is no such version of this panel, or it is not whole.
        """
        with self.store.connected() as client:
            found = self._version(client, version)
            self._refuse_incomplete(client, found.tags["model_id"], f"version {version}")
            return self._load(client, found)

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
            self._refuse_incomplete(client, model_id, f"run {run_id}")
            copied = {tag: run.data.tags[tag] for tag in VERSION_TAGS if tag in run.data.tags}
            copied |= {"gate_run_id": self._gate_run(client, run), "model_id": model_id}
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

    def promote(self, version: str, replacing: str | None) -> None:
        """Make `version` champion in the place of `replacing`, which becomes ``previous``. Safe to repeat.

        Parameters
        ----------
        version : str
        replacing : str or None
            The champion that it was compared with; None where there was none.

        Raises
        ------
        ChampionChanged
            Another version is champion than `replacing`.
        TrackingError
            There is no such version of this panel, it is not whole, or another one is made champion at this moment.
        """
        name, aliases = self.store.config.registry.model_name, self.store.config.registry.aliases
        with self.store.connected() as client:
            wanted = self._version(client, version)
            if self._number(client, aliases.champion) != version:
                self._refuse_incomplete(client, wanted.tags["model_id"], f"version {version}")
                with self._flagged(client, version, replacing):
                    if replacing is not None:
                        client.set_registered_model_alias(name, aliases.previous, replacing)
                    client.set_registered_model_alias(name, aliases.champion, version)
            now = self._number(client, aliases.champion)
            if now != version:
                raise ChampionChanged(f"Version {version} was made champion, but version {now} is: see who moved it.")
            client.set_model_version_tag(name, version, "promoted", "yes")
            if self._number(client, aliases.challenger) == version:
                client.delete_registered_model_alias(name, aliases.challenger)

    @contextmanager
    def _flagged(self, client: MlflowClient, version: str, replacing: str | None) -> Iterator[None]:
        """The flag up, nobody else's in sight, and the champion still the one that is to be replaced."""
        name, now = self.store.config.registry.model_name, datetime.now(UTC)
        client.set_model_version_tag(name, version, FLAG, now.isoformat())
        try:
            flags = {str(found.version): found.tags[FLAG] for found in self._versions(client) if FLAG in found.tags}
            others = [v for v, at in flags.items() if v != version and now - datetime.fromisoformat(at) < FLAG_HOLDS]
            if others:
                raise TrackingError(
                    f"One version is made champion at a time: {version} is not, since somebody promotes version "
                    f"{', '.join(others)} at this moment. Wait {FLAG_HOLDS.seconds // 60} minutes, then run again."
                )
            champion = self._number(client, self.store.config.registry.aliases.champion)
            if champion != replacing:
                raise ChampionChanged(
                    f"Version {version} was compared with {_number(replacing)}, but by now {_number(champion)} is "
                    "champion: nothing was promoted. Train again, and it is compared with that one."
                )
            yield
        finally:
            client.delete_model_version_tag(name, version, FLAG)

    def _load(self, client: MlflowClient, version: ModelVersion) -> Champion:
        """The forecaster of one registered version, and the evidence of its last gate.

        Raises
        ------
        ModelLost
            Files of it are missing or damaged.
        """
        with tempfile.TemporaryDirectory() as folder:
            uri = f"models:/{version.name}/{version.version}/artifacts/forecaster"
            model = self._forecaster(client, version, uri, folder)
            gate = version.tags.get("gate_run_id") or None
            decision = self._decision(client, gate or str(version.run_id), version, folder)
            evidence = self._evidence(client, gate, folder)
        return Champion(
            name=version.tags["winner"],
            version=str(version.version),
            run_id=str(version.run_id),
            trained_through=_trained_through(version),
            recipe=model.recipe(),
            model=model,
            decision=decision,
            gate_as_of=date.fromisoformat(decision["as_of"]) if gate and "as_of" in decision else None,
            evidence=evidence,
        )

    def _forecaster(self, client: MlflowClient, version: ModelVersion, uri: str, folder: str) -> Any:
        try:
            files = download_artifacts(uri, dst_path=folder)
        except (MlflowException, OSError) as error:
            missing = self._missing(client, version.tags["model_id"])
            if not missing and "No such artifact" not in str(error):
                raise
            why = f"{', '.join(sorted(missing)) or 'its forecaster'} must be in {version.source}, found nothing there."
            raise damaged(self.store, str(version.version), why) from None
        try:
            return load_forecaster(files)
        except Exception as error:  # whatever a reader of damaged bytes says
            why = f"its files cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200].rstrip('.')}."
            raise damaged(self.store, str(version.version), why) from error

    def _decision(self, client: MlflowClient, run_id: str, version: ModelVersion, folder: str) -> dict[str, Any]:
        """Why a version is published: from the table, else from MLflow, else that nobody knows any more."""
        if self._decisions is not None and (row := of_run(self._decisions(), run_id)) is not None:
            return evidence_of(row)
        try:
            found = Path(client.download_artifacts(run_id, DECISION, folder)).read_text(encoding="utf-8")
        except (MlflowException, OSError) as error:
            if not _is_gone(error):
                raise
            reason = f"The run of its decision, {run_id}, was deleted from MLflow, and no row of decisions names it."
            return {"outcome": version.tags["outcome"], "reason": reason, "verdict": None}
        decision: dict[str, Any] = json.loads(found)
        return decision

    def _evidence(self, client: MlflowClient, gate: str | None, folder: str) -> pl.DataFrame | None:
        """What that gate measured; None when the run is not there any more, and nothing but its decision is."""
        if gate is None:
            return None
        try:
            return pl.read_parquet(client.download_artifacts(gate, EVIDENCE, folder))
        except (MlflowException, OSError) as error:
            if not _is_gone(error):
                raise
            return None

    def _gate_run(self, client: MlflowClient, run: Run) -> str:
        """The run whose gate speaks for this one: itself, or the one behind the champion whose recipe it refreshes."""
        if own := run.data.tags.get("gate_run_id"):
            return own
        champion = self._aliased(client, self.store.config.registry.aliases.champion)
        return "" if champion is None else champion.tags.get("gate_run_id", "")

    def _refuse_incomplete(self, client: MlflowClient, model_id: str, what: str) -> None:
        if missing := self._missing(client, model_id):
            raise TrackingError(f"The model of {what} must be whole, but has no {', '.join(sorted(missing))}.")

    def _missing(self, client: MlflowClient, model_id: str) -> set[str]:
        """The files that a model must have and does not."""
        folders = (None, "artifacts/forecaster")
        files = [file for folder in folders for file in client.list_logged_model_artifacts(model_id, folder)]
        return MODEL_FILES - {Path(file.path).name for file in files}

    def _version(self, client: MlflowClient, version: str) -> ModelVersion:
        self._own_registered_model(client)
        versions = {str(found.version): found for found in self._versions(client)}
        if version not in versions:
            known = ", ".join(sorted(versions, key=int)) or "none"
            raise TrackingError(f"There must be a version {version} of this panel to promote; there are: {known}.")
        return versions[version]

    def _number(self, client: MlflowClient, alias: str) -> str | None:
        found = self._aliased(client, alias)
        return None if found is None else str(found.version)

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


def _number(version: str | None) -> str:
    return "no champion" if version is None else f"version {version}"


def _is_gone(error: Exception) -> bool:
    """Whether a run, or its file, is not there; anything else that fails is a fault."""
    if isinstance(error, MlflowException):
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")
    return isinstance(error, FileNotFoundError)
