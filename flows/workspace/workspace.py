"""An opened state folder: the way to its tables and models."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from tidecast.flows.tracking.registry import Registry
    from tidecast.flows.tracking.store import MlflowStore
    from tidecast.flows.tracking.training_runs import Tracking
    from tidecast.flows.tracking.tuning_runs import TuningRuns


@dataclass(frozen=True)
class Workspace:
    """A state folder and the settings in force: the way to its tables and its models.

    Parameters
    ----------
    state_folder : StateFolder
    settings : Settings
    """

    state_folder: StateFolder
    settings: Settings

    @cached_property
    def warehouse(self) -> Warehouse:
        """The tables. All steps of a run share one, which keeps the panel they read."""
        return Warehouse(self.settings.warehouse or self.state_folder.warehouse_uri)

    def tracking(self, say: Callable[[str], None] = lambda text: None) -> "Tracking":
        """The runs of trainings in MLflow.

        Parameters
        ----------
        say : callable, optional
            Called with each line for the log.
        """
        from tidecast.flows.tracking.training_runs import Tracking

        return Tracking(self._mlflow(say))

    def registry(self, say: Callable[[str], None] = lambda text: None) -> "Registry":
        """The registered versions, and which of them is champion.

        Parameters
        ----------
        say : callable, optional
            Called with each line for the log.
        """
        from tidecast.flows.tracking.registry import Registry

        return Registry(self._mlflow(say), self.warehouse.decisions)

    def tuning_runs(self, say: Callable[[str], None] = lambda text: None) -> "TuningRuns":
        """The runs of searches for settings in MLflow.

        Parameters
        ----------
        say : callable, optional
            Called with each line for the log.
        """
        from tidecast.flows.tracking.tuning_runs import TuningRuns

        return TuningRuns(self._mlflow(say))

    def _mlflow(self, say: Callable[[str], None]) -> "MlflowStore":
        """MLflow, by the mlflow.yml of the working directory; importing it takes a second or two."""
        from tidecast.flows.config.mlflow_yml import load_mlflow_config
        from tidecast.flows.tracking.store import MlflowStore

        config, _ = load_mlflow_config(Path.cwd(), os.environ)
        return MlflowStore(self.state_folder, config, os.environ, say)
