"""The setting `engine`: where the fits of a training run."""

from __future__ import annotations

import re

from tidecast.features.error_text import meant

PROCESSES = "processes"
"""Processes of this machine, started by joblib."""

DASK, RAY, SPARK = "dask", "ray", "spark"
"""Clusters, by the scheme of their address."""

CLUSTER = re.compile(rf"({DASK}|{RAY}|{SPARK})://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]):([0-9]{{1,5}})")


def check_engine(engine: str) -> str:
    """Return the engine as it was given.

    Parameters
    ----------
    engine : str
        "processes", "dask://host:port", "ray://host:port" or "spark://host:port".

    Raises
    ------
    ValueError
        It is something else.

    Examples
    --------
    >>> check_engine("dask://scheduler:8786")
    'dask://scheduler:8786'
    """
    if engine != PROCESSES and not CLUSTER.fullmatch(engine):
        what = meant(engine, [PROCESSES]) or " Name the host and the port of a running scheduler, head or master."
        raise ValueError(
            f"engine must be {PROCESSES!r} or an address like 'dask://scheduler:8786', 'ray://head:6379' or "
            f"'spark://master:7077', got {engine!r}.{what}"
        )
    return engine


def split_engine(engine: str) -> tuple[str, str]:
    """Return the kind of an engine, and the host and port of its cluster.

    Parameters
    ----------
    engine : str
        As for `check_engine`.

    Examples
    --------
    >>> split_engine("dask://scheduler:8786")
    ('dask', 'scheduler:8786')
    >>> split_engine("processes")
    ('processes', '')
    """
    scheme, _, place = check_engine(engine).partition("://")
    return scheme, place
