"""The live record as lines of text."""

from __future__ import annotations

import polars as pl

from tidecast.features.error_text import counted
from tidecast.forecasting.evaluation.decision import skill_text

NONE_YET = "no live forecast has come true yet"


def record_lines(record: pl.DataFrame) -> str:
    """Return a line per window of the pooled live record.

    Parameters
    ----------
    record : polars.DataFrame
        As of `live_record`.
    """
    if not record.width:
        return NONE_YET
    lines = []
    for row in record.filter(group="pooled").to_dicts():
        coverage = "not known" if row["coverage"] is None else f"{100 * row['coverage']:.1f} %"
        if row["coverage_low"] is not None:
            coverage += f" (95 %: {100 * row['coverage_low']:.1f} … {100 * row['coverage_high']:.1f})"
        after = row["coverage_after_break"]
        broken = "" if after is None else f", {100 * after:.1f} % after volatility breaks"
        skill = skill_text(row["skill"], row["skill_low"], row["skill_high"])
        lines.append(
            f"{row['window']} ({counted(row['days'], 'day')}): {skill} against the random walk, coverage "
            f"{coverage}{broken}"
        )
    return "\n".join(lines) or NONE_YET
