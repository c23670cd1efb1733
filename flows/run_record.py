"""What a training has to say, as plain values: parameters, numbers, words, tables and pictures. No MLflow here."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from flows import plots
from flows.plots import Picture
from forecasting.decision import p_value
from forecasting.quantiles import level_of, levels_in, quantile_columns

if TYPE_CHECKING:
    from flows.train import Training

POOLED = ("crps", "pinball", "mae", "mase", "coverage", "skill", "skill_se", "p", "ae_skill", "ae_skill_se")
LONGEST_PARAMETER = 6000  # characters; MLflow refuses more
EVIDENCE = "evaluation/summary.parquet"
DECISION = "decision.json"


@dataclass(frozen=True)
class RunRecord:
    """Everything one run shows.

    Attributes
    ----------
    name, winner : str
        "GRU promoted 2026-11-20", and "GRU".
    params : dict of str
        Recipe, settings, versions, what was seen.
    metrics : dict of float
        Pooled numbers of the gate's folds, exactly those of `evaluate`; the winner's by their own names, those of
        other models after the model's name and a slash.
    tags : dict of str
        What runs and versions are found by, and the description (Markdown).
    curves : dict of polars.DataFrame
        Learning curve per candidate.
    dataset : dict of str
        Name, source, digest and shape of the prices.
    documents : dict
        File name to what is written as JSON.
    tables, frames : dict of polars.DataFrame
        File name to a table, as JSON that MLflow shows or as Parquet that is exact.
    pictures : dict of callables
        File name to what draws it.
    """

    name: str
    winner: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    curves: dict[str, pl.DataFrame]
    dataset: dict[str, str]
    documents: dict[str, Any]
    tables: dict[str, pl.DataFrame]
    frames: dict[str, pl.DataFrame]
    pictures: dict[str, Callable[[], Picture]]

    def write(self, folder: Path) -> None:
        """Write documents, tables and pictures into `folder`."""
        for name in (*self.documents, *self.tables, *self.frames, *self.pictures):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        for name, document in self.documents.items():
            (folder / name).write_text(
                json.dumps(document, indent=2, default=str, ensure_ascii=False), encoding="utf-8"
            )
        for name, table in self.tables.items():
            content = {"columns": table.columns, "data": [[_plain(value) for value in row] for row in table.rows()]}
            (folder / name).write_text(json.dumps(content, default=str, ensure_ascii=False), encoding="utf-8")
        for name, frame in self.frames.items():
            frame.write_parquet(folder / name)
        for name, draw in self.pictures.items():
            (folder / name).write_bytes(draw().png())


def describe(training: Training, source: str) -> RunRecord:
    """The record of a training.

    Parameters
    ----------
    training : Training
    source : str
        Address of the prices table, secrets unexpanded.
    """
    as_of, winner = training.as_of.isoformat(), training.winner
    evaluation = training.evaluation
    summary = None if evaluation is None else evaluation.summary
    dataset = _dataset(training, source)
    tags = {
        "as_of": as_of,
        "winner": winner,
        "outcome": training.outcome,
        "trained_through": training.trained_through.isoformat(),
        "mlflow.note.content": _words(training, summary, dataset),
    }
    return RunRecord(
        name=f"{winner.replace('_', ' ')} {training.outcome} {as_of}",
        winner=winner,
        params=_params(training),
        metrics=_metrics(training, summary),
        tags=tags,
        curves=dict(training.learning_curves),
        dataset=dataset,
        documents={DECISION: _decision(training)},
        tables=_tables(training, summary),
        frames={}
        if evaluation is None
        else {EVIDENCE: evaluation.summary, "evaluation/losses.parquet": evaluation.losses},
        pictures=dict(_pictures(training, summary)),
    )


def fingerprint(panel: pl.DataFrame) -> str:
    """Digest of a panel's rows: equal for equal series, times and values, whatever the order of its rows."""
    ordered = panel.sort("series_id", "time")
    digest = hashlib.sha256()
    for name in sorted(ordered.columns):
        column = ordered[name]
        digest.update(name.encode())
        if column.dtype.is_float():
            digest.update(column.fill_null(math.nan).to_numpy().tobytes())
        else:
            digest.update("\x1f".join(column.cast(pl.String).fill_null("").to_list()).encode())
    return digest.hexdigest()[:16]


