"""Load any saved forecaster; its class comes from the file.

Code stored with models logged to MLflow imports this module by its name, so it keeps its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from tidecast.forecasting.forecasters.base import PanelForecaster, load_saved


def load_forecaster(path: str | os.PathLike[str], trusted: Iterable[type] = ()) -> PanelForecaster:
    """Read any forecaster that `save` wrote; its class comes from the file.

    No code in the folder is run or imported: it may name only Tidecast's public classes and those passed as `trusted`.

    Parameters
    ----------
    path : path
        The folder.
    trusted : iterable of type, optional
        Transformers of your own that the model may use, as ``[MyFeatures]``: their code runs.

    Returns
    -------
    forecaster
        Fitted; its forecasts equal those of the saved one, bit for bit.

    Raises
    ------
    FileNotFoundError
        The folder holds no forecaster.
    UnreadableModel
        A `ValueError`: the files are damaged or do not fit together, a newer Tidecast wrote them, or a class is neither
        public nor trusted.

    Warns
    -----
    UserWarning
        The model has no digest, because an earlier version saved it: damage to its weights would not be noticed.
    """
    return load_saved(PanelForecaster, path, trusted)
