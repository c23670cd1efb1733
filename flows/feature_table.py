"""The table `features`: a copy of the networks' default inputs, for people and notebooks. No model reads it.

It holds the features of every session as known on the session of the last build: splits are undone, and a correction
changes all later rows. A build computes only rows that can have changed since the last one.
"""

import logging
from datetime import date

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tidecast.features.error_text import counted
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import hold
from tidecast.flows.log import log
from tidecast.flows.opening import open_workspace
from tidecast.flows.publish.feature_rows import Built, build
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.warehouse.warehouse import Warehouse


@flow(name="build-features")
@fails_cleanly
def build_features(
    as_of: date | None = None, home: str | None = None, settings: Settings | None = None, whole: bool = False
) -> Built:
    """Bring the table `features` up to date.

    Parameters
    ----------
    as_of : date, optional
        The session to build on, not before that of the last build. None: the newest one stored.
    home : str, optional
        The state folder. None: found as the command finds it.
    settings : Settings, optional
        None: loaded from the state folder, the environment and pyproject.toml.
    whole : bool
        Compute every row again, and write those that differ.

    Raises
    ------
    Busy
        A run holds the state folder.
    WarehouseError
        There are no prices, or the table was built on a later session.
    """
    log.setLevel(logging.INFO)
    workspace = open_workspace(home, settings)
    with hold(workspace.state_folder, "building features"):
        return bring_up_to_date(workspace.warehouse, workspace.settings, as_of, whole)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def bring_up_to_date(warehouse: Warehouse, settings: Settings, as_of: date | None, whole: bool) -> Built:
    """Prices → `features`, in one commit.

    Parameters
    ----------
    warehouse : Warehouse
    settings : Settings
    as_of : date or None
        None: the newest session.
    whole : bool
        Whether to compute all rows anew.
    """
    built = build(warehouse, settings, as_of, whole)
    log.info(f"features: {counted(built.written, 'row')} new or changed, as known on {built.as_of}.")
    return built
