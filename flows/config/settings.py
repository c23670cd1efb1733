"""Every setting of a panel, typed, frozen, and refused when impossible.

Reading them loads no warehouse and no model. `tidecast.flows.workspace.load_settings` finds the values in force.
"""

import hashlib
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from tidecast.features.calendars.base import Calendar
from tidecast.features.calendars.by_name import get_calendar
from tidecast.features.error_text import meant
from tidecast.flows.config import column_names
from tidecast.flows.config.rule_actions import actions_in_force
from tidecast.flows.config.secrets import refuse_password, refuse_secret
from tidecast.flows.errors import SettingsError
from tidecast.forecasting.estimator.engine_address import PROCESSES, check_engine
from tidecast.forecasting.evaluation.gate_policy import GatePolicy
from tidecast.forecasting.network.cell_registry import CELLS
from tidecast.forecasting.tables.names import AVERAGE, SEASONAL_REGRESSION, VOLATILITY_REGRESSION
from tidecast.forecasting.tables.quantiles import DEFAULT_QUANTILES, check_quantiles

BUNDLED = {"ecb": "TARGET", "eia": "weekdays"}
"""The bundled sources, and the calendar of each."""

CALENDARS = {**BUNDLED, "ecb-web": "TARGET"}
"""The sources that have a name of their own, and the calendar of each."""

DROP = "drop:"
"""Prefix of the path of a drop folder: each of its files is stored once."""

MODELS = (*(cell.name for cell in CELLS.values()), VOLATILITY_REGRESSION, SEASONAL_REGRESSION, AVERAGE)
"""The models that the setting `models` may name: a network of each cell, the regression, the average of the others."""

DRIFT = "drift"
"""The baseline that a backtest compares, besides the random walk."""

ADDRESSES = ("source", "warehouse", "publish_to", "future", "events")
"""The settings in which ``${VAR}`` is expanded on connecting."""

KINDS = {
    **dict.fromkeys(
        ("horizon", "lookback", "reread_sessions", "retrain_every", "n_jobs", "max_epochs", "after_close"),
        "a whole number",
    ),
    **dict.fromkeys(("source", "table", "query", "series_id", "time", "target", "known_at", "calendar"), "text"),
    **dict.fromkeys(("warehouse", "publish_to", "publish_table", "cron", "time_zone", "rules_schema"), "text"),
    "engine": "processes, dask://host:port, ray://host:port or spark://host:port",
    "layout": "auto, long or wide",
    **dict.fromkeys(("future", "future_table", "events", "events_table", "group"), "text"),
    "future_missing": "random_walk, last or mean",
    **dict.fromkeys(("positive", "demote"), "true or false"),
    "quantiles": "a list of numbers between 0 and 1",
    "models": f"a list of {', '.join(MODELS)}",
    **dict.fromkeys(("calendars", "covariates", "static", "future_covariates", "event_kinds"), "a list of names"),
}
"""The kind of value that each setting has, as messages say it."""


