"""Column names that users choose: which are refused, and their prefix inside the daily flow.

While rows are read, checked and compared, Tidecast adds many columns of its own. There the user's columns have the
prefix `USER`. No column of Tidecast has it, so no name can mean two things, whatever a user chooses.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.panel import AHEAD, RESERVED, SINCE, TO, WITHIN
from tidecast.features.transformers.price_definitions import PRICE_DEFINITIONS, RANGE_DEFINITIONS
from tidecast.flows.config.columns import ACTIONS, FUTURE_VALUES, PRICES, VALUES
from tidecast.flows.errors import SettingsError

USER = f"{RESERVED}user:"
"""Prefix of a user's column inside the daily flow."""

STANDARD = VALUES[1:]
"""Columns that every source may have; they may be covariates, too."""

OURS = (*dict.fromkeys((*PRICES, *ACTIONS, "calendar", "adj_close")),)
"""Names that the tables use themselves."""

COMPUTED = tuple(definition.name for definition in PRICE_DEFINITIONS + RANGE_DEFINITIONS)
"""Names of the inputs that networks compute from prices."""


def refuse_one_column_twice(series_id: str, time: str, target: str) -> None:
    """Check that the three columns of prices are three.

    Parameters
    ----------
    series_id, time, target : str
        Names of columns of the source.

    Raises
    ------
    SettingsError
        Two are the same.
    """
    names = {"series_id": series_id, "time": time, "target": target}
    for name, column in names.items():
        if others := [other for other in names if other != name and names[other] == column]:
            raise SettingsError(f"{name} and {others[0]} must name different columns, both are {column!r}. Rename one.")


def check_names(names: Iterable[str], setting: str) -> tuple[str, ...]:
    """Return the names of covariates or static columns, each once; standard columns in lower case.

    Parameters
    ----------
    names : iterable of str
    setting : {"covariates", "static", "future_covariates", "event_kinds"}

    Raises
    ------
    SettingsError
        A name is empty, is used by tables, networks or polars for something else, or differs from another name in
        capitals alone.
    """
    found = tuple(dict.fromkeys(_standard(name, setting) for name in names))
    further = tuple(FUTURE_VALUES) if setting == "future_covariates" else ()
    by_lower = {ours.lower(): ours for ours in (*OURS, *COMPUTED, *further)}
    for name in found:
        if not name.strip() or "\0" in name:
            raise SettingsError(f"{setting} must be names of columns, got {name!r}. Remove it.")
        if name.startswith(RESERVED):
            raise SettingsError(
                f"{setting} must not have names that begin with {RESERVED!r}, got {name!r}. {_ANOTHER_NAME}"
            )
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise SettingsError(f"{setting} must be names and not patterns of names, got {name!r}. {_ANOTHER_NAME}")
        ours = by_lower.get(name.lower())
        if ours is not None and not (setting == "covariates" and name in STANDARD):
            raise SettingsError(
                f"{setting} must have names that tables and networks do not use themselves, got {name!r}, but "
                f"{ours!r} is a column of Tidecast (names of columns ignore case). {_ANOTHER_NAME}"
            )
    refuse_look_alikes(found, f"{setting} must have")
    return found


_ANOTHER_NAME = "Give the source's column another name, by a view or a query."


def _standard(name: str, setting: str) -> str:
    """Return a standard column's name in lower case, as it is stored; other names stay."""
    lower = name.strip().lower()
    return lower if setting == "covariates" and lower in STANDARD else name


def refuse_clashes(
    covariates: Sequence[str], static: Sequence[str], future: Sequence[str], kinds: Sequence[str]
) -> None:
    """Refuse future covariates and kinds of events whose columns would have the name of another column.

    Parameters
    ----------
    covariates, static, future, kinds : sequence of str
        The settings `covariates`, `static`, `future_covariates` and `event_kinds`. A column may be both a covariate and
        a future covariate.

    Raises
    ------
    SettingsError
        Naming the column.
    """
    of_events = {column for kind in kinds for column in (kind, kind + WITHIN, TO + kind, SINCE + kind)}
    lists = {name + AHEAD for name in (*future, *kinds)}
    groups = {
        "future_covariates": (future, {*static, *of_events, *lists}),
        "event_kinds": (kinds, {*covariates, *static, *future, *lists, *VALUES}),
    }
    for setting, (names, taken) in groups.items():
        refuse_look_alikes(names, f"{setting} must have")
        lower = {name.lower() for name in taken}
        if clash := [name for name in names if name.lower() in lower]:
            raise SettingsError(f"{setting} must be unlike other columns, but {clash[0]!r} is one. Rename it.")


def refuse_look_alikes(names: Sequence[str], what: str, stored: Collection[str] = ()) -> None:
    """Refuse names that differ in capitals alone, because names of columns ignore case in Delta Lake.

    Parameters
    ----------
    names : sequence of str
    what : str
        Beginning of the message: "covariates must have".
    stored : collection of str
        Columns of the table `prices`.

    Raises
    ------
    SettingsError
        Two names, or a name and a stored column, differ in capitals alone; the message names both.
    """
    counts = Counter(name.lower() for name in names)
    if twice := [name for name in names if counts[name.lower()] > 1]:
        alike = [name for name in twice if name.lower() == twice[0].lower()]
        raise SettingsError(
            f"{what} names that differ in more than capitals, got {shorten(alike)}. Remove one, or give it another "
            "name in the source."
        )
    by_lower = {name.lower(): name for name in stored}
    for name in names:
        before = by_lower.get(name.lower(), name)
        if before != name:
            raise SettingsError(
                f"{what} names that differ in more than capitals from stored ones, got {name!r}, and the table prices "
                f"has {before!r}. Write {before!r}, or choose a new folder (--home)."
            )


def with_prefix(name: str) -> str:
    """Return the name of a user's column inside the daily flow; a standard column keeps its name.

    Parameters
    ----------
    name : str
    """
    return name if name in STANDARD else USER + name


def inside(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows of the table `prices` with the users' columns prefixed.

    Parameters
    ----------
    rows : polars.DataFrame
    """
    ours = {*PRICES, "calendar"}
    return rows.rename({name: USER + name for name in rows.columns if name not in ours})


def outside(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the prefix of users' columns removed: the inverse of `inside`.

    Parameters
    ----------
    rows : polars.DataFrame
    """
    return rows.rename({name: name.removeprefix(USER) for name in rows.columns if name.startswith(USER)})
