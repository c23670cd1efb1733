"""Descriptions of a flow's parameters: Prefect reads them in Google's style only."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from tidecast.features.docstrings import HEADING, entries_of

Function = TypeVar("Function", bound=Callable[..., Any])


def describes_parameters(function: Function) -> Function:
    """Return the function with the parameters of its numpydoc docstring in Google's style. Goes below `flow`.

    Parameters
    ----------
    function : callable

    Examples
    --------
    >>> def forecast(as_of=None):
    ...     '''Forecast.
    ...
    ...     Parameters
    ...     ----------
    ...     as_of : date, optional
    ...         The session to stand on.
    ...     '''
    >>> print(describes_parameters(forecast).__doc__)
    Forecast.
    <BLANKLINE>
    Args:
        as_of: The session to stand on.
    """
    intro, *parts = HEADING.split(inspect.cleandoc(function.__doc__ or ""))
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    entries = entries_of(sections.get("Parameters", "").strip())
    lines = [f"    {name}: {' '.join(text.partition(chr(10))[2].split())}" for name, text in entries.items()]
    function.__doc__ = "\n".join([intro.strip(), "", "Args:", *lines]) if lines else intro.strip()
    return function
