"""The record of a training as values that JSON can hold: parameters, metrics, text. No MLflow here."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from tidecast.features.known_ahead.table import lists_of
from tidecast.flows.redaction import redact
from tidecast.flows.reporting.model_names import readable
from tidecast.flows.tracking.environment import commit, installed, peak_memory
from tidecast.flows.tracking.run_text import candidate_outcome, candidate_text, description
from tidecast.flows.training.result import POOLED, TrainingResult

OUTCOMES = {"kept": "stays"}
LOSSES = ("train_loss", "validation_loss")
LONGEST_PARAMETER = 6000  # characters; MLflow refuses more


@dataclass(frozen=True)
class RunRecord:
    """The content of one run, without its files.

    Attributes
    ----------
    name : str
        "GRU, promoted 2026-11-20"; for a candidate, "GRU, tested at the gate".
    params : dict of str
        Recipe, settings, versions, size of the panel.
    metrics : dict of float
        Pooled numbers of the gate's folds, exactly those of `evaluate`. The winner's have their own names; those of
        other models have the model's name and a slash in front.
    curves : list of (str, int, float)
        Name, epoch and value of losses.
    tags : dict of str
        Keys for searching runs and versions, and the description (Markdown).
    dataset : dict of str
        Name, source, digest and shape of the prices; empty for a candidate.
    seconds : float
        Duration of the training.
    inside : list of RunRecord
        The records of the candidates, whose runs are inside this one.
    """

    name: str
    params: dict[str, str]
    metrics: dict[str, float]
    curves: list[tuple[str, int, float]]
    tags: dict[str, str]
    dataset: dict[str, str]
    seconds: float
    inside: list[RunRecord]

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
    candidates = training.learning_curves
    return RunRecord(
        name=f"{readable(winner)}, {OUTCOMES.get(training.outcome, training.outcome)} {as_of}",
        params=_params(training),
        metrics=_metrics(training),
        curves=_curve(candidates.get(winner)),
        tags=tags,
        dataset=dataset,
        seconds=sum(training.seconds.values()),
        inside=[_candidate(training, name, curve) for name, curve in candidates.items()],
    )


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
    ordered = panel.sort("series_id", "time")
    digest = hashlib.sha256()
    for name in sorted(ordered.columns):
        column = ordered[name]
        digest.update(name.encode())
        if column.dtype.is_nested():  # what is known ahead, as lists of numbers
            digest.update(lists_of(column).tobytes())
        elif column.dtype.is_float():
            digest.update(column.fill_null(math.nan).to_numpy().tobytes())
        else:
            digest.update("\x1f".join(column.cast(pl.String).fill_null("").to_list()).encode())
    return digest.hexdigest()[:16]


def _candidate(training: TrainingResult, name: str, curve: pl.DataFrame) -> RunRecord:
    """The record of a candidate: its numbers in the selection, and its learning curve."""
    rows = training.selection.filter(pl.col("model") == name).to_dicts() if training.selection.height else []
    metrics = {f"selection/{key}": float(rows[0][key]) for key in POOLED if rows and rows[0].get(key) is not None}
    tags = {"mlflow.note.content": candidate_text(training, name)}
    title = ", ".join(filter(None, [name, candidate_outcome(training, name)]))
    return RunRecord(title, {"model": name}, metrics, _curve(curve), tags, {}, training.seconds.get("refit", 0.0), [])


def _curve(curve: pl.DataFrame | None) -> list[tuple[str, int, float]]:
    """Losses by epoch, without missing ones."""
    if curve is None:
        return []
    points = ((name, row["epoch"], row[name]) for row in curve.iter_rows(named=True) for name in LOSSES)
    return [point for point in points if point[2] is not None and math.isfinite(point[2])]


def _params(training: TrainingResult) -> dict[str, str]:
    panel = training.panel
    params = dict(_flat(training.model.recipe()))
    params |= {f"settings.{key}": value for key, value in _flat(training.settings.model_dump(mode="json"))}
    params |= {f"version.{name}": installed(name) for name in ("tidecast", "torch", "polars", "scikit-learn", "mlflow")}
    params |= {
        "rows": str(panel.height),
        "series": str(panel["series_id"].n_unique()),
        "trained_through": training.trained_through.isoformat(),
    }
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


def _metrics(training: TrainingResult) -> dict[str, float]:
    """Pooled numbers, the winner's first and by their own names, then durations and peak memory."""
    summary = None if training.evaluation is None else training.evaluation.summary
    of_winner: dict[str, float] = {}
    of_others: dict[str, float] = {}
    if summary is not None and training.decision is not None:
        for row in summary.filter(pl.col("group") == "pooled").iter_rows(named=True):
            numbers = {key: float(row[key]) for key in POOLED if row.get(key) is not None}
            if row["model"] == training.decision.winner:
                of_winner = numbers
            else:
                name = re.sub(r"[^\w\-. ]", "", row["model"])  # MLflow does not allow the brackets of "GRU (champion)"
                of_others |= {f"{name}/{key}": value for key, value in numbers.items()}
    durations = {f"seconds/{name}": float(value) for name, value in training.seconds.items()}
    return (
        of_winner | of_others | durations | {f"peak_memory_mb/{name}": value for name, value in peak_memory().items()}
    )


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
