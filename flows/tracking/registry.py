"""The registry: versions of the registered model, and which of them is champion.

Every step can be killed and repeated. A version is made in one transaction, with the key of its training, so that a
second attempt finds it. A champion is an alias, and moving it is one write.

MLflow moves an alias without a check of its former version. A promotion therefore sets a flag on its version first (the
tag ``promoting``), then looks for other flags, then checks the champion, and only then moves the alias. Of two
promotions at once, the later one sees the flag of the other, or the alias that it moved. Both may stop; never do both
succeed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from tidecast.features.error_text import ended
from tidecast.flows.redaction import beginning
from tidecast.flows.tracking.lost_model import damaged
from tidecast.flows.tracking.run_files import DECISION, EVIDENCE
from tidecast.flows.tracking.store import MlflowStore, TrackingError
from tidecast.flows.training.champion import Champion
from tidecast.flows.training.decisions import decision_details, of_run
from tidecast.forecasting.persistence import load_forecaster

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

VERSION_TAGS = ("winner", "outcome", "as_of", "trained_through", "training_key", "panel")
MODEL_FILES = {"MLmodel", "served_model.py", "model.json", "weights.safetensors"}
MODEL_VERSIONS = "mlflow.modelVersions"
"""Tag of a logged model: MLflow's pages say "Not registered" without it."""

MOST_LINKED = 20
"""Versions whose models are looked at when one is registered: versions before 2026-12 have no link."""

FLAG = "promoting"
FLAG_HOLDS = timedelta(minutes=10)
"""A promotion takes seconds: an older flag is from a process that was killed."""


class ChampionChanged(TrackingError):
    """Another version became champion in the meantime."""


