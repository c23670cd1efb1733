"""The way to a state folder's MLflow: its store, made on first use, the experiment, and failures as one line.

A new ``mlflow.db`` is made beside its place and moved there when it is whole; one that was moved with its folder is
mended on the first call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tidecast.flows.config.mlflow_yml import MlflowConfig
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.redaction import redact
from tidecast.flows.tracking.addresses import MlflowAddresses, quietly
from tidecast.flows.tracking.relocate import relocate_if_moved

EXPERIMENT_WORDS = (
    "Every training is a run; its description says in words what was decided, and why. "
    "The runs inside one are its candidates, with their learning curves."
)
SEARCHES_WORDS = (
    "Every search for settings is a run; the runs inside one are its trials. Hundreds of them would push the trainings "
    "off the first page of their experiment."
)


class TrackingError(TidecastError):
    """MLflow cannot be reached, or holds something that must not be touched or built on."""


class MlflowStore:
    """One state folder's MLflow. Nothing is read, written or connected to before the first call that needs it.

    Parameters
    ----------
    home : StateFolder
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
        home: StateFolder,
        config: MlflowConfig,
        environ: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.home = home
        self.config = config
        self.where = MlflowAddresses(home, config, os.environ if environ is None else environ)
        self.say = say

    @contextmanager
    def connected(self) -> Iterator[MlflowClient]:
        """The client, in silence; what goes wrong inside is one line."""
        with quietly(self.where.global_addresses):
            try:
                yield self.client
            except (MlflowException, OSError) as error:
                words = redact(" ".join(str(error).split()))  # before it is cut: half a secret is not found
                raise TrackingError(f"MLflow at {self.where.shown} answered: {words[:300]}") from error

    @cached_property
    def client(self) -> MlflowClient:
        if self.is_new:
            self.say("Making the MLflow store, once …")
            self.make()
        elif self.where.is_local and (mended := relocate_if_moved(self.home)):
            self.say(mended)
        return MlflowClient(self.where.tracking_uri, self.where.registry_uri)

    @property
    def is_new(self) -> bool:
        """Whether the state folder's own store does not exist yet."""
        return self.where.is_local and not self.home.mlflow_db.exists()

    def make(self) -> None:
        """All tables of an empty store, then the move to its place: a kill in between leaves nothing half made."""
        draft = self.home.mlflow_db.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
        draft.replace(self.home.mlflow_db)

    @cached_property
    def experiment(self) -> str:
        """Id of the experiment of trainings, made when it does not exist."""
        return self._experiment(self.where.experiment, EXPERIMENT_WORDS)

    @cached_property
    def searches(self) -> str:
        """Id of the experiment of searches for settings, made when it does not exist."""
        return self._experiment(f"{self.where.experiment} tuning", SEARCHES_WORDS)

    def _experiment(self, name: str, words: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            tags = {"mlflow.note.content": words}
            return str(self.client.create_experiment(name, self.where.artifact_location, tags=tags))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