class Settings(BaseModel):
    """The settings of a panel and its daily run.

    Parameters
    ----------
    source : str
        A name, path or address; docs/sources.md has them all. ``${VAR}`` stays unexpanded.
    table, query : str or None
        For a database: the table or view that holds the prices ("schema.table" too), or a SELECT that returns them.
    series_id, time, target : str
        Names of these columns in the source.
    covariates : tuple of str
        Extra columns of a long source that are stored next to the prices. Networks see them as known up to the origin.
        Numbers; missing ones are allowed.
    static : tuple of str
        Extra columns with one value per series, such as its sector: numbers or text. Where a value changes, the newest
        one counts for the whole history of the series.
    future, events : str or None
        Where future covariates, and events, come from: addresses like `source`. See docs/events.md.
    future_table, events_table : str or None
        For a database there: the table or view, or a SELECT.
    future_covariates : tuple of str
        Columns of `future`: numbers known before their session. Networks see those of the sessions to forecast, as they
        were known at the origin.
    event_kinds : tuple of str
        Kinds of events that are inputs. Empty: those of the first delivery, which panel.json then remembers.
    group : str or None
        The column that names groups of series in `future` and `events`: "calendar", or one of `static`.
    future_missing : {"random_walk", "last", "mean"}
        What a series is forecast with when values of its next sessions are missing that are usually known: by the
        random walk; with the last known values; with the mean of the training rows.
    known_at : str or None
        The source's column with the day on which it knew a row's value. None: the column "known_at", if there is one.
    layout : {"auto", "long", "wide"}
        Long: one row per series and session. Wide: one column per series. Auto: detected at first ingest.
    calendar : str or None
        Name of the sessions, see `tidecast.get_calendar`. None: chosen at first ingest, and stored in panel.json.
    calendars : tuple of str
        Names in the source's column `calendar`, one per series: found at ingest, and stored in panel.json.
    positive : bool
        Whether prices must be above zero. False: they need not be, and series move by differences.
    reread_sessions : int
        Sessions before the newest one that are read again because they may have been corrected.
    horizon : int
        Steps ahead, in sessions.
    lookback : int
        Length of a training sequence, and the rows that a series needs before its first forecast.
    quantiles : tuple of float
        Levels in (0, 1); 0.5 is always among them.
    models : tuple of str
        Models to train and choose from, by the names in `MODELS`: networks by their cell ("RNN", "LSTM", "GRU" and
        more), "volatility_regression", "seasonal_regression", and "average", the average of the others. On a panel
        with seasons the seasonal regression joins wherever the other regression is named.
    max_epochs : int or None
        None: the estimators' own default. 0: untrained, the random walk.
    retrain_every : int
        Sessions between trainings.
    n_jobs : int
        Local processes for training.
    engine : str
        Where the fits of a training run: "processes" of this machine, or the workers of a Dask scheduler,
        "dask://host:port", "ray://host:port" or "spark://host:port"; see docs/scaling.md.
    gate : GatePolicy
        When a new recipe becomes champion.
    rules : dict of str to str
        Rule to "fail", "quarantine", "flag" or "off", where that differs from the default in `rule_actions`.
    rules_schema : str or None
        A user's own rules, "package.module:Class"; see docs/rules.md.
    demote : bool
        Whether a champion whose live forecasts are worse than the random walk's loses its place; see docs/watch.md.
    warehouse : str or None
        Address of the tables. None: in the state folder.
    publish_to : str or None
        Address of a database into which published forecasts are copied. None: no copy.
    publish_table : str
        The table there; it is created if it is missing. It holds this panel alone.
    after_close : int
        Minutes from the close of the panel's market to the daily forecast: prices come some time after the close.
    cron, time_zone : str or None
        A schedule of your own for the daily forecast, and its zone. None: after each close, in the zone of the market.

    Raises
    ------
    SettingsError
        A value is impossible: the message names the setting, the value and what to do.
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
    future: str | None = None
    future_table: str | None = None
    future_covariates: tuple[str, ...] = ()
    events: str | None = None
    events_table: str | None = None
    event_kinds: tuple[str, ...] = ()
    group: str | None = None
    future_missing: Literal["random_walk", "last", "mean"] = "random_walk"
    known_at: str | None = None
    layout: Literal["auto", "long", "wide"] = "auto"
    calendar: str | None = None
    calendars: tuple[str, ...] = ()
    positive: bool = True
    reread_sessions: int = 21
    horizon: int = 5
    lookback: int = 64
    quantiles: tuple[float, ...] = DEFAULT_QUANTILES
    models: tuple[str, ...] = ("RNN", "LSTM", "GRU", "MINGRU", VOLATILITY_REGRESSION, AVERAGE)
    max_epochs: int | None = None
    retrain_every: int = 21
    n_jobs: int = 2
    engine: str = PROCESSES
    gate: GatePolicy = GatePolicy()
    rules: dict[str, str] = {}
    rules_schema: str | None = None
    demote: bool = True
    warehouse: str | None = None
    publish_to: str | None = None
    publish_table: str = "forecasts"
    after_close: int = 60
    cron: str | None = None
    time_zone: str | None = None

    @property
    def sessions(self) -> Calendar:
        """The calendar of the panel: the days that are a session of any series."""
        return get_calendar(" | ".join(sorted({self.calendar or "weekdays", *self.calendars})))

    @property
    def digest(self) -> str:
        """Fingerprint of all settings but `engine`, which changes no table: equal digests, equal settings."""
        return hashlib.sha256(self.model_dump_json(exclude={"engine"}).encode()).hexdigest()[:16]

    @field_validator(
        "quantiles", "models", "calendars", "covariates", "static", "future_covariates", "event_kinds", mode="before"
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("horizon", "lookback", "reread_sessions", "retrain_every", "n_jobs", "max_epochs", "after_close")
    @classmethod
    def _at_least(cls, value: int | None, info: Any) -> int | None:
        least = {"max_epochs": 0, "reread_sessions": 0, "after_close": 0, "lookback": 2}.get(info.field_name, 1)
        if value is not None and value < least:
            raise SettingsError(f"{info.field_name} must be at least {least}, got {value}.")
        return value

    @field_validator("engine")
    @classmethod
    def _engine(cls, value: str) -> str:
        try:
            return check_engine(value)
        except ValueError as error:
            raise SettingsError(str(error)) from None

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
        known = {name.lower(): name for name in MODELS}
        value = tuple(dict.fromkeys(known.get(name.lower(), name) for name in value))
        if not value or not set(value) <= set(MODELS):
            hint = "".join(meant(name, MODELS) for name in value if name not in MODELS)
            raise SettingsError(
                f"models must be one or more of {', '.join(MODELS)}, got {', '.join(value) or 'none'}.{hint}"
            )
        if value == (AVERAGE,):
            raise SettingsError(f"models must name what to average besides {AVERAGE}, got {AVERAGE} alone. Add some.")
        return value

    @field_validator("covariates", "static", "future_covariates", "event_kinds")
    @classmethod
    def _columns(cls, value: tuple[str, ...], info: Any) -> tuple[str, ...]:
        return column_names.check_names(value, info.field_name)

    @model_validator(mode="after")
    def _one_meaning(self) -> "Settings":
        if both := sorted({*self.covariates}.intersection(self.static)):
            raise SettingsError(f"A column must be in covariates or in static, but {both[0]!r} is in both. Choose one.")
        column_names.refuse_one_column_twice(self.series_id, self.time, self.target)
        column_names.refuse_look_alikes((*self.covariates, *self.static), "covariates and static must have")
        column_names.refuse_clashes(self.covariates, self.static, self.future_covariates, self.event_kinds)
        if (self.future is None) != (not self.future_covariates):
            given, other = ("future", "future_covariates") if self.future else ("future_covariates", "future")
            raise SettingsError(f"{given} needs {other} as well: an address, and the columns to read. Set both.")
        if self.group is not None and self.group not in (*self.static, "calendar"):
            raise SettingsError(f"group must be 'calendar' or one of static, got {self.group!r}. Add it to static.")
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
    def _schedule(cls, value: str | None, info: Any) -> str | None:
        if value is not None and info.field_name == "cron" and len(value.split()) != 5:
            raise SettingsError(f"cron must have five fields (minute hour day month weekday), got {value!r}.")
        if value is not None and info.field_name == "time_zone":
            try:
                ZoneInfo(value)
            except (KeyError, ValueError, OSError):
                raise SettingsError(f"time_zone must be a known zone like 'Europe/Berlin', got {value!r}.") from None
        return value

    @model_validator(mode="after")
    def _actions(self) -> "Settings":
        # a user's schema is imported with the first prices; until then any name may be one of its rules
        actions_in_force(self.rules, () if self.rules_schema is None else tuple(self.rules))
        return self

    @field_validator(*ADDRESSES)
    @classmethod
    def _no_password(cls, value: str | None, info: Any) -> str | None:
        refuse_password(value or "", info.field_name, "settings")
        return value

    @field_validator("*")
    @classmethod
    def _no_secret(cls, value: Any, info: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if isinstance(text, str) and info.field_name not in ADDRESSES:
                refuse_secret(text, info.field_name, ADDRESSES)
        return value
