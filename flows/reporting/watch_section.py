"""The watch's part of the report: findings, the live record, why bands are wide, drift, rules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tidecast.features.error_text import counted
from tidecast.flows.reporting.model_names import with_article
from tidecast.forecasting.evaluation.decision import skill_text
from tidecast.forecasting.tables.names import CRPS, loss_in

PARTS = ("volatility", "network", "calibration")
MOST_BARS = 12
"""Series whose width is explained in a sentence, those that changed most."""

MOST_ROWS = 200
"""Series in a table."""

LEAST_CHANGE = 0.05
"""Share of the usual width from which a change is explained."""


@dataclass(frozen=True)
class WatchData:
    """What the watch found, as plain values and tables.

    Attributes
    ----------
    findings : sequence of mapping
        ``state``, ``what``, ``since``, ``how_sure``, ``to_do``.
    record : polars.DataFrame
        The live record: window, group, model, step, series_id and numbers.
    widths : polars.DataFrame
        series_id, ratio, volatility, network, calibration, as of the watch.
    drift : polars.DataFrame
        feature, distance, usual, largest, drifted.
    rules : polars.DataFrame
        rule, kept, today, week, quarter.
    """

    findings: Sequence[Mapping[str, Any]]
    record: pl.DataFrame
    widths: pl.DataFrame
    drift: pl.DataFrame
    rules: pl.DataFrame


def watch_section(data: WatchData) -> dict[str, Any]:
    """Return the content of the watch's parts of the page, as text.

    Parameters
    ----------
    data : WatchData

    Returns
    -------
    dict
        ``findings``; ``tiles``, the record in three lines for the first page; ``record``, ``steps``, ``series``, rows
        of tables; ``bars`` and ``widths``; ``drift``; ``rules``.
    """
    record = data.record
    of_series = record.filter(group="series", window="all") if record.width else record
    others = record.filter(pl.col("group") != "series") if record.width else record
    tables = {group: _rows(others, group) for group in ("pooled", "model", "step")}
    loss = loss_in(record.columns) if record.width else CRPS
    return {
        "findings": data.findings,
        "loss": loss.upper() if loss == CRPS else loss,
        "tiles": _tiles(record),
        "record": [*tables["pooled"], *_several(tables["model"])],
        "steps": [row for row in tables["step"] if row["window"] == "all"],
        "series": _rows(of_series.head(MOST_ROWS), "series"),
        "n_series": of_series.height,
        **_bands(data.widths),
        "drift": data.drift.sort("distance", descending=True).to_dicts() if data.drift.width else [],
        "rules": data.rules.to_dicts(),
    }


def width_text(row: Mapping[str, Any]) -> str:
    """Return a sentence on today's width: how it differs from the usual one, and through what.

    Parameters
    ----------
    row : mapping
        ``ratio``, and the parts as logarithms.
    """
    parts = ", ".join(f"{name} {_change(math.exp(row[name]))}" for name in PARTS)
    size = abs(round(100 * (row["ratio"] - 1)))
    if size == 0:
        return f"As wide as usual: {parts}."
    return f"{size} % {'wider' if row['ratio'] > 1 else 'narrower'} than usual: {parts}."


def _tiles(record: pl.DataFrame) -> list[tuple[str, str]]:
    """Skill and coverage since promotion, else of all live forecasts, and coverage after breaks."""
    pooled = record.filter(group="pooled") if record.width else record
    rows = {row["window"]: row for row in pooled.to_dicts()}
    row = rows.get("since promotion") or rows.get("all")
    if row is None:
        return []
    window = "since promotion" if row["window"] == "since promotion" else "all live days"
    few = " (too few days for an interval)" if row["skill_low"] is None else ""
    tiles = [
        (f"Live skill, {window} ({counted(row['days'], 'day')})", _skill(row, "skill", True) + few),
        (f"Live coverage, {window}", _share(row, True)),
    ]
    if (after := rows["all"])["forecasts_after_break"]:
        share = f"{100 * after['coverage_after_break']:.1f} % of {after['forecasts_after_break']:,}"
        tiles.append(("Live coverage in the 60 sessions after a volatility break", share))
    return tiles


def _rows(record: pl.DataFrame, group: str) -> list[dict[str, Any]]:
    """Rows of one group as text."""
    found = record.filter(pl.col("group") == group).to_dicts() if record.width else []
    loss = loss_in(record.columns) if record.width else CRPS
    return [
        {
            "window": row["window"],
            "name": _name(row),
            "days": row["days"], "forecasts": counted(row["forecasts"], "forecast"),
            "dates": f"{row['first']} – {row['last']}",
            "loss": _number(row[loss]), "mae": _number(row["mae"]),
            "skill": _skill(row, "skill"), "median": _skill(row, "ae_skill"), "coverage": _share(row),
            "after": _percent(row["coverage_after_break"]), "interval": _number(row["interval_score"]),
            "pit": "–" if row["pit"] is None else f"{row['pit']:.3f}",
            "tails": "–" if row["below"] is None else f"{100 * row['below']:.1f} / {100 * row['above']:.1f}",
        }
        for row in found
    ]  # fmt: skip


def _name(row: Mapping[str, Any]) -> str:
    if row["group"] == "pooled":
        return {"all": "all live forecasts"}.get(row["window"], row["window"])
    if row["group"] == "model":
        return with_article(row["model"])
    return f"step {row['step']}" if row["group"] == "step" else str(row["series_id"])


def _several(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of models over all days, if there are several."""
    of_all = [row for row in models if row["window"] == "all"]
    return of_all if len(of_all) > 1 else []


