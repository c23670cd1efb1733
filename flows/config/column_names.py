"""Column names that users choose: which are refused, and the namespace in which the daily flow carries them.

While rows are read, checked and compared, they have many columns of our own beside those of the user. There, the user's
columns have the prefix `USER`. None of our columns has it, so no name can mean two things, whatever a user chooses.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.panel import RESERVED
from tidecast.features.transformers.price_expressions import price_columns
from tidecast.flows.config.columns import ACTIONS, PRICES, VALUES
from tidecast.flows.errors import SettingsError

USER = f"{RESERVED}user:"
"""What stands before a user's name while rows are in the daily flow."""

STANDARD = VALUES[1:]
"""Columns that every source may have and that may be covariates as well."""

OURS = (*dict.fromkeys((*PRICES, *ACTIONS, "calendar", "adj_close")),)
"""Names that the tables use for something else."""

_PRICE_COLUMNS = price_columns("close", positive=True, ranges=True)
COMPUTED = tuple(name for step in _PRICE_COLUMNS for name in step if not name.startswith("_"))
"""Names of the inputs that networks compute from prices themselves."""


def checked(names: Iterable[str], setting: str) -> tuple[str, ...]:
    """The names of covariates or static columns, each once; a standard column in lower case.

    Parameters
    ----------
    names : iterable of str
    setting : {"covariates", "static"}

    Raises
    ------
    SettingsError
        A name is empty, or one that tables, networks or polars use for something else, or differs from another one
        in capitals alone.
    """
    found = tuple(dict.fromkeys(_standard(name, setting) for name in names))
    by_lower = {ours.lower(): ours for ours in (*OURS, *COMPUTED)}
    for name in found:
        if not name.strip() or "\0" in name:
            raise SettingsError(f"{setting} must be names of columns, got {name!r}. Leave it out.")
        if name.startswith(RESERVED):
            raise SettingsError(
                f"{setting} must not have names that begin with {RESERVED!r}, got {name!r}. {_ANOTHER_NAME}"
            )
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise SettingsError(f"{setting} must be names and not patterns of names, got {name!r}. {_ANOTHER_NAME}")
        ours = by_lower.get(name.lower())
        if ours is not None and not (setting == "covariates" and name in STANDARD):
            raise SettingsError(
                f"{setting} must have names that tables and networks do not use for something else, got {name!r}, and "
                f"{ours!r} is a column of Tidecast (capitals do not tell columns apart). {_ANOTHER_NAME}"
            )
    refuse_look_alikes(found, f"{setting} must have")
    return found


_ANOTHER_NAME = "Give the source's column another name, by a view or a query."


def _standard(name: str, setting: str) -> str:
    """A standard column as it is stored: sources may spell it in any case."""
    lower = name.strip().lower()
    return lower if setting == "covariates" and lower in STANDARD else name


def refuse_look_alikes(names: Sequence[str], what: str, stored: Collection[str] = ()) -> None:
    """Refuse names that differ in capitals alone, from each other or from a column that is stored already.

    Delta Lake keeps such columns apart for nobody: its column names ignore case.

    Raises
    ------
    SettingsError
        Naming both.
    """
    counts = Counter(name.lower() for name in names)
    if twice := [name for name in names if counts[name.lower()] > 1]:
        alike = [name for name in twice if name.lower() == twice[0].lower()]
        raise SettingsError(
            f"{what} names that differ in more than capitals, got {shorten(alike)}. Drop one, or give it another name "
            "in the source."
        )
    by_lower = {name.lower(): name for name in stored}
    for name in names:
        before = by_lower.get(name.lower(), name)
        if before != name:
            raise SettingsError(
                f"{what} names that differ in more than capitals from stored ones, got {name!r}, and the table prices "
                f"has {before!r}. Write {before!r}, or begin in a new folder (--home)."
            )


def with_prefix(name: str) -> str:
    """A user's column as it is called in the daily flow; a standard one keeps its name."""
    return name if name in STANDARD else USER + name


def inside(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of the table `prices`, with users' columns as they are called in the daily flow."""
    ours = {*PRICES, "calendar"}
    return rows.rename({name: USER + name for name in rows.columns if name not in ours})


def outside(rows: pl.DataFrame) -> pl.DataFrame:
    """The inverse of `inside`."""
    return rows.rename({name: name.removeprefix(USER) for name in rows.columns if name.startswith(USER)})
