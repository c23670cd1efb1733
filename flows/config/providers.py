"""Settings from the command line, the environment and pyproject.toml. Their names are checked here."""

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tidecast.features.error_text import meant
from tidecast.flows.errors import SettingsError
from tidecast.flows.os_errors import message_of

PREFIX = "TIDECAST_"
OTHER_VARIABLES = ("TIDECAST_HOME",)
"""Environment variables that are read elsewhere."""

SUBTABLES = ("gate", "rules")
"""Settings with names of their own: [tool.tidecast.gate] of pyproject.toml, TIDECAST_GATE_LEVEL; "gate.level" here."""

FORMER_NAMES = {"look_back": "reread_sessions", "gate.centre_limit": "gate.median_limit"}
"""Settings that had another name before: old → new; both are understood."""

ProvidedSetting = tuple[str, Any, str]  # name, value, where it came from


def provided_settings(
    known: Iterable[str], flags: Mapping[str, Any], environ: Mapping[str, str], pyproject: Path
) -> list[ProvidedSetting]:
    """Return all values that users provide; of several for one setting, the first counts.

    Parameters
    ----------
    known : iterable of str
        The names of all settings, those of the gate as "gate.level".
    flags : mapping
        Values from the command line; None means that the flag was not used.
    environ : mapping
        The environment variables.
    pyproject : Path
        A pyproject.toml; it need not exist.

    Returns
    -------
    list of (str, Any, str)
        Name, value, and where it came from: "flag", the variable's name or "pyproject.toml".

    Raises
    ------
    SettingsError
        A name is unknown (the near match is named), or pyproject.toml cannot be understood.
    """
    names = list(known)
    return [
        *_from_flags(names, flags), *_from_environment(names, environ), *_from_pyproject(names, pyproject),
    ]  # fmt: skip


def _from_flags(known: list[str], flags: Mapping[str, Any]) -> list[ProvidedSetting]:
    for name in flags:
        _check_name(name, known, "the flags")
    return [(name, value, "flag") for name, value in flags.items() if value is not None]


def _from_environment(known: list[str], environ: Mapping[str, str]) -> list[ProvidedSetting]:
    provided = []
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        for table in SUBTABLES:
            if name.startswith(f"{table}_") and name not in known:
                name = name.replace("_", ".", 1)
        name = FORMER_NAMES.get(name, name)
        _check_name(name, known, "the environment", _variable)
        provided.append((name, value, variable))
    return provided


def _from_pyproject(known: list[str], path: Path) -> list[ProvidedSetting]:
    if not os.path.lexists(path):
        return []
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"pyproject.toml must be a readable file. {message_of(error)}.") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} must be readable TOML: {error}") from None
    table = _table(_table(document, "tool", path), "tidecast", path)
    written = {name: value for name, value in table.items() if name not in SUBTABLES}
    for sub in SUBTABLES:
        written |= {f"{sub}.{name}": value for name, value in _table(table, sub, path).items()}
    flat = {FORMER_NAMES.get(name, name): value for name, value in written.items()}
    for name in flat:
        _check_name(name, known, f"[tool.tidecast] of {path}")
    return [(name, value, "pyproject.toml") for name, value in flat.items()]


def _table(parent: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    table = parent.get(name, {})
    if not isinstance(table, dict):
        raise SettingsError(f"{name} in {path} must be a table with a line per setting, got {table!r}.")
    return table


def _check_name(name: str, known: list[str], where: str, spelt: Callable[[str], str] = repr) -> None:
    """Refuse an unknown name; `spelt` writes names as they are written where it was found.

    Names of rules are checked with the settings as a whole, because a user's schema may add some.
    """
    if name in known or name.startswith("rules."):
        return
    hint = meant(name, known, spelt) or f" Known: {', '.join(known)}."
    raise SettingsError(f"{spelt(name)} in {where} is not a setting.{hint}")


def _variable(name: str) -> str:
    return PREFIX + name.replace(".", "_").upper()