def _bands(widths: pl.DataFrame) -> dict[str, Any]:
    """Sentences and bars of the series that changed most, and the table."""
    if not widths.width:
        return {"bars": [], "widths": [], "n_widths": 0, "n_changed": 0}
    rows = widths.drop_nulls("ratio").to_dicts()
    changed = [row for row in rows if abs(row["ratio"] - 1) >= LEAST_CHANGE]
    longest = max([abs(row[name]) for row in changed[:MOST_BARS] for name in PARTS] + [0.1])
    return {
        "bars": [
            {
                "series": row["series_id"], "text": width_text(row),
                "parts": [_bar(name, row[name], longest) for name in PARTS],
            }
            for row in changed[:MOST_BARS]
        ],
        "n_changed": len(changed),
        "n_widths": len(rows),
        "widths": [
            {"series": row["series_id"], "width": f"{100 * row['width']:.3g}", "usual_day": row["usual_day"],
             "change": _change(row["ratio"]), **{name: _change(math.exp(row[name])) for name in PARTS}}
            for row in rows[:MOST_ROWS]
        ],
    }  # fmt: skip


def _bar(name: str, value: float, longest: float) -> dict[str, Any]:
    """A bar from the middle of a chart of 100 units: to the right when the part widens."""
    size = 50 * min(abs(value) / longest, 1.0)
    return {"name": name, "left": f"{50 - size if value < 0 else 50:.2f}", "size": f"{size:.2f}"}


def _change(ratio: float) -> str:
    change = round(100 * (ratio - 1))
    return f"{change:+d} %".replace("-", "−") if change else "0 %"


def _skill(row: Mapping[str, Any], name: str, unit: bool = False) -> str:
    if row[name] is None:
        return "–"
    return skill_text(row[name], row[f"{name}_low"], row[f"{name}_high"], unit)


def _share(row: Mapping[str, Any], unit: bool = False) -> str:
    """Coverage with its 95 % interval."""
    if row["coverage"] is None:
        return "–"
    text = f"{100 * row['coverage']:.1f}{' %' if unit else ''}"
    if row["coverage_low"] is None:
        return text
    return f"{text} ({'95 %: ' if unit else ''}{100 * row['coverage_low']:.1f} … {100 * row['coverage_high']:.1f})"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
