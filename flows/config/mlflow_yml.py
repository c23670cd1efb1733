"""Names and addresses for MLflow: ``mlflow.yml``, under the environment, over the defaults.

The keys are spelled as in kedro-mlflow's file of the same name where they mean the same. Text that may hide a secret is
kept unexpanded (``${VAR}``), so this object can be printed and logged; `secrets.expand` is called on connecting.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tidecast.flows.config.secrets import refuse_password
from tidecast.flows.errors import SettingsError
from tidecast.flows.os_errors import in_words

FILE_NAME = "mlflow.yml"
DEEPEST, WIDEST = 8, 1000
"""Levels of mlflow.yml, and values on one of them, beyond which it is refused."""

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
        """A section with nothing under it, as when all its lines are commented out."""
        return {} if value is None else value


class Server(_Section):
    """Addresses; None means the state folder's own SQLite file."""

    mlflow_tracking_uri: str | None = None
    mlflow_registry_uri: str | None = None


class CreateExperiment(_Section):
    """What a new experiment is made with."""

    artifact_location: str | None = None


class Experiment(_Section):
    """The experiment that every training is a run of; searches have one beside it."""

    name: str = Field(default="tidecast", min_length=1)
    create_experiment_kwargs: CreateExperiment = CreateExperiment()


class TrackingSection(_Section):
    """Where runs go."""

    experiment: Experiment = Experiment()


class Aliases(_Section):
    """The names by which versions of the registered model are found."""

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
    SettingsError
        Unknown key (with the near match), wrong type, unreadable file, or a password in an address.
    """
    path = folder / FILE_NAME
    given: dict[str, Any] = {}
    if os.path.lexists(path):
        try:
            given = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise SettingsError(f"mlflow.yml must be a readable file. {in_words(error)}.") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise SettingsError(f"{path} must be valid YAML: {' '.join(str(error).split())}") from None
        _refuse_too_deep(given, path)
        if not isinstance(given, dict):
            raise SettingsError(f"{path} must hold sections such as 'server:', found {type(given).__name__}.")
    origins = dict.fromkeys((key for key, _ in _leaves(MlflowConfig().model_dump())), "default")
    origins.update({key: FILE_NAME for key, _ in _leaves(given) if key in origins})
    for key, value in _leaves(given):
        if isinstance(value, str):
            refuse_password(value, key, FILE_NAME)
    try:
        config = MlflowConfig.model_validate(given)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None
    tree = config.model_dump()
    for variable, key in ENVIRONMENT.items():
        if environ.get(variable):
            *sections, last = key.split(".")
            place = tree
            for section in sections:
                place = place[section]
            place[last] = f"${{{variable}}}"
            origins[key] = f"environment ({variable})"
    return MlflowConfig.model_validate(tree), origins


def _refuse_too_deep(tree: Any, path: Path) -> None:
    """Refuse a tree that no configuration has: an anchor may refer to itself, or make millions of a few lines."""
    level = [tree]
    for _ in range(DEEPEST):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = list(islice(chain.from_iterable(inner), WIDEST + 1))
        if not level:
            return
        if len(level) > WIDEST:
            break
    raise SettingsError(
        f"{path} must have sections with a line per key, but goes on deeper or wider than any configuration. Does an "
        "anchor (&name) refer to itself? Write the values out."
    )


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


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
