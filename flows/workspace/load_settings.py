"""The settings in force, and where the value of each came from.

Order: flag > environment (``TIDECAST_HORIZON``, ``TIDECAST_GATE_LEVEL``) > ``[tool.tidecast]`` of pyproject.toml >
panel.json > default. panel.json says what the panel *is*: once something is published, a run that contradicts it stops.
Where panel.json is missing, the tables say what the panel is.
"""

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from tidecast.features.error_text import meant
from tidecast.flows.config.panel_file import differences, remembered
from tidecast.flows.config.providers import SUBTABLES, ProvidedSetting, provided_settings
from tidecast.flows.config.rule_actions import DEFAULT_ACTIONS, PANEL_ACTIONS
from tidecast.flows.config.secrets import refuse_password
from tidecast.flows.config.settings import ADDRESSES, CALENDARS, DROP, KINDS, Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.workspace.panel_identity import refuse_unknown, stored_panel
from tidecast.forecasting.evaluation.gate_policy import GatePolicy

ORIGIN_WORDS = {"flag": "the command line", "remembered": "panel.json", "warehouse": "the table `panel`"}
"""Where a value came from, as messages say it."""

Origins = dict[str, str]
"""Setting to where its value came from."""


def load_settings(
    folder: StateFolder, flags: Mapping[str, Any], environ: Mapping[str, str], cwd: Path
) -> tuple[Settings, Origins]:
    """Return the settings in force, and where the value of each came from.

    Parameters
    ----------
    folder : StateFolder
        Its panel.json says what the panel is.
    flags : mapping
        Values from the command line; None means that the flag was not used. Gate settings are called "gate.level" etc.
    environ : mapping
        The environment variables.
    cwd : Path
        The folder the command was called in: relative paths start here, and its pyproject.toml is read.

    Returns
    -------
    settings : Settings
    origins : dict of str to str
        Setting ("gate.level" too) to "flag", "TIDECAST_HORIZON", "pyproject.toml", "remembered" (in panel.json),
        "warehouse" (panel.json is missing, the tables say it) or "default".

    Raises
    ------
    SettingsError
        A name is unknown (the near match is named), a value is impossible, an address has a password in it, a value
        contradicts panel.json and something is published, or prices are stored and nothing says of which panel.
    """
    provided = provided_settings(_names(), flags, environ, cwd / "pyproject.toml")
    panel = remembered(folder)
    settings, origins = _combine(provided, panel, cwd)
    if not panel and (panel := _panel_of_tables(folder, settings, "source" in origins)):
        settings, origins = _combine(provided, panel, cwd, "warehouse")
    changed = differences(panel, settings)
    if changed:
        _refuse_if_published(settings, changed, origins, folder)
        settings, origins = _combine(provided, _still_valid(panel, changed), cwd)
    return settings, _with_defaults(origins)


def settings_of_call(folder: StateFolder, settings: Settings) -> Settings:
    """Return the settings of a flow that Python calls. The panel's own settings fill in what the call leaves out.

    Parameters
    ----------
    folder : StateFolder
    settings : Settings

    Raises
    ------
    SettingsError
        They contradict what the panel is, and something is published.
    """
    panel = remembered(folder) or _panel_of_tables(folder, settings, source_is_named=True)
    changed = differences(panel, settings)
    if not changed or not Warehouse(settings.warehouse or folder.warehouse_uri).has_published():
        return settings
    unsaid = {name: panel[name] for name in changed if name not in settings.model_fields_set}
    as_stored = Settings(**unsaid)
    settings = settings.model_copy(update={name: getattr(as_stored, name) for name in unsaid})
    if changed := differences(panel, settings):
        _refuse_if_published(settings, changed, dict.fromkeys(changed, "the flow's settings"), folder)
    return settings


def _names() -> list[str]:
    """Return the names of all settings, those of the gate as "gate.level", of rules as "rules.jump"."""
    gate = [f"gate.{field.name}" for field in dataclasses.fields(GatePolicy)]
    rules = [f"rules.{name}" for name in (*DEFAULT_ACTIONS, *PANEL_ACTIONS)]
    return [name for name in Settings.model_fields if name not in SUBTABLES] + gate + rules


def _with_defaults(origins: Origins) -> Origins:
    """Return an entry for every setting, those of a user's own rules last."""
    names = _names()
    own = [name for name in origins if name not in names]
    return {name: origins.get(name, "default") for name in (*names, *own)}


