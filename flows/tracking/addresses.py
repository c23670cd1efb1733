"""Addresses of a panel's MLflow, the command that serves its pages, the panel's id, and a way to silence MLflow.

Nothing here imports MLflow.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from tidecast.flows.config.mlflow_yml import MlflowConfig
from tidecast.flows.config.secrets import expand
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.io.databases import is_database, url_of

QUIET = {  # no progress bars, no telemetry, no guesses about requirements
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",
}


_ALONE = threading.RLock()  # environment and log levels belong to the process: one thread at a time changes them


@dataclass(frozen=True)
class MlflowAddresses:
    """Addresses of one state folder's MLflow: the configured ones, else files in the folder.

    Parameters
    ----------
    home : StateFolder
    config : MlflowConfig
    environ : mapping
        Values of ``${VAR}`` in addresses.
    """

    home: StateFolder
    config: MlflowConfig
    environ: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        """Whether runs are stored in the state folder's own SQLite file."""
        return self.config.server.mlflow_tracking_uri is None

    @property
    def is_server(self) -> bool:
        """Whether runs are stored by a server, which serves its own pages and chooses where files go."""
        return not self.is_local and urlsplit(self.tracking_uri).scheme in ("http", "https", "databricks")

    @property
    def shown(self) -> str:
        """The tracking address with secrets unexpanded, for people and logs."""
        return self.config.server.mlflow_tracking_uri or f"sqlite:///{self.home.mlflow_db}"

    @property
    def tracking_uri(self) -> str:
        """Address of the runs, secrets included: for connecting only."""
        return self._connectable(self.shown, "server.mlflow_tracking_uri")

    @property
    def registry_uri(self) -> str:
        """Address of the model registry, secrets included: for connecting only."""
        return self._connectable(self.config.server.mlflow_registry_uri or self.shown, "server.mlflow_registry_uri")

    def _connectable(self, address: str, setting: str) -> str:
        """An address with its secrets expanded; for a database, quoted as a URL and with an installed driver."""
        expanded = expand(address, self.environ)
        scheme = expanded.partition(":")[0]
        if scheme == "sqlite" or not is_database(scheme):
            return expanded
        return url_of(address, setting, self.environ).render_as_string(hide_password=False)

    @property
    def global_addresses(self) -> dict[str, str]:
        """Environment variables for the parts of MLflow that ignore the client through which they are called."""
        return {"MLFLOW_TRACKING_URI": self.tracking_uri, "MLFLOW_REGISTRY_URI": self.registry_uri}

    @property
    def artifact_location(self) -> str | None:
        """Address of a new experiment's files; None leaves the choice to a server."""
        configured = self.config.tracking.experiment.create_experiment_kwargs.artifact_location
        if configured is not None:
            return expand(configured, self.environ)
        return None if self.is_server else self.home.mlartifacts.as_uri()

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return expand(self.config.tracking.experiment.name, self.environ)

    @cached_property
    def panel(self) -> str:
        """Id that marks this state folder's runs and versions on any server; created on first use."""
        return self.home.panel_id()

    @property
    def ui_url(self) -> str:
        """Address of MLflow's pages, without a final slash: the team's server, or the one that `ui_command` starts."""
        if self.is_server:
            address = urlsplit(self.tracking_uri)
            return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl().rstrip("/")
        return f"http://{self.config.ui.host}:{self.config.ui.port}"

    @property
    def ui_command(self) -> list[str] | None:
        """Command that serves MLflow's pages; run it with `ui_environ`. None when a server serves them already."""
        if self.is_server:
            return None
        ui = self.config.ui
        return [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", ui.host, "--port", str(ui.port)]

    @property
    def ui_environ(self) -> dict[str, str]:
        """Environment of `ui_command`. It holds the addresses, so that no command line shows their secrets."""
        return QUIET | {
            "MLFLOW_BACKEND_STORE_URI": self.tracking_uri,
            "MLFLOW_REGISTRY_STORE_URI": self.registry_uri,
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": self.artifact_location or self.home.mlartifacts.as_uri(),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }


@contextmanager
def quietly(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables and silence MLflow's log lines, warnings and bars; restore everything afterwards.

    Threads wait for each other, because environment and log levels belong to the process.

    Parameters
    ----------
    variables : mapping
        Environment variables, in addition to `QUIET`.
    """
    variables = QUIET | dict(variables)
    with _ALONE:
        loggers = {logging.getLogger(name): logging.getLogger(name).level for name in ("mlflow", "alembic")}
        before = {name: os.environ.get(name) for name in variables}
        try:
            os.environ.update(variables)
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            for logger, level in loggers.items():
                logger.setLevel(level)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
