"""What every flow begins with: whether Prefect started it, its state folder with settings, and the folder's lock."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder, find_state_folder, hold
from tidecast.flows.errors import SettingsError
from tidecast.flows.log import log
from tidecast.flows.prefect_ui.lost_runs import marked_alive
from tidecast.flows.prefect_ui.run_names import current_run
from tidecast.flows.workspace.load_settings import load_settings, settings_of_call
from tidecast.flows.workspace.workspace import Workspace

PATIENCE = 3 * 3600.0
"""Seconds that a run of a deployment waits while another run holds the state folder; a command does not wait."""


def is_of_deployment() -> bool:
    """Whether Prefect's API started this run, and not a caller: a flow in a deployed flow of a user's has a caller."""
    run = current_run()
    return run is not None and run.deployment_id is not None


@contextmanager
def held(folder: StateFolder, what: str, home: StateFolder | None = None) -> Iterator[None]:
    """Hold the lock of a folder; a run of a deployment waits for it, a command is refused.

    Parameters
    ----------
    folder : StateFolder
    what : str
        The flow, for messages.
    home : StateFolder, optional
        The state folder, if `folder` is one inside it.
    """
    with marked_alive(home or folder), hold(folder, what, PATIENCE if is_of_deployment() else 0.0, log.info):
        yield


def open_workspace(home: str | None, settings: Settings | None) -> Workspace:
    """Open the state folder with its settings: those of the call, or those that the command would find.

    Parameters
    ----------
    home : str or None
        Its path. None: the nearest one upwards.
    settings : Settings or None
        None: those of mlflow.yml, panel.json and the environment.

    Raises
    ------
    SettingsError
        A run that Prefect's API started has a home or settings among its parameters. A request must not choose the
        files that are read and the addresses that variables are sent to. Or the settings contradict what the panel is.
    """
    if is_of_deployment() and (home is not None or settings is not None):
        raise parameters_refused()
    found = find_state_folder(home, os.environ, Path.cwd())
    if settings is not None:
        return Workspace(found, settings_of_call(found, settings))
    return Workspace(found, load_settings(found, {}, os.environ, Path.cwd())[0])


def parameters_refused() -> SettingsError:
    """Return the error for a request to Prefect's API that names a home or settings."""
    return SettingsError(
        "A run of a deployment must take its home and settings from where it is served, got them as parameters. Leave "
        "them out; set TIDECAST_HOME and the settings where the deployment is served, as `tidecast schedule` does."
    )
