"""A state folder's MLflow: its store, made on first use, its experiments, and failures as one line.

A new ``mlflow.db`` is made under another name and renamed when it is complete. One that was moved with its folder is
repaired on the first call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

from mlflow import MlflowClient
from mlflow.entities import Param
from mlflow.exceptions import MlflowException

from tidecast.flows.config.mlflow_yml import MlflowConfig
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.redaction import beginning
from tidecast.flows.tracking.addresses import MlflowAddresses, quietly
from tidecast.flows.tracking.relocate import relocate_if_moved

EXPERIMENT_TEXT = (
    "Every training is a run. Its description says what was decided, and why. "
    "The runs inside it are the models that it compared, with the same names of metrics."
)
SEARCHES_TEXT = (
    "Every search for settings is a run, and the runs inside it are its trials. They have an experiment of their own, "
    "because hundreds of trials would push the trainings off the first page."
)

MAX_PARAMS = 100
"""Parameters in one request to MLflow."""


class TrackingError(TidecastError):
    """MLflow cannot be reached, or holds something that Tidecast must not use or change."""


class MlflowStore:
    """One state folder's MLflow. Nothing is read, written or connected to before the first call that needs it.

    Parameters
    ----------
    home : StateFolder
        State folder, with ``mlflow.db`` and ``mlartifacts`` unless `config` names other addresses.
    config : MlflowConfig
        Names and addresses.
    environ : mapping, optional
        Values of ``${VAR}`` in addresses; by default those of the process.
    say : callable, optional
        Called with one line before a step that takes long.
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
        """Yield the client, with MLflow silenced.

        Raises
        ------
        TrackingError
            MLflow fails inside; the message is one line.
        """
        with quietly(self.where.global_addresses):
            try:
                yield self.client
            except (MlflowException, OSError) as error:
                raise TrackingError(_in_words(error, self.where.shown)) from error

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client; on first use the store is made, or repaired after a move."""
        if self.is_new:
            self.say("Making the MLflow store, once …")
            self.make()
        elif self.where.is_local and (message := relocate_if_moved(self.home)):
            self.say(message)
        return MlflowClient(self.where.tracking_uri, self.where.registry_uri)

    @property
    def is_new(self) -> bool:
        """Whether the state folder's own store does not exist yet."""
        return self.where.is_local and not self.home.mlflow_db.exists()

    def make(self) -> None:
        """Create an empty store under another name, then rename it, so that a kill leaves no partial store."""
        draft = self.home.mlflow_db.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        MlflowClient(f"sqlite:///{draft}").search_experiments(max_results=1)
        draft.replace(self.home.mlflow_db)

    @cached_property
    def experiment(self) -> str:
        """Id of the experiment of trainings; created if it does not exist."""
        return self._experiment(self.where.experiment, EXPERIMENT_TEXT)

    @cached_property
    def searches(self) -> str:
        """Id of the experiment of searches for settings; created if it does not exist."""
        return self._experiment(f"{self.where.experiment} tuning", SEARCHES_TEXT)

    def _experiment(self, name: str, text: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            tags = {"mlflow.note.content": text}
            return str(self.client.create_experiment(name, self.where.artifact_location, tags=tags))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, str]) -> None:
    """Log parameters of a run, as many in a request as MLflow takes.

    Parameters
    ----------
    client : MlflowClient
    run_id : str
    params : mapping
    """
    entities = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(entities), MAX_PARAMS):
        client.log_batch(run_id, params=entities[start : start + MAX_PARAMS])


_UNREACHED = re.compile(r"API request to (?P<address>\S+?)/api/\S+ failed with exception ")
_WHY = re.compile(r"\[Errno -?\d+\] ([^\])\"']+)|([Rr]ead timed out|timed out|certificate verify failed)")


def _in_words(error: Exception, address: str) -> str:
    """Return a failure of MLflow in one line; a server that cannot be reached is named, with what to do."""
    said = beginning(str(error), 2000)
    if (unreached := _UNREACHED.search(said)) is None:
        return f"MLflow at {address} answered: {said[:300]}"
    why = next((first or second for first, second in _WHY.findall(said)), "no reply").rstrip(".")
    return (
        f"MLflow must answer at {unreached['address']}, but there is no connection: {why}. Start the server, or check "
        "the address in MLFLOW_TRACKING_URI or mlflow.yml."
    )
