"""The record of a training as values that JSON can hold: parameters, metrics, text. No MLflow here."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from tidecast.features.known_ahead.table import lists_of
from tidecast.features.segments import in_series_order
from tidecast.flows.config.settings import Settings
from tidecast.flows.redaction import redact
from tidecast.flows.tracking.compared_models import ComparedModel, compared_models, subject_of
from tidecast.flows.tracking.environment import commit, installed, peak_memory
from tidecast.flows.tracking.metric_names import TRAIN_LOSS, VALIDATION_LOSS, memory_metric, seconds_metric
from tidecast.flows.tracking.run_text import description, model_name, model_text, run_name
from tidecast.flows.training.result import TrainingResult

LOSSES = {"train_loss": TRAIN_LOSS, "validation_loss": VALIDATION_LOSS}
"""Columns of a learning curve, and their names in MLflow."""

LONGEST_PARAMETER = 6000  # characters; MLflow refuses more


@dataclass(frozen=True)
class RunRecord:
    """The content of one run, without its files.

    Attributes
    ----------
    name : str
        "+0.34 % GRU, promoted 2026-11-20"; for a compared model, "+0.34 % GRU, tested".
    params : dict of str
        Recipe, settings, versions, size of the panel.
    metrics : dict of float
        Pooled numbers, those of `evaluate`, under the names of `metric_names`. A training has those of the model
        that the gate tested.
    curves : list of (str, int, float)
        Name, step and value of numbers by step ahead and of losses by epoch.
    tags : dict of str
        Keys for searching runs and versions, and the description (Markdown).
    dataset : dict of str
        Name, source, digest and shape of the prices.
    seconds : float
        Duration of the training.
    inside : list of RunRecord
        The records of the compared models, whose runs are inside this one.
    of_logged_model : bool
        Whether the numbers are those of the recipe of the logged model.
    """

    name: str
    params: dict[str, str]
    metrics: dict[str, float]
    curves: list[tuple[str, int, float]]
    tags: dict[str, str]
    dataset: dict[str, str]
    seconds: float
    inside: list[RunRecord]
    of_logged_model: bool = False

    def __post_init__(self) -> None:
        """Hide secrets in every text that is sent to MLflow."""
        object.__setattr__(self, "name", redact(self.name))
        for texts in (self.params, self.tags, self.dataset):
            texts.update({key: redact(value) for key, value in texts.items()})

    def to_json(self) -> str:
        """Return the record as JSON; numbers keep every digit."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Return the record that `to_json` wrote.

        Parameters
        ----------
        text : str
        """
        return cls._of(json.loads(text))

    @classmethod
    def _of(cls, tree: dict[str, Any]) -> RunRecord:
        return cls(**tree | {"inside": [cls._of(inner) for inner in tree["inside"]]})


def describe(training: TrainingResult, source: str, prefect: Mapping[str, str] | None = None) -> RunRecord:
    """Return the record of a training.

    Parameters
    ----------
    training : TrainingResult
    source : str
        Address of the prices table, secrets unexpanded.
    prefect : mapping, optional
        ``id`` and, if it has one, ``url`` of the flow run that trained.
    """
    as_of, winner, prefect = training.as_of.isoformat(), training.winner, prefect or {}
    dataset = _dataset(training, source)
    tags = {
        "as_of": as_of,
        "winner": winner,
        "outcome": training.outcome,
        "trained_through": training.trained_through.isoformat(),
        "mlflow.note.content": description(training, dataset, prefect),
    }
    tags |= {f"prefect.flow_run_{key}": value for key, value in prefect.items()}
    if (own_commit := commit()) is not None:
        tags["mlflow.source.git.commit"] = own_commit
    models = compared_models(training)
    own = next((model for model in models if model.name == subject_of(training)), None)
    return RunRecord(
        name=run_name(training),
        params=_params(training, own.recipe if own is not None and own.recipe else training.model.recipe()),
        metrics=({} if own is None else own.metrics) | _costs(training),
        curves=[] if own is None else own.points + _curve(own.curve),
        tags=tags,
        dataset=dataset,
        seconds=sum(training.seconds.values()),
        inside=[_inside(training, model, dataset) for model in models] if len(models) > 1 else [],
    )


PIECE = 1_000_000
"""Rows that are read at a time."""


def fingerprint(panel: pl.DataFrame) -> str:
    """Return a digest of a panel's rows that does not depend on their order.

    Parameters
    ----------
    panel : polars.DataFrame

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    ordered = in_series_order(panel)
    digest = hashlib.sha256()
    for name in sorted(ordered.columns):
        column = ordered[name]
        digest.update(name.encode())
        if column.dtype.is_nested():  # what is known ahead, as lists of numbers
            digest.update(lists_of(column).tobytes())
        elif column.dtype.is_float():
            for piece in column.to_frame().iter_slices(PIECE):
                digest.update(piece[name].fill_null(math.nan).to_numpy().tobytes())
        else:
            for number, piece in enumerate(column.to_frame().iter_slices(PIECE)):
                texts = piece[name].cast(pl.String).fill_null("").to_list()
                digest.update(("\x1f" * (number > 0) + "\x1f".join(texts)).encode())
    return digest.hexdigest()[:16]


