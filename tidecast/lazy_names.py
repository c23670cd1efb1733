"""Public names that are imported when they are first asked for, so that a package's face loads no heavy library."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any


def import_name(package: str, modules: Mapping[str, Iterable[str]], name: str) -> Any:
    """Return a public name of a package: the body of its `__getattr__`.

    Parameters
    ----------
    package : str
        "features", "forecasting" or "flows".
    modules : mapping of str to iterable of str
        Module inside the package to the public names that it defines.
    name : str

    Raises
    ------
    AttributeError
        No module defines the name.
    """
    for module, names in modules.items():
        if name in names:
            return getattr(import_module(f"tidecast.{package}.{module}"), name)
    raise AttributeError(f"module 'tidecast.{package}' has no attribute {name!r}")
