"""Names and addresses for MLflow: ``mlflow.yml``, under the environment, over the defaults.

The keys are spelled as in kedro-mlflow's file of the same name where they mean the same. Text that may hide a secret is
kept unexpanded (``${VAR}``), so this object can be printed and logged; :func:`expand` is called on connecting.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.errors import TidecastError

FILE_NAME = "mlflow.yml"
ENVIRONMENT = {  # MLflow's own variables, and the key each one overrides
    "MLFLOW_TRACKING_URI": "server.mlflow_tracking_uri",
    "MLFLOW_REGISTRY_URI": "server.mlflow_registry_uri",
    "MLFLOW_EXPERIMENT_NAME": "tracking.experiment.name",
}


class MlflowConfigError(TidecastError):
    """``mlflow.yml`` says something that cannot be: an unknown key, a wrong type, a password."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Server(_Section):
    """Addresses; None means the state folder's own SQLite file."""

    mlflow_tracking_uri: str | None = None
    mlflow_registry_uri: str | None = None


class CreateExperiment(_Section):
    """What a new experiment is made with."""

    artifact_location: str | None = None


class Experiment(_Section):
    """The experiment that every training is a run of."""

    name: str = Field("tidecast", min_length=1)
    create_experiment_kwargs: CreateExperiment = CreateExperiment()


class TrackingSection(_Section):
    """Where runs go."""

    experiment: Experiment = Experiment()


class Aliases(_Section):
    """The names by which versions of the registered model are found."""

    champion: str = Field("champion", min_length=1)
    challenger: str = Field("challenger", min_length=1)
    previous: str = Field("previous", min_length=1)


class Registry(_Section):
    """The registered model and its aliases."""

    model_name: str = Field("tidecast", min_length=1)
    aliases: Aliases = Aliases()


class Ui(_Section):
    """Address of ``tidecast ui``."""

    host: str = "127.0.0.1"
    port: int = Field(5000, ge=1, le=65535)


class MlflowConfig(_Section):
    """Everything ``mlflow.yml`` can say; the defaults equal the file in the project's top folder."""

    server: Server = Server()
    tracking: TrackingSection = TrackingSection()
    registry: Registry = Registry()
    ui: Ui = Ui()


def load_mlflow_config(folder: Path, environ: Mapping[str, str]) -> tuple[MlflowConfig, dict[str, str]]:
    """The configuration, and where each value came from.

    Parameters
    ----------
    folder : Path
        Where ``mlflow.yml`` is looked for (the working directory); it need not exist.
    environ : mapping
        The environment; MLflow's own variables win over the file. Their values are not copied: the configuration
        then holds ``${MLFLOW_TRACKING_URI}``, so that a password in it is never printed.

    Returns
    -------
    config : MlflowConfig
    origins : dict
        Dotted key to "default", "mlflow.yml" or "environment (NAME)".

    Raises
    ------
    MlflowConfigError
        Unknown key (with the near match), wrong type, unreadable file, or a password in an address.
    """
    path = folder / FILE_NAME
    given: dict[str, Any] = {}
    if path.is_file():
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise MlflowConfigError(f"{path} must be valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(given, dict):
            raise MlflowConfigError(f"{path} must hold sections such as 'server:', found {type(given).__name__}.")
    origins = dict.fromkeys((key for key, _ in _leaves(MlflowConfig().model_dump())), "default")
    origins.update({key: FILE_NAME for key, _ in _leaves(given) if key in origins})
    _refuse_passwords(given, path)
    for variable, key in ENVIRONMENT.items():
        if environ.get(variable):
            *sections, last = key.split(".")
            place = given
            for section in sections:
                place = place.setdefault(section, {}) if isinstance(place, dict) else {}
            if isinstance(place, dict):
                place[last] = f"${{{variable}}}"
                origins[key] = f"environment ({variable})"
    try:
        return MlflowConfig.model_validate(given), origins
    except ValidationError as error:
        raise MlflowConfigError(_explain(error, path)) from None


def expand(text: str, environ: Mapping[str, str]) -> str:
    """`text` with every ``${VAR}`` replaced from the environment; call it at the moment of connecting, keep the result nowhere."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise MlflowConfigError(f"{text} needs the environment variable {name}, which is not set: export it.")
        return environ[name]

    return re.sub(r"\$\{(\w+)\}", value, text)


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _refuse_passwords(given: Mapping[str, Any], path: Path) -> None:
    for key, value in _leaves(given):
        if isinstance(value, str) and "://" in value:
            password = urlsplit(value).password
            if password and not re.fullmatch(r"\$\{\w+\}", password):
                raise MlflowConfigError(
                    f"{path}: {key} must not hold a password. Write ${{MLFLOW_DB_PASSWORD}} in its place and export that variable."
                )


def _explain(error: ValidationError, path: Path) -> str:
    """The first thing wrong with the file, in words."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] != "extra_forbidden":
        return f"{path}: {'.'.join(where)}: {first['msg'].lower()}, found {first['input']!r}."
    model: Any = MlflowConfig
    for part in where[:-1]:
        model = model.model_fields[part].annotation
    known = list(model.model_fields)
    near = difflib.get_close_matches(where[-1], known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known here: {', '.join(known)}."
    return f"{path}: {'.'.join(where)} is not a key of mlflow.yml. {hint}"
