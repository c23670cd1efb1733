"""Run the fits of a training, and the buckets of a large panel, where the settings say."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tidecast.flows.config.paths import folder_of
from tidecast.flows.config.secrets import expand
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.forecasting.estimator.clusters.cluster import EngineError
from tidecast.forecasting.estimator.engine import open_engine


class EngineUnusable(TidecastError):
    """The engine cannot be used: nothing was computed."""


@contextmanager
def engine_of(settings: Settings, uri: str) -> Iterator[None]:
    """Let the fits and buckets of the body run on the engine of the settings.

    Workers that see the folder at `uri` read the panel from a file there.

    Parameters
    ----------
    settings : Settings
    uri : str
        Of the tables, or another folder that workers may see.

    Raises
    ------
    EngineUnusable
        The engine cannot be used.
    """
    folder = folder_of(expand(uri, os.environ))
    try:
        with open_engine(settings.engine, None if folder is None else str(folder)):
            yield
    except EngineError as error:
        raise EngineUnusable(str(error)) from error