def _inside(training: TrainingResult, model: ComparedModel, dataset: dict[str, str]) -> RunRecord:
    """The record of a compared model, with the names that the training's own has."""
    decision = training.decision
    return RunRecord(
        name=model_name(training, model),
        params=_params(training, model.recipe),
        metrics=model.metrics,
        curves=model.points + _curve(model.curve),
        tags={"model": model.name, "mlflow.note.content": model_text(training, model)},
        dataset=dataset,
        seconds=training.seconds.get("refit", 0.0),
        inside=[],
        of_logged_model=decision is not None and bool(model.gate) and model.name == decision.winner,
    )


def _curve(curve: pl.DataFrame | None) -> list[tuple[str, int, float]]:
    """Losses by epoch, without missing ones."""
    if curve is None:
        return []
    rows = curve.iter_rows(named=True)
    points = ((name, row["epoch"], row[column]) for row in rows for column, name in LOSSES.items())
    return [point for point in points if point[2] is not None and math.isfinite(point[2])]


def _params(training: TrainingResult, recipe: Mapping[str, Any]) -> dict[str, str]:
    panel = training.panel
    params = settings_params(recipe, training.settings)
    params |= {f"version.{name}": installed(name) for name in ("tidecast", "torch", "polars", "scikit-learn", "mlflow")}
    params |= {
        "rows": str(panel.height),
        "series": str(panel["series_id"].n_unique()),
        "trained_through": training.trained_through.isoformat(),
    }
    return params


def settings_params(recipe: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """Return every setting of a model and of its panel, as MLflow's parameters.

    Parameters
    ----------
    recipe : mapping
        ``model.recipe()``.
    settings : Settings
    """
    params = dict(_flat(recipe))
    params |= {f"settings.{key}": value for key, value in _flat(settings.model_dump(mode="json"))}
    return {key: value[:LONGEST_PARAMETER] for key, value in params.items()}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested settings with dotted names; an object's own settings come under its name."""
    for key, value in tree.items():
        name = prefix.rstrip(".") if key == "class" and prefix else f"{prefix}{key}"
        if key == "settings" and "class" in tree:
            yield from _flat(value, prefix)
        elif isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)


def _costs(training: TrainingResult) -> dict[str, float]:
    """Durations of the steps, and peak memory."""
    durations = {seconds_metric(name): float(value) for name, value in training.seconds.items()}
    return durations | {memory_metric(name): value for name, value in peak_memory().items()}


def _dataset(training: TrainingResult, source: str) -> dict[str, str]:
    """The prices in MLflow's form of a data set: a Delta table and its version."""
    panel, version = training.panel, training.table_versions.get("prices")
    first, last = panel["time"].min(), panel["time"].max()
    profile = {"rows": panel.height, "series": panel["series_id"].n_unique(), "first": str(first), "last": str(last)}
    types = {"String": "string", "Date": "datetime", "Float64": "double"}
    columns = [
        {"name": name, "type": types.get(str(kind), "string"), "required": True} for name, kind in panel.schema.items()
    ]
    return {
        "name": "prices" if version is None else f"prices version {version}",
        "digest": fingerprint(panel),
        "source_type": "delta",
        "source": json.dumps({"path": source, "delta_table_version": version}),
        "schema": json.dumps({"mlflow_colspec": columns}),
        "profile": json.dumps(profile),
    }