def _still_valid(panel: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stays of a panel that is not published yet: nothing with another source, and never the layout."""
    return {} if "source" in changed else {name: value for name, value in panel.items() if name != "layout"}


def _panel_of_tables(folder: StateFolder, settings: Settings, source_is_named: bool) -> dict[str, Any]:
    """Return what the tables say that the panel is. Tables that do not say it need a source that is named."""
    warehouse = Warehouse(settings.warehouse or folder.warehouse_uri)
    if (stored := stored_panel(warehouse)) is not None:
        return stored.settings if warehouse.has_published() else {}  # a start that failed leaves no setting behind
    if not source_is_named:
        refuse_unknown(folder, warehouse)
    return {}


def _combine(
    provided: Sequence[ProvidedSetting], panel: Mapping[str, Any], cwd: Path, panel_from: str = "remembered"
) -> tuple[Settings, Origins]:
    """Return the settings, and where those came from that are not defaults. The first value of a setting counts."""
    chosen: dict[str, Any] = {}
    origins: Origins = {}
    for name, raw, origin in [*provided, *((name, value, panel_from) for name, value in panel.items())]:
        if name not in chosen:
            chosen[name], origins[name] = _absolute(name, raw, origin, cwd), origin
    return _build(chosen, origins), origins


def _absolute(name: str, value: Any, origin: str, cwd: Path) -> Any:
    """Return an address without a password, and a path as an absolute one, relative to `cwd`."""
    if name not in ADDRESSES or not isinstance(value, str | os.PathLike):
        return value
    text = os.fspath(value)
    refuse_password(text, name, origin)
    if file := re.fullmatch(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:)(.+)", text):
        return file[1] + os.path.normpath(cwd.absolute() / file[2])
    before = DROP if text.startswith(DROP) else ""
    path = text.removeprefix(before)
    if (name == "source" and text in CALENDARS) or "://" in path or path.startswith("${") or not path:
        return text
    return before + os.path.normpath(cwd.absolute() / Path(path).expanduser())


def _build(chosen: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    plain = {name: value for name, value in chosen.items() if name.partition(".")[0] not in SUBTABLES}
    rules = {name.removeprefix("rules."): str(value) for name, value in chosen.items() if name.startswith("rules.")}
    policy = _gate_policy(chosen, origins)
    try:
        return Settings(**plain, gate=policy, rules=rules)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        choices = [choice for choice in get_args(Settings.model_fields[name].annotation) if isinstance(choice, str)]
        message = _must_be(name, KINDS[name], plain[name], origins[name])
        raise SettingsError(f"{message}{meant(plain[name], choices)}") from None


def _gate_policy(chosen: Mapping[str, Any], origins: Mapping[str, str]) -> GatePolicy:
    gate = {name.removeprefix("gate."): value for name, value in chosen.items() if name.startswith("gate.")}
    try:
        numbers = {name: _number(name, value, origins[f"gate.{name}"]) for name, value in gate.items()}
        return dataclasses.replace(GatePolicy(), **numbers)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"gate: {error}") from None


def _number(name: str, value: Any, origin: str) -> Any:
    kind: type = type(getattr(GatePolicy(), name))
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (kind is int and not number.is_integer()) or isinstance(value, bool):
        what = "a whole number" if kind is int else "a number"
        raise SettingsError(_must_be(f"gate.{name}", what, value, origin))
    return kind(number)


def _must_be(name: str, what: str, value: Any, origin: str) -> str:
    return f"{name} must be {what}, got {value!r} (from {ORIGIN_WORDS.get(origin, origin)})."


def _refuse_if_published(
    settings: Settings, changed: Mapping[str, tuple[Any, Any]], origins: Mapping[str, str], folder: StateFolder
) -> None:
    if not Warehouse(settings.warehouse or folder.warehouse_uri).has_published():
        return
    differing = "; ".join(f"{name} is {now!r} ({origins[name]}), was {was!r}" for name, (now, was) in changed.items())
    raise SettingsError(
        f"{folder.path} holds another panel: {differing}. Leave it out to continue with the panel as it is, "
        "or choose another folder with --home (the same panel, moved or renamed at its source: change it in "
        f"{folder.panel_file})."
    )
