"""Where fits, and buckets of a large panel, run: joblib tasks on its own backend, which gets the panel by reference.

By default, processes of this machine. `open_engine` lets them run on a cluster; results are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from joblib import effective_n_jobs, parallel_config

from tidecast.forecasting.estimator.clusters.cluster import Cluster
from tidecast.forecasting.estimator.clusters.dask_cluster import dask_cluster
from tidecast.forecasting.estimator.clusters.ray_cluster import ray_cluster
from tidecast.forecasting.estimator.clusters.spark_cluster import spark_cluster
from tidecast.forecasting.estimator.engine_address import DASK, PROCESSES, RAY, SPARK, split_engine
from tidecast.forecasting.estimator.panel_reference import HeldPanel, PanelReference, panel_file

CLUSTERS = {DASK: dask_cluster, RAY: ray_cluster, SPARK: spark_cluster}
"""Connections to a cluster, by the scheme of its address."""


@dataclass(frozen=True)
class Engine:
    """A cluster in force.

    Attributes
    ----------
    cluster : Cluster
    folder : str or None
        A folder that workers may share with this process.
    """

    cluster: Cluster
    folder: str | None


_in_force: ContextVar[Engine | None] = ContextVar("engine", default=None)


@contextmanager
def open_engine(engine: str = PROCESSES, folder: str | None = None) -> Iterator[None]:
    """Let the fits of the body run on an engine.

    Parameters
    ----------
    engine : str, default="processes"
        "processes": of this machine. "dask://host:port": the workers of a Dask scheduler. "ray://host:port": those of
        the Ray cluster with its head there, to which this machine must belong. "spark://host:port": the executors that
        a standalone Spark master gives.
    folder : str, optional
        A folder that the workers may see, too, such as that of the tables. The panel is then a file there while fits
        use it. Where they see neither this folder nor that for temporary files, each gets the panel once.

    Raises
    ------
    EngineError
        The engine cannot be used.

    Examples
    --------
    >>> import numpy as np, polars as pl
    >>> from tidecast.forecasting.backtesting.backtest import backtest
    >>> from tidecast.forecasting.evaluation.splits import RollingOrigin
    >>> from tidecast.forecasting.forecasters.baselines import Drift
    >>> days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 6, 30), eager=True)
    >>> steps = 0.01 * np.random.default_rng(0).normal(size=len(days))
    >>> prices = pl.DataFrame({"series_id": "a", "time": days, "close": np.exp(steps.cumsum())})
    >>> with open_engine("processes"):  # or "dask://scheduler:8786"
    ...     table = backtest(Drift(horizon=2, lookback=10), prices, RollingOrigin(n_splits=2, horizon=2, stride=10))
    """
    kind, place = split_engine(engine)
    with ExitStack() as stack:
        opened = None if kind == PROCESSES else Engine(stack.enter_context(CLUSTERS[kind](place)), folder)
        before = _in_force.set(opened)
        try:
            yield
        finally:
            _in_force.reset(before)


@contextmanager
def on_engine(panel: Any, n_jobs: int, stored: PanelReference | None = None) -> Iterator[PanelReference]:
    """Let joblib's tasks of the body run on the engine in force, and get the panel by a reference to it.

    Parameters
    ----------
    panel : polars or pandas DataFrame, or None
        None for tasks that find themselves what they read.
    n_jobs : int
        Processes of this machine, as in joblib. A cluster uses all its workers.
    stored : PanelReference, optional
        The same panel, for workers that see no folder of this machine, but can read it elsewhere.

    Yields
    ------
    PanelReference
        To pass to tasks, which open it with `opened`.
    """
    engine = _in_force.get()
    with ExitStack() as stack:
        if engine is None:
            stack.enter_context(parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1))
            several = isinstance(panel, pl.DataFrame) and effective_n_jobs(n_jobs) > 1
            found = stack.enter_context(panel_file(panel)) if several else None
            yield found or HeldPanel(panel)
        else:
            engine.cluster.check_workers()
            reference = HeldPanel(None) if panel is None else _seen_by_workers(panel, engine, stack, stored)
            stack.enter_context(parallel_config(engine.cluster.backend(reference)))
            yield reference


def n_workers(n_jobs: int) -> int:
    """Number of tasks that run at a time on the engine in force.

    Parameters
    ----------
    n_jobs : int
        As for `on_engine`.
    """
    engine = _in_force.get()
    return effective_n_jobs(n_jobs) if engine is None else engine.cluster.n_workers


def runs_apart(n_jobs: int) -> bool:
    """Whether tasks on the engine in force run in other processes than this one.

    Parameters
    ----------
    n_jobs : int
        As for `on_engine`.
    """
    return _in_force.get() is not None or effective_n_jobs(n_jobs) > 1


def check_seen(path: str | Path, what: str) -> None:
    """Refuse a file that a worker of the engine does not see.

    Parameters
    ----------
    path : str or Path
    what : str
        What it is, for the error.

    Raises
    ------
    EngineError
        Naming the workers.
    """
    engine = _in_force.get()
    if engine is not None:
        engine.cluster.check_seen(str(path), what)


def _seen_by_workers(panel: Any, engine: Engine, stack: ExitStack, stored: PanelReference | None) -> PanelReference:
    """The panel in a file that all workers see, or in the tables; without these, the panel itself."""
    for folder in dict.fromkeys((None, engine.folder)):
        if isinstance(panel, pl.DataFrame) and engine.cluster.is_shared(folder):
            file = stack.enter_context(panel_file(panel, folder))
            if file is not None:
                return file
    if stored is not None and engine.cluster.sees(stored):
        return stored
    return engine.cluster.held(panel)
