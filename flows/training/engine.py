"""Run the fits of a training where the settings say."""

from collections.abc import Iterator
from contextlib import contextmanager

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import TidecastError
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.forecasting.estimator.dask_cluster import EngineError
from tidecast.forecasting.estimator.engine import open_engine


@contextmanager
def engine_of(settings: Settings, warehouse: Warehouse) -> Iterator[None]:
    """Let the fits of the body run on the engine of the settings.

    Workers that see the folder of the tables read the panel from a file there.

    Parameters
    ----------
    settings : Settings
    warehouse : Warehouse

    Raises
    ------
    TidecastError
        The engine cannot be used.
    """
    folder = None if "://" in warehouse.uri else warehouse.uri
    try:
        with open_engine(settings.engine, folder):
            yield
    except EngineError as error:
        raise TidecastError(str(error)) from error
