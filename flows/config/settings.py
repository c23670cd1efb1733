"""Every setting of a panel, typed and frozen, and where its value came from.

Order: flag > environment (``TIDECAST_HORIZON``, ``TIDECAST_GATE_LEVEL``) > ``[tool.tidecast]`` of pyproject.toml >
what the panel remembers > default. What a panel remembers says what it *is*: once something is published, a run that
contradicts it stops.
"""

import dataclasses
import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from tidecast.features.calendars.base import Calendar, get_calendar
from tidecast.flows.config import column_names
from tidecast.flows.config.panel_file import differences, remembered
from tidecast.flows.config.providers import SUBTABLES, GivenSetting, everything_given
from tidecast.flows.config.rule_actions import DEFAULT_ACTIONS, PANEL_ACTIONS, actions_in_force
from tidecast.flows.config.secrets import refuse_password
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.workspace.panel_identity import refuse_unknown, stored_panel
from tidecast.forecasting.evaluation.decide import GatePolicy
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, check_quantiles

BUNDLED = {"ecb": "TARGET", "eia": "weekdays"}
"""The bundled sources, and the calendar of each."""

CALENDARS = {**BUNDLED, "ecb-web": "TARGET"}
"""The sources that go by a name, and the calendar of each."""

DROP = "drop:"
"""Before the path of a folder whose files are each taken once."""

ORIGIN_WORDS = {"flag": "the command line", "remembered": "panel.json", "warehouse": "the table `panel`"}
"""Where a value came from, where the name alone does not say it."""

MODELS = tuple(cell.name for cell in CELLS.values())
"""The cells that the setting `models` may name."""

DRIFT = "drift"
"""The baseline that a backtest compares, besides the random walk."""

KINDS = {
    **dict.fromkeys(
        ("horizon", "lookback", "reread_sessions", "retrain_every", "n_jobs", "max_epochs"), "a whole number"
    ),
    **dict.fromkeys(("source", "table", "query", "series_id", "time", "target", "known_at", "calendar"), "text"),
    **dict.fromkeys(("warehouse", "publish_to", "publish_table", "cron", "time_zone", "rules_schema"), "text"),
    "layout": "auto, long or wide",
    "positive": "true or false",
    "quantiles": "a list of numbers between 0 and 1",
    "models": f"a list of {', '.join(MODELS)}",
    **dict.fromkeys(("calendars", "covariates", "static"), "a list of names"),
}
"""What the value of each setting is, in words."""


