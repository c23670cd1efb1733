"""MLflow: what every training leaves behind, and which model is champion.

The only module (with ``served_model.py``, which a logged model loads by) that knows MLflow. It works on run ids given
explicitly, never on an "active run", and every step can be killed and taken again:

- a run carries ``training_key`` from its first moment and ``complete`` as its last tag; only a complete, finished run is
  reused, and only one can be registered;
- a version is made in one transaction, with its key, so that a second attempt finds it;
- a champion is an alias: moving it is one write.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from flows.errors import TidecastError
from flows.mlflow_config import MlflowConfig, expand
from forecasting import load_forecaster

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

    from flows.home import Home
    from flows.train import Training

SERVED_MODEL = Path(__file__).with_name("served_model.py")


class TrackingError(TidecastError):
    """MLflow holds something that Tidecast must not touch or build on."""


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
        self._environ = os.environ if environ is None else environ
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
            for model in client.search_logged_models([self._experiment], f"tags.panel = '{self._panel}'"):
                if model.status == "PENDING":
                    client.finalize_logged_model(model.model_id, "FAILED")
                    ended.append(model.model_id)
            return ended

    # -- writing ------------------------------------------------------------------------------------------------

    def log_training(self, training: Training, key: str) -> str:
        """Id of the finished run that holds everything about `training`; made only when `key` has none yet."""
        raise NotImplementedError

    def register(self, run_id: str, key: str) -> str:
        """Version made from a complete run, alias challenger; made only when `key` has none yet.

        Raises
        ------
        TrackingError
            The run is unfinished, or its model is not all there.
        """
        raise NotImplementedError

    def promote(self, version: str) -> None:
        """Make `version` champion; the champion before it becomes ``previous``."""
        raise NotImplementedError

    # -- addresses ----------------------------------------------------------------------------------------------

    def url_of(self, run_id: str) -> str:
        """Where a browser finds the run, once `ui_command` (or the team's own server) serves it."""
        raise NotImplementedError

    @property
    def ui_command(self) -> list[str] | None:
        """Command that serves MLflow's pages; None when runs are on a server, which has its own. Run it with `ui_environ`."""
        raise NotImplementedError

    @property
    def ui_environ(self) -> dict[str, str]:
        """What `ui_command` needs in its environment: addresses with their secrets, and quiet."""
        raise NotImplementedError
