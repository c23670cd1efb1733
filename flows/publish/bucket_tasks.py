"""The buckets of a large panel as tasks of the engine: each reads its own series from the tables, and works on them."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, TypeVar

import polars as pl
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from tidecast.features.error_text import ended
from tidecast.flows.config.paths import folder_of
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import WarehouseError
from tidecast.flows.log import log
from tidecast.flows.training.engine import EngineUnusable, engine_of
from tidecast.flows.warehouse.bucket import BucketReference, in_buckets
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.estimator.clusters.cluster import EngineError
from tidecast.forecasting.estimator.engine import check_seen, on_engine
from tidecast.forecasting.estimator.engine_address import PROCESSES
from tidecast.forecasting.estimator.orphans import EndsWithParent
from tidecast.forecasting.estimator.panel_reference import HeldPanel, PanelReference, opened

PROCESS_ROWS = 40_000_000
"""Rows for a process of this machine, at least: loading its libraries (2 CPU s) takes 5 % of its work (40 s)."""

Shared = TypeVar("Shared")
Result = TypeVar("Result")


def references(
    warehouse: Warehouse, as_of: date, versions: dict[str, int], series: pl.DataFrame
) -> list[BucketReference]:
    """Return the buckets of these series, as tasks carry them.

    Parameters
    ----------
    warehouse : Warehouse
    as_of : date
        The session whose panel they are part of.
    versions : dict of str to int
        Of all tables that the work reads.
    series : polars.DataFrame
        As for `in_buckets`.
    """
    columns = warehouse.columns(as_of, versions.get("prices"))
    return [warehouse.reference(bucket, versions, columns) for bucket in in_buckets(series)]


def each_bucket(
    work: Callable[[Shared, Warehouse], Result], shared: Shared, buckets: Sequence[BucketReference], settings: Settings
) -> list[Result]:
    """Return ``work(shared, warehouse)`` of each bucket, in order; `warehouse` reads the rows of the bucket only.

    Buckets are worked on by this process, one after the other, where processes of their own would not be worth it.
    Otherwise they are tasks of the engine. An engine that cannot be used is a warning: this process then does the work,
    with the same result.

    Parameters
    ----------
    work : callable
        A function of a module that loads no server, because workers load it.
    shared : any
        What each task needs, and carries.
    buckets : sequence of BucketReference
    settings : Settings
        Engine, and number of processes.
    """
    if len(buckets) > 1 and (processes := _processes(buckets, settings)) > 1:
        try:
            return _on_engine(work, shared, buckets, settings, processes)
        except EngineUnusable as error:
            why = str(error)
        except TerminatedWorkerError:
            why = "A process of this machine ended while it worked on a bucket: mostly it had too little memory."
        log.warning(f"{ended(why)} This process works on the {len(buckets)} buckets of series itself.")
    return [work(shared, Warehouse(bucket.uri, bucket)) for bucket in buckets]


def _on_engine(
    work: Callable[[Shared, Warehouse], Result], shared: Shared, buckets: Sequence[BucketReference],
    settings: Settings, processes: int,
) -> list[Result]:  # fmt: skip
    """As `each_bucket`, by workers. What they warn of is warned of here, once."""
    carried = HeldPanel(shared)  # sent with each task: what is sent once is lost with the worker that has it
    with engine_of(settings, buckets[0].uri), on_engine(None, processes):
        if (folder := folder_of(buckets[0].uri)) is not None:
            check_seen(folder / "prices", "The warehouse")
        tasks = (delayed(EndsWithParent(_task))(work, carried, bucket) for bucket in buckets)
        done = list(Parallel(batch_size=1)(tasks))
    for text in dict.fromkeys(text for _, texts in done for text in texts):
        warnings.warn(text, UserWarning, stacklevel=3)
    return [found for found, _ in done]


def _processes(buckets: Sequence[BucketReference], settings: Settings) -> int:
    """How many tasks may run at a time; 1: this process works alone."""
    if settings.engine != PROCESSES:
        return len(buckets)  # a cluster says itself how many it runs
    rows = sum(bucket.bucket.rows for bucket in buckets)
    return min(settings.n_jobs, cpu_count(), len(buckets), rows // PROCESS_ROWS)


def _task(
    work: Callable[[Any, Warehouse], Result], shared: PanelReference, bucket: BucketReference
) -> tuple[Result, list[str]]:
    """Work on a bucket in a worker, which must see the tables; return the result, and the warnings."""
    warehouse = Warehouse(bucket.uri, bucket)
    try:
        warehouse.version("prices")
    except WarehouseError as error:
        raise EngineError(
            f"Each worker must see the warehouse {bucket.uri}; {socket.gethostname()} does not: {error} Let it reach "
            "that address, or set engine to 'processes'."
        ) from error
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = work(opened(shared), warehouse)
    return found, [str(one.message) for one in caught if one.category is UserWarning]