class Settings(BaseModel):
    """What a run needs to know about its panel.

    Parameters
    ----------
    source : str
        A name, path or address; docs/sources.md has them all. ``${VAR}`` is kept as it is.
    table, query : str or None
        Of a database: the table or view that holds the prices ("schema.table" too), or a SELECT that gives them.
    series_id, time, target : str
        What these columns are called in the source.
    covariates : tuple of str
        Further columns of a long source that are stored beside the prices and shown to the networks, as known up to the
        origin: numbers, missing ones allowed.
    static : tuple of str
        The same for columns that say one thing of a series, such as its sector: numbers or text. Where that changes,
        all of the series' history has what is known last.
    known_at : str or None
        The source's column that says when it knew a row's value. None: one called "known_at", if there is one.
    layout : {"auto", "long", "wide"}
        Long: one row per series and session. Wide: one column per series. Auto: seen from the columns at first ingest.
    calendar : str or None
        Name of the sessions, see `tidecast.get_calendar`. None: chosen at first ingest, and remembered.
    calendars : tuple of str
        Those that series name for themselves, in the source's column `calendar`: met at ingest, and remembered.
    positive : bool
        Prices are above zero. False: they need not be, and series move by differences.
    reread_sessions : int
        Sessions before the newest one that are read again because they may have been corrected.
    horizon : int
        Sessions ahead.
    lookback : int
        Length of a training stretch, and the rows a series needs before its first forecast.
    quantiles : tuple of float
        Levels in (0, 1); 0.5 is always among them.
    models : tuple of str
        Network cells to train and choose from, by the names in `MODELS`: "RNN", "LSTM", "GRU" and more.
    max_epochs : int or None
        None: the estimators' own default. 0: untrained, the random walk.
    retrain_every : int
        Sessions between trainings.
    n_jobs : int
        Local processes for training.
    gate : GatePolicy
        When a new recipe becomes champion.
    rules : dict of str to str
        Rule to "fail", "quarantine", "flag" or "off", where that is not the default of `rule_actions`.
    rules_schema : str or None
        A user's own rules, "package.module:Class"; see docs/rules.md.
    warehouse : str or None
        Address of the tables. None: in the state folder.
    publish_to : str or None
        Address of a database into which published forecasts are copied. None: nowhere.
    publish_table : str
        The table in it; made if it is missing. It holds this panel alone.
    cron, time_zone : str
        When the daily forecast is scheduled.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    source: str = "ecb"
    table: str | None = None
    query: str | None = None
    series_id: str = "series_id"
    time: str = "time"
    target: str = "close"
    covariates: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    known_at: str | None = None
    layout: Literal["auto", "long", "wide"] = "auto"
    calendar: str | None = None
    calendars: tuple[str, ...] = ()
    positive: bool = True
    reread_sessions: int = 21
    horizon: int = 5
    lookback: int = 64
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    models: tuple[str, ...] = ("RNN", "LSTM", "GRU")
    max_epochs: int | None = None
    retrain_every: int = 21
    n_jobs: int = 2
    gate: GatePolicy = GatePolicy()
    rules: dict[str, str] = {}
    rules_schema: str | None = None
    warehouse: str | None = None
    publish_to: str | None = None
    publish_table: str = "forecasts"
    cron: str = "30 17 * * 1-5"
    time_zone: str = "Europe/Berlin"

    @property
    def sessions(self) -> Calendar:
        """The days a run can stand on: those that are a session of any series."""
        return get_calendar(" | ".join(sorted({self.calendar or "weekdays", *self.calendars})))

    @property
    def digest(self) -> str:
        """Fingerprint of all settings: equal digests, equal settings."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @field_validator("quantiles", "models", "calendars", "covariates", "static", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("horizon", "lookback", "reread_sessions", "retrain_every", "n_jobs", "max_epochs")
    @classmethod
    def _at_least(cls, value: int | None, info: Any) -> int | None:
        least = {"max_epochs": 0, "reread_sessions": 0, "lookback": 2}.get(info.field_name, 1)
        if value is not None and value < least:
            raise SettingsError(f"{info.field_name} must be at least {least}, got {value}.")
        return value

    @field_validator("quantiles")
    @classmethod
    def _levels(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        try:
            return check_quantiles(value)
        except (TypeError, ValueError) as error:
            raise SettingsError(str(error)) from None

    @field_validator("models")
    @classmethod
    def _cells(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        value = tuple(dict.fromkeys(name.upper() for name in value))
        if not value or not set(value) <= set(MODELS):
            raise SettingsError(f"models must be one or more of {', '.join(MODELS)}, got {', '.join(value) or 'none'}.")
        return value

    @field_validator("covariates", "static")
    @classmethod
    def _columns(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        return column_names.checked(value, info.field_name)

    @model_validator(mode="after")
    def _one_meaning(self) -> "Settings":
        if both := sorted({*self.covariates}.intersection(self.static)):
            raise SettingsError(f"A column must be in covariates or in static, {both[0]!r} is in both. Choose one.")
        column_names.refuse_look_alikes((*self.covariates, *self.static), "covariates and static must have")
        return self

    @field_validator("calendar", "calendars")
    @classmethod
    def _sessions(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for name in (value,) if isinstance(value, str) else value or ():
            try:
                get_calendar(name)
            except ValueError as error:
                raise SettingsError(str(error)) from None
        return value

    @field_validator("cron", "time_zone")
    @classmethod
    def _schedule(cls, value: str, info: Any) -> str:
        if info.field_name == "cron" and len(value.split()) != 5:
            raise SettingsError(f"cron must have five fields (minute hour day month weekday), got {value!r}.")
        if info.field_name == "time_zone":
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError):
                raise SettingsError(f"time_zone must be a known zone like 'Europe/Berlin', got {value!r}.") from None
        return value

    @model_validator(mode="after")
    def _actions(self) -> "Settings":
        # a user's rules are known once their schema is imported, with the first prices; until then, any name may be one
        actions_in_force(self, () if self.rules_schema is None else tuple(self.rules))
        return self

    @field_validator("source", "warehouse", "publish_to")
    @classmethod
    def _no_password(cls, value: str | None, info: Any) -> str | None:
        refuse_password(value or "", info.field_name, "settings")
        return value


def load_settings(
    home: StateFolder, flags: Mapping[str, Any], environ: Mapping[str, str], cwd: Path
) -> tuple[Settings, dict[str, str]]:
    """The settings in force, and for each name where its value came from.

    Parameters
    ----------
    home : StateFolder
        The state folder; its panel.json holds what the panel remembers.
    flags : mapping
        Values given on the command line; None means not given. Gate settings are called "gate.level" and so on.
    environ : mapping
        The environment variables.
    cwd : Path
        Where the command was called: relative paths start here, and its pyproject.toml is read.

    Returns
    -------
    settings : Settings
    origins : dict of str to str
        "flag", "TIDECAST_HORIZON", "pyproject.toml", "remembered", "warehouse" (panel.json is missing, the tables say
        it) or "default", per setting; gate: "gate.level".

    Raises
    ------
    SettingsError
        A name is unknown (the near match is named), a value impossible, a password in an address, or what is given
        contradicts what the panel remembers, and something is published. Or nothing says what stored prices are.
    """
    given = everything_given(_known(), flags, environ, cwd / "pyproject.toml")
    memory = remembered(home)
    settings, origins = _decided(given, memory, cwd)
    if not memory and (found := _remembered_by_tables(home, settings, "source" in origins)):
        memory = found
        settings, origins = _decided(given, memory, cwd, "warehouse")
    anew = differences(memory, settings)
    if anew:
        _refuse_if_published(settings, anew, origins, home)
        # what was seen in the columns is seen anew, and another source is another panel
        memory = {} if "source" in anew else {name: value for name, value in memory.items() if name != "layout"}
        settings, origins = _decided(given, memory, cwd)
    for name in _known():
        origins.setdefault(name, "default")
    own = [name for name in origins if name not in _known()]
    return settings, {name: origins[name] for name in (*_known(), *own)}


def _known() -> list[str]:
    gate = [f"gate.{field.name}" for field in dataclasses.fields(GatePolicy)]
    rules = [f"rules.{name}" for name in (*DEFAULT_ACTIONS, *PANEL_ACTIONS)]
    return [name for name in Settings.model_fields if name not in SUBTABLES] + gate + rules


def _absolute(name: str, value: Any, origin: str, cwd: Path) -> Any:
    """An address without a password; a path as seen from the folder the command was called in."""
    if name not in ("source", "warehouse", "publish_to") or not isinstance(value, str | os.PathLike):
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


def _remembered_by_tables(home: StateFolder, settings: Settings, is_named: bool) -> dict[str, Any]:
    """Return what the tables say that the panel is. Tables that do not say so need a source that is named."""
    warehouse = Warehouse(settings.warehouse or home.warehouse_uri)
    if (stored := stored_panel(warehouse)) is not None:
        return stored.settings
    if not is_named:
        refuse_unknown(home, warehouse)
    return {}


def _decided(
    given: Sequence[GivenSetting], memory: Mapping[str, Any], cwd: Path, memory_from: str = "remembered"
) -> tuple[Settings, dict[str, str]]:
    """The settings, and where those come from that are no defaults."""
    chosen: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, raw, origin in [*given, *((name, value, memory_from) for name, value in memory.items())]:
        if name not in chosen:
            chosen[name], origins[name] = _absolute(name, raw, origin, cwd), origin
    return _build(chosen, origins), origins


def _build(chosen: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    plain = {name: value for name, value in chosen.items() if name.partition(".")[0] not in SUBTABLES}
    gate = {name.removeprefix("gate."): value for name, value in chosen.items() if name.startswith("gate.")}
    rules = {name.removeprefix("rules."): str(value) for name, value in chosen.items() if name.startswith("rules.")}
    try:
        policy = dataclasses.replace(
            GatePolicy(), **{name: _number(name, value, origins[f"gate.{name}"]) for name, value in gate.items()}
        )
    except (TypeError, ValueError) as error:
        raise SettingsError(f"gate: {error}") from None
    try:
        return Settings(**plain, gate=policy, rules=rules)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise SettingsError(_must_be(name, KINDS[name], plain[name], origins[name])) from None


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
    settings: Settings, anew: Mapping[str, tuple[Any, Any]], origins: Mapping[str, str], home: StateFolder
) -> None:
    if not Warehouse(settings.warehouse or home.warehouse_uri).has_published():
        return
    differing = "; ".join(f"{name} is {now!r} ({origins[name]}), was {was!r}" for name, (now, was) in anew.items())
    raise SettingsError(
        f"{home.path} holds another panel: {differing}. Leave it out to go on with the panel as it is, "
        "or choose another folder with --home (the same panel, moved or renamed at its source: change it in "
        f"{home.panel_file})."
    )