def quantile_shares(forecasts: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Share of truths at or below each quantile: ``model``, ``level``, ``share``."""
    columns = [*quantile_columns(levels_in(forecasts.columns)), "forecast"]
    truths = prices.select("series_id", "time", truth="close")
    known = forecasts.join(truths, on=["series_id", "time"], how="inner")
    shares = known.group_by("model", maintain_order=True).agg((pl.col(columns) >= pl.col("truth")).mean())
    long = shares.unpivot(index="model", variable_name="column", value_name="share")
    return long.select(
        "model", pl.col("column").map_elements(level_of, return_dtype=pl.Float64).alias("level"), "share"
    )


def _params(training: Training) -> dict[str, str]:
    seen = training.panel
    params = dict(_flat(training.model.recipe()))
    params |= {f"settings.{key}": value for key, value in _flat(training.settings.model_dump(mode="json"))}
    params |= {f"version.{name}": installed(name) for name in ("tidecast", "torch", "polars", "scikit-learn", "mlflow")}
    params |= {
        "rows": str(seen.height),
        "series": str(seen["series_id"].n_unique()),
        "trained_through": training.trained_through.isoformat(),
    }
    return {key: value[:LONGEST_PARAMETER] for key, value in params.items()}


def installed(package: str) -> str:
    """Installed version without its local part: "2.6.0", not "2.6.0+cpu"; "0" when it is not."""
    try:
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        return "0"


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of nested settings with dotted names; an object's own settings come under its name."""
    for key, value in tree.items():
        name = above.rstrip(".") if key == "class" and above else f"{above}{key}"
        if key == "settings" and "class" in tree:
            yield from _flat(value, above)
        elif isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value)


def _metrics(training: Training, summary: pl.DataFrame | None) -> dict[str, float]:
    """Pooled numbers, the winner's first and by their own name, then seconds."""
    of_winner: dict[str, float] = {}
    of_others: dict[str, float] = {}
    if summary is not None and training.decision is not None:
        for row in summary.filter(pl.col("group") == "pooled").iter_rows(named=True):
            numbers = {key: float(row[key]) for key in POOLED if row.get(key) is not None}
            if row["model"] == training.decision.winner:
                of_winner = numbers
            else:
                name = re.sub(r"[^\w\-. ]", "", row["model"])  # what MLflow allows: "GRU (champion)" has brackets
                of_others |= {f"{name}/{key}": value for key, value in numbers.items()}
    return of_winner | of_others | {f"seconds/{name}": float(value) for name, value in training.seconds.items()}


def _decision(training: Training) -> dict[str, Any]:
    decision = training.decision
    return {
        "as_of": training.as_of.isoformat(),
        "winner": training.winner,
        "outcome": training.outcome,
        "reason": training.reason,
        "verdict": None if decision is None else decision.verdict,
        "decision": None if decision is None else decision.to_dict(),
    }


def _words(training: Training, summary: pl.DataFrame | None, dataset: Mapping[str, str]) -> str:
    """The description of the run, Markdown: the verdict, what it was compared with, the data it saw."""
    decision, seen = training.decision, training.panel
    parts = [training.reason]
    if decision is not None:
        parts += [f"**{_spoken(decision.candidate)} against the random walk**"]
        parts += ["\n".join(f"- {line}" for line in decision.verdict.splitlines())]
        parts += [
            f"Judged on {decision.n_origins} origins, {decision.first_origin} to {decision.last_origin}, every recipe "
            "refit on every fold. Losses are pooled over series, each in units of its own volatility."
        ]
    if summary is not None:
        parts.append(_markdown(summary))
    first, last = str(seen["time"].min()), str(seen["time"].max())
    parts.append(
        f"Data: {seen['series_id'].n_unique()} series, {seen.height:,} prices, {first} to {last}, from "
        f"{dataset['name']} (digest {dataset['digest']})."
    )
    return "\n\n".join(parts)


def _spoken(model: str) -> str:
    return model.replace("_", " ")


