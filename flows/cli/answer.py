"""The JSON object that a command prints with ``--json``: one shape for all of them.

Every object has ``command``, ``exit_code`` and ``error`` (null, or the line that standard error has, too). Then come
the fields of the command. Only this object goes to standard output; messages go to standard error.
"""

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click

from tidecast.flows.cli.terminal import console

if TYPE_CHECKING:
    from rich.console import Console


def json_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option ``--json``.

    Parameters
    ----------
    command : callable
    """
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(command)


class Answer:
    """What a command found, collected while it works and printed once, at its end.

    Parameters
    ----------
    as_json : bool
        Whether ``--json`` was given. False: `finish` prints nothing.
    command : str
        Name of the command, without "tidecast": "quarantine release".
    """

    def __init__(self, as_json: bool, command: str) -> None:
        self.as_json = as_json
        self._command = command
        self._fields: dict[str, Any] = {}

    @property
    def out(self) -> "Console":
        """The console for messages and text: standard error with ``--json``."""
        return console(stderr=self.as_json)

    def give(self, fields: Mapping[str, Any]) -> None:
        """Add fields of the command.

        Parameters
        ----------
        fields : mapping
            Names and values; tables, dates and paths are converted when they are printed.
        """
        self._fields |= fields

    def finish(self, exit_code: int = 0, error: str | None = None) -> None:
        """Print the object, if JSON is wanted.

        Parameters
        ----------
        exit_code : int
        error : str, optional
            The line that standard error has.
        """
        if self.as_json:
            head = {"command": self._command, "exit_code": exit_code, "error": error}
            sys.stdout.write(json_text(head | self._fields) + "\n")


def json_text(value: Any) -> str:
    """Return a value as JSON: numbers in full precision, dates and times in ISO 8601, NaN and infinity as null.

    A quotation mark inside a text is written as an escape of six characters. The text stays JSON when a secret next to
    the mark is removed from the output.

    Parameters
    ----------
    value : object
    """
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\\(.)", lambda found: r"\u0022" if found[1] == '"' else found[0], text)


def plain(value: Any) -> Any:
    """Return a value made of what JSON has: a table becomes a list of objects, a date a text.

    Parameters
    ----------
    value : object
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if hasattr(value, "to_dicts"):  # a table of polars, which takes half a second to import
        return [plain(row) for row in value.to_dicts()]
    if hasattr(value, "item"):  # a number of NumPy
        return plain(value.item())
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return str(value)
