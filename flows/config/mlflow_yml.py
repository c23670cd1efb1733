"""Names and addresses for MLflow. The environment wins over ``mlflow.yml``, and that over the defaults.

Keys are spelled as in kedro-mlflow's file of the same name where they mean the same. Text that may hold a secret stays
unexpanded (``${VAR}``), so this object can be printed and logged; `secrets.expand` is called on connecting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidecast.features.error_text import meant
from tidecast.flows.config.secrets import refuse_password
from tidecast.flows.errors import SettingsError
from tidecast.flows.os_errors import message_of

FILE_NAME = "mlflow.yml"
DEEPEST, WIDEST = 8, 1000
"""Most levels of mlflow.yml, and most values on one level; a file with more is refused."""

ENVIRONMENT = {  # MLflow's own variables, and the key each one overrides
    "MLFLOW_TRACKING_URI": "server.mlflow_tracking_uri",
    "MLFLOW_REGISTRY_URI": "server.mlflow_registry_uri",
    "MLFLOW_EXPERIMENT_NAME": "tracking.experiment.name",
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        """Take the defaults for an empty section: all its lines may be commented out."""
        return {} if value is None else value


class Server(_Section):
    """Addresses; None means the state folder's own SQLite file."""

    mlflow_tracking_uri: str | None = None
    mlflow_registry_uri: str | None = None


class CreateExperiment(_Section):
    """Settings of a new experiment."""

    artifact_location: str | None = None


class Experiment(_Section):
    """The experiment of all trainings; searches have one of their own."""

    name: str = Field(default="tidecast", min_length=1)
    create_experiment_kwargs: CreateExperiment = CreateExperiment()


class TrackingSection(_Section):
    """The experiment into which runs are logged."""

    experiment: Experiment = Experiment()


class Aliases(_Section):
    """Names of the aliases of the registered model."""

    champion: str = Field(default="champion", min_length=1)
    challenger: str = Field(default="challenger", min_length=1)
    previous: str = Field(default="previous", min_length=1)


class Registry(_Section):
    """The registered model and its aliases."""

    model_name: str = Field(default="tidecast", min_length=1)
    aliases: Aliases = Aliases()


class Ui(_Section):
    """Address of ``tidecast ui``."""

    host: str = "127.0.0.1"
    port: int = Field(default=5000, ge=1, le=65535)


class MlflowConfig(_Section):
    """All keys of ``mlflow.yml``; the defaults equal the file at the top of the repository."""

    server: Server = Server()
    tracking: TrackingSection = TrackingSection()
    registry: Registry = Registry()
    ui: Ui = Ui()


def load_mlflow_config(folder: Path, environ: Mapping[str, str]) -> tuple[MlflowConfig, dict[str, str]]:
    """Return the configuration, and where each value came from.

    Parameters
    ----------
    folder : Path
        The folder of ``mlflow.yml`` (the working directory); the file need not exist.
    environ : mapping
        The environment; MLflow's own variables win over the file. Their values are not copied: the configuration
        holds ``${MLFLOW_TRACKING_URI}``, so a password in the value is never printed.

    Returns
    -------
    config : MlflowConfig
    origins : dict
        Dotted key to "default", "mlflow.yml" or "environment (NAME)".

    Raises
    ------
    SettingsError
        A key is unknown (the near match is named), a value has the wrong type, the file cannot be read, or an address
        holds a password.
    """
    path = folder / FILE_NAME
    content = _read(path) if os.path.lexists(path) else {}
    origins = dict.fromkeys((key for key, _ in _leaves(MlflowConfig().model_dump())), "default")
    origins.update({key: FILE_NAME for key, _ in _leaves(content) if key in origins})
    for key, value in _leaves(content):
        if isinstance(value, str):
            refuse_password(value, key, FILE_NAME)
    try:
        config = MlflowConfig.model_validate(content)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None
    tree = config.model_dump()
    for variable, key in ENVIRONMENT.items():
        if environ.get(variable):
            _put(tree, key, f"${{{variable}}}")
            origins[key] = f"environment ({variable})"
    return MlflowConfig.model_validate(tree), origins


def _read(path: Path) -> dict[str, Any]:
    """Return the sections of the file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise SettingsError(f"mlflow.yml must be a readable file. {message_of(error)}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{path} must be valid YAML: {' '.join(str(error).split())}") from None
    _refuse_too_deep(content, path)
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold sections such as 'server:', found {type(content).__name__}.")
    return content


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set the value of a dotted key."""
    *sections, last = key.split(".")
    for section in sections:
        tree = tree[section]
    tree[last] = value


def _refuse_too_deep(tree: Any, path: Path) -> None:
    """Refuse a tree that cannot be a configuration: an anchor may refer to itself, or expand to millions of lines."""
    level = [tree]
    for _ in range(DEEPEST):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = list(islice(chain.from_iterable(inner), WIDEST + 1))
        if not level:
            return
        if len(level) > WIDEST:
            break
    raise SettingsError(
        f"{path} must have sections with a line per key, but is deeper or wider than any configuration. Does an "
        "anchor (&name) refer to itself? Write the values out."
    )


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each dotted key and its value."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _explain(error: ValidationError, path: Path) -> str:
    """Return a message about the first error in the file."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        return f"{path}: {'.'.join(where)}: {first['msg'].lower()}, found {first['input']!r}."
    model: Any = MlflowConfig
    for part in where[:-1]:
        model = model.model_fields[part].annotation
    known = list(model.model_fields)
    hint = meant(where[-1], known) or f" Known here: {', '.join(known)}."
    return f"{path}: {'.'.join(where)} is not a key of mlflow.yml.{hint}"