class Registry:
    """One state folder's registered versions.

    Parameters
    ----------
    store : MlflowStore
    decisions : callable, optional
        Returns the table `decisions`, which says why a version is champion. Without a row there, the run in MLflow is
        read.
    """

    def __init__(self, store: MlflowStore, decisions: Callable[[], pl.DataFrame] | None = None) -> None:
        self.store, self._decisions = store, decisions

    def champion(self, as_of: date | None = None) -> Champion | None:
        """Return the champion with its forecaster, or None while there is none.

        Parameters
        ----------
        as_of : date, optional
            If given, only a version whose ``trained_through`` is not after it: the present champion, else the newest
            former champion (a backfill uses the champion of that day).

        Raises
        ------
        ModelLost
            Files of the version are missing or damaged.
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
        """Return the version of each role in use: "champion", "challenger", "previous"."""
        if self.store.is_new:
            return {}
        names = self.store.config.registry.aliases.model_dump()
        with self.store.connected() as client:
            found = {role: self._aliased(client, alias) for role, alias in names.items()}
            return {role: str(version.version) for role, version in found.items() if version is not None}

    def versions(self) -> set[str]:
        """Return the registered versions of this panel."""
        if self.store.is_new:
            return set()
        with self.store.connected() as client:
            return {str(version.version) for version in self._versions(client)}

    def load(self, version: str) -> Champion:
        """Return any version with its forecaster.

        Parameters
        ----------
        version : str

        Raises
        ------
        TrackingError
            There is no such version of this panel, or files of it are missing.
        """
        with self.store.connected() as client:
            found = self._version(client, version)
            self._refuse_incomplete(client, found.tags["model_id"], f"version {version}")
            return self._load(client, found)

    def register(self, run_id: str, key: str) -> str:
        """Register the model of a complete run as challenger, unless `key` has a version, and return the version.

        Parameters
        ----------
        run_id : str
        key : str
            The training's, as of `TrainingKey.key`.

        Raises
        ------
        TrackingError
            The run is unfinished, files of its model are missing, or the registered model belongs to another panel.
        """
        name, aliases = self.store.config.registry.model_name, self.store.config.registry.aliases
        with self.store.connected() as client:
            self._own_registered_model(client)
            versions = self._versions(client)
            self._link_models(client, versions)
            for version in versions:
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
            self._link_models(client, [version])
            client.set_registered_model_alias(name, aliases.challenger, version.version)
            return str(version.version)

    def promote(self, version: str, replacing: str | None) -> None:
        """Make `version` champion instead of `replacing`, which becomes ``previous``. Safe to repeat.

        Parameters
        ----------
        version : str
        replacing : str or None
            The champion that it was compared with; None if there was none.

        Raises
        ------
        ChampionChanged
            The champion is not `replacing`.
        TrackingError
            There is no such version of this panel, files of it are missing, or another promotion is running.
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
                raise ChampionChanged(
                    f"Version {version} was made champion, but version {now} is champion. Check who moved the alias."
                )
            client.set_model_version_tag(name, version, "promoted", "yes")
            if self._number(client, aliases.challenger) == version:
                client.delete_registered_model_alias(name, aliases.challenger)

    @contextmanager
    def _flagged(self, client: MlflowClient, version: str, replacing: str | None) -> Iterator[None]:
        """Set the flag; check that there is no other flag and that the champion is the version to replace."""
        name, now = self.store.config.registry.model_name, datetime.now(UTC)
        client.set_model_version_tag(name, version, FLAG, now.isoformat())
        try:
            flags = {str(found.version): found.tags[FLAG] for found in self._versions(client) if FLAG in found.tags}
            others = [v for v, at in flags.items() if v != version and now - datetime.fromisoformat(at) < FLAG_HOLDS]
            if others:
                raise TrackingError(
                    f"Only one promotion may run at a time. Version {version} was not promoted, because another one "
                    f"promotes version {', '.join(others)}. Wait {FLAG_HOLDS.seconds // 60} minutes, then run again."
                )
            champion = self._number(client, self.store.config.registry.aliases.champion)
            if champion != replacing:
                raise ChampionChanged(
                    f"Version {version} was compared with {_number(replacing)}, but now {_number(champion)} is "
                    "champion: nothing was promoted. Train again to compare it with that one."
                )
            yield
        finally:
            client.delete_model_version_tag(name, version, FLAG)

    def _load(self, client: MlflowClient, version: ModelVersion) -> Champion:
        """A registered version with its forecaster, and the summary of its last gate.

        Raises
        ------
        ModelLost
            Files of the version are missing or damaged.
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
        except Exception as error:  # reading damaged bytes can raise anything
            text = ended(beginning(str(error), 200))
            why = f"its files cannot be read: {type(error).__name__}: {text}"
            raise damaged(self.store, str(version.version), why) from error

    def _decision(self, client: MlflowClient, run_id: str, version: ModelVersion, folder: str) -> dict[str, Any]:
        """The decision on a version: from the table `decisions`, else from MLflow, else a note that it was deleted."""
        if self._decisions is not None and (row := of_run(self._decisions(), run_id)) is not None:
            return decision_details(row)
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
        """The summary of a gate's folds; None if the run was deleted from MLflow."""
        if gate is None:
            return None
        try:
            return pl.read_parquet(client.download_artifacts(gate, EVIDENCE, folder))
        except (MlflowException, OSError) as error:
            if not _is_gone(error):
                raise
            return None

    def _link_models(self, client: MlflowClient, versions: Sequence[ModelVersion]) -> None:
        """Name each version on the page of its logged model, unless it is named there; newest versions first.

        `mlflow.register_model` does so. `create_model_version`, which registers in one transaction, does not. A model
        that was deleted from MLflow is left out.
        """
        newest = sorted(versions, key=lambda version: int(version.version), reverse=True)[:MOST_LINKED]
        for version in newest:
            with suppress(MlflowException):
                tags = client.get_logged_model(version.tags["model_id"]).tags
                link = {"name": version.name, "version": str(version.version)}
                known = json.loads(tags.get(MODEL_VERSIONS, "[]"))
                if link not in known:
                    client.set_logged_model_tags(version.tags["model_id"], {MODEL_VERSIONS: json.dumps([*known, link])})

    def _gate_run(self, client: MlflowClient, run: Run) -> str:
        """Id of the run whose gate tested this recipe: the run itself, or that of the champion which it refreshes."""
        if own := run.data.tags.get("gate_run_id"):
            return own
        champion = self._aliased(client, self.store.config.registry.aliases.champion)
        return "" if champion is None else champion.tags.get("gate_run_id", "")

    def _refuse_incomplete(self, client: MlflowClient, model_id: str, what: str) -> None:
        if missing := self._missing(client, model_id):
            raise TrackingError(f"The model of {what} must be whole, but has no {', '.join(sorted(missing))}.")

    def _missing(self, client: MlflowClient, model_id: str) -> set[str]:
        """Names of the required files that a model lacks."""
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
        """The version that an alias names; None if there is none.

        An alias of another panel's version is refused, so that no run forecasts with another panel's champion.
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
        """Create the registered model if it does not exist."""
        name = self.store.config.registry.model_name
        text = "Forecasts of one panel of prices. The version with the alias champion is published every day."
        try:
            client.create_registered_model(name, tags={"panel": self.store.where.panel}, description=text)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            self._refuse_strangers(client.get_registered_model(name).tags.get("panel"))

    def _refuse_strangers(self, panel: str | None) -> None:
        if panel != self.store.where.panel:
            raise TrackingError(
                f"The registered model {self.store.config.registry.model_name!r} must belong to this panel, but "
                "another state folder made it. Name one of its own in mlflow.yml (registry.model_name). For a second "
                f"machine of the same panel, copy the file panel_id from the first into {self.store.where.home.path}."
            )


def _model_of(run: Run) -> str:
    """Id of the one model that a complete run logged."""
    assert run.outputs is not None
    model_id: str = run.outputs.model_outputs[0].model_id
    return model_id


def _trained_through(version: ModelVersion) -> date:
    return date.fromisoformat(version.tags["trained_through"])


def _number(version: str | None) -> str:
    return "no champion" if version is None else f"version {version}"


def _is_gone(error: Exception) -> bool:
    """Whether an error means that a run or its file does not exist."""
    if isinstance(error, MlflowException):
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")
    return isinstance(error, FileNotFoundError)
