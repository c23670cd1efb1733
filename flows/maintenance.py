"""Maintain the warehouse: join small files, remove files that are no longer needed. No row changes.

Every version of `prices` that a published forecast or a decision was made from stays readable. These versions are in
``runs.table_versions``, in the commits of `forecasts` (a run may be killed between the two), and in
``decisions.prices_version``. The version that `features` was built from stays, too. Of the other tables only the newest
version stays for good. Files that went out of use less than `unused_for` ago stay as well, so that readers and writers
at work are not disturbed.
"""

import json
import logging
from datetime import timedelta

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tidecast.features.error_text import counted
from tidecast.flows.config.settings import Settings
from tidecast.flows.log import log
from tidecast.flows.opening import held, open_workspace
from tidecast.flows.safe_output import fails_cleanly
from tidecast.flows.warehouse.warehouse import Warehouse

WEEK = timedelta(days=7)


@flow(name="maintain-warehouse")
@fails_cleanly
def maintain_warehouse(
    home: str | None = None, settings: Settings | None = None, unused_for: timedelta = WEEK
) -> dict[str, tuple[int, int]]:
    """Compact and vacuum all tables.

    Parameters
    ----------
    home : str, optional
        The state folder. None: found as the command finds it.
    settings : Settings, optional
        None: loaded from the state folder, the environment and pyproject.toml.
    unused_for : timedelta
        How long a file must have been out of use to be removed.

    Returns
    -------
    dict of str to (int, int)
        By table: files joined, files no longer needed.

    Raises
    ------
    Busy
        A run holds the state folder.
    """
    log.setLevel(logging.INFO)
    workspace = open_workspace(home, settings)
    with held(workspace.state_folder, "the maintenance of the warehouse"):
        return tidy(workspace.warehouse, unused_for)


@task(cache_policy=NO_CACHE)
@fails_cleanly
def tidy(warehouse: Warehouse, unused_for: timedelta) -> dict[str, tuple[int, int]]:
    """Each table in turn.

    Parameters
    ----------
    warehouse : Warehouse
    unused_for : timedelta
        As of `maintain`.
    """
    done = maintain(warehouse, unused_for)
    for name, (joined, removed) in done.items():
        log.info(f"{name}: {counted(joined, 'small file')} joined, {counted(removed, 'old file')} unused.")
    return done


def maintain(warehouse: Warehouse, unused_for: timedelta = WEEK) -> dict[str, tuple[int, int]]:
    """Compact and vacuum all tables; see `maintain_warehouse`.

    After a kill each table is as before or compacted, and the next run does the rest.

    Parameters
    ----------
    warehouse : Warehouse
    unused_for : timedelta, default=WEEK
        Younger unused files stay.

    Returns
    -------
    dict
        By table: small files that were joined, and files that were removed.
    """
    joined = {name: warehouse.compact(name) for name in warehouse.versions()}
    read = versions_read(warehouse)
    return {name: (count, warehouse.vacuum(name, read.get(name, ()), unused_for)) for name, count in joined.items()}


def versions_read(warehouse: Warehouse) -> dict[str, list[int]]:
    """Return by table the versions that forecasts, decisions or the newest features were made from, sorted.

    Parameters
    ----------
    warehouse : Warehouse
    """
    found = {"prices": set(warehouse.decisions()["prices_version"].drop_nulls())}
    in_runs = map(json.loads, warehouse.runs()["table_versions"].drop_nulls())
    for read in (*in_runs, *warehouse.read_by(), warehouse.features_read()):
        for name, version in read.items():
            found.setdefault(name, set()).add(version)
    return {name: sorted(versions) for name, versions in found.items()}