def _markdown(summary: pl.DataFrame) -> str:
    """Pooled numbers of all models, the best first."""
    loss = "crps" if "crps" in summary.columns else "pinball"
    heads = ["model", loss.upper(), "skill, %", "evidence", "centre skill, %", "coverage, %"]
    lines = [heads, ["---", *["--:"] * 5]]
    for row in summary.filter(pl.col("group") == "pooled").sort(loss, nulls_last=True).iter_rows(named=True):
        skill = _percent(row["skill"], 2, sign="+") + (f" ± {_percent(row['skill_se'], 2)}" if row["skill_se"] else "")
        p = "–" if row["p"] is None or row["model"] == "random_walk" else p_value(row["p"])
        value = "–" if row[loss] is None else f"{row[loss]:.4f}"
        centre, coverage = _percent(row["ae_skill"], 2, sign="+"), _percent(row["coverage"], 1)
        lines.append([_spoken(row["model"]), value, skill, p, centre, coverage])
    space = "\u00a0\u00a0"  # MLflow shows tables without any room between columns
    return "\n".join(
        "|" + "|".join(cell if "--" in cell else f"{space}{cell}{space}" for cell in line) + "|" for line in lines
    )


def _percent(share: float | None, digits: int, sign: str = "") -> str:
    return "–" if share is None else f"{100 * share:{sign}.{digits}f}"


def _dataset(training: Training, source: str) -> dict[str, str]:
    """The prices as MLflow describes a data set: a Delta table and its version."""
    seen, version = training.panel, training.table_versions.get("prices")
    first, last = seen["time"].min(), seen["time"].max()
    profile = {"rows": seen.height, "series": seen["series_id"].n_unique(), "first": str(first), "last": str(last)}
    types = {"String": "string", "Date": "datetime", "Float64": "double"}
    columns = [
        {"name": name, "type": types.get(str(kind), "string"), "required": True} for name, kind in seen.schema.items()
    ]
    return {
        "name": "prices" if version is None else f"prices version {version}",
        "digest": fingerprint(seen),
        "source_type": "delta",
        "source": json.dumps({"path": source, "delta_table_version": version}),
        "schema": json.dumps({"mlflow_colspec": columns}),
        "profile": json.dumps(profile),
    }


def _tables(training: Training, summary: pl.DataFrame | None) -> dict[str, pl.DataFrame]:
    """What MLflow shows as tables: the most telling columns first, the best rows first."""
    tables = {}
    if training.selection.height:
        tables["tables/selection.json"] = training.selection
    if summary is not None:
        telling = ["model", "series_id", "step", "skill", "skill_se", "p", "crps", "pinball", "coverage"]
        order = [name for name in telling if name in summary.columns]
        ordered = summary.select("group", *order, pl.exclude("group", *order))
        for group, name, by in (
            ("pooled", "models", []),
            ("series", "series", ["model"]),
            ("step", "steps", ["model", "step"]),
        ):
            rows = ordered.filter(pl.col("group") == group).drop("group")
            rows = rows.sort(*by, -pl.col("skill"), nulls_last=True, maintain_order=True)
            tables[f"tables/{name}.json"] = rows.select(
                column.name for column in rows if column.null_count() < rows.height
            )
    return tables


def _pictures(training: Training, summary: pl.DataFrame | None) -> Iterator[tuple[str, Callable[[], Picture]]]:
    forecasts, prices = training.model.predict(), training.panel
    newest = forecasts.filter(pl.col("origin") == forecasts["origin"].max())["series_id"].unique(maintain_order=True)
    yield "pictures/forecasts.png", partial(plots.fans, prices, forecasts, plots.calm_to_wild(prices, newest.to_list()))
    if summary is not None and training.decision is not None:
        models = summary.filter(pl.col("group") == "pooled")["model"].to_list()
        candidate = training.decision.candidate
        levels = levels_in(forecasts.columns)
        yield (
            "pictures/skill_by_step.png",
            partial(plots.skill_by_step, summary, [m for m in models if m != "random_walk"]),
        )
        yield "pictures/skill_by_series.png", partial(plots.skill_by_series, summary, candidate)
        yield (
            "pictures/coverage_by_step.png",
            partial(plots.coverage_by_step, summary, models, max(levels) - min(levels)),
        )
    if training.gate_forecasts is not None:
        shares = quantile_shares(training.gate_forecasts, prices)
        yield "pictures/reliability.png", partial(plots.reliability, shares)
    curves = {name: curve for name, curve in training.learning_curves.items() if curve.height}
    if curves:
        yield "pictures/learning_curves.png", partial(plots.learning_curves, curves)


def _plain(value: Any) -> Any:
    """A value as JSON holds it: no NaN, no infinity."""
    return (
        None
        if isinstance(value, float) and not math.isfinite(value)
        else value.isoformat()
        if isinstance(value, date)
        else value
    )
