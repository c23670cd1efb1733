"""Future covariates that are missing for the sessions ahead although they are usually known."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.known_ahead.table import lists_of
from tidecast.features.panel import AHEAD
from tidecast.flows.config.settings import Settings

LATELY = 63
"""Sessions before the newest one that say what is usually known."""

USUAL = 0.5
"""Share of them in which a step must have been known for it to be missed."""

INSTEAD = {
    "random_walk": "they are forecast by the random walk",
    "last": "the last known values stand in for them",
    "mean": "the mean of the training rows stands in for them",
}
"""What happens by each value of the setting `future_missing`."""


@dataclass(frozen=True)
class MissingAhead:
    """What is missing for the sessions after the newest row of each series.

    Attributes
    ----------
    series : tuple of str
        Series for which a value is missing.
    text : str
        A sentence; empty without any.
    """

    series: tuple[str, ...] = ()
    text: str = ""


def missing_ahead(panel: pl.DataFrame, settings: Settings) -> MissingAhead:
    """Return what is missing. A step that is usually not known is not missed; a covariate that never was, is.

    Usual is what the series itself usually has, or all series together. A series of more than `LATELY` sessions that
    never had the covariate does not miss it, whatever the others have. A newer series has no past of its own.

    Parameters
    ----------
    panel : polars.DataFrame
        The series to forecast, sorted, with what was known ahead at each row and nothing filled in.
    settings : Settings
    """
    recent = panel.group_by("series_id", maintain_order=True).tail(LATELY + 1)
    newest = recent["series_id"].ne_missing(recent["series_id"].shift(-1)).to_numpy()
    series, broken, parts = recent["series_id"].filter(pl.Series(newest)), np.zeros(newest.sum(), dtype=bool), []
    for name in settings.future_covariates:
        known_NH = np.isfinite(lists_of(recent[name + AHEAD]))
        usual_H, usual_SH = _usual(known_NH, newest)
        unknown_SH = ~known_NH[newest]
        of_others_SH = unknown_SH & usual_H & ~usual_SH
        of_others_SH &= _may_have(panel, name + AHEAD, series, of_others_SH.any(1))
        missed_SH = of_others_SH | (unknown_SH & (usual_SH | (not known_NH.any())))
        if missed_SH.any():
            broken |= missed_SH.any(1)
            parts.append(f"{name} ({_steps(np.flatnonzero(missed_SH.any(0)) + 1)})")
    if not parts:
        return MissingAhead()
    ids = tuple(series.filter(pl.Series(broken)))
    what = f"{len(ids):,} series ({shorten(ids, 3)})"
    text = f"Future covariates are missing for {what}: {', '.join(parts)}; {INSTEAD[settings.future_missing]}."
    return MissingAhead(ids, text)


def _usual(known_NH: np.ndarray, newest_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether a step was known in `USUAL` of the rows before the newest: of all series, and of each."""
    before_N = ~newest_N
    series_N = np.cumsum(newest_N) - newest_N
    count_S = np.bincount(series_N[before_N], minlength=newest_N.sum())
    sum_SH = np.zeros((newest_N.sum(), known_NH.shape[1]))
    np.add.at(sum_SH, series_N[before_N], known_NH[before_N])
    usual_SH = (sum_SH >= USUAL * count_S[:, None]) & (count_S > 0)[:, None]
    return (sum_SH.sum(0) >= USUAL * count_S.sum()) & (count_S.sum() > 0), usual_SH


def _may_have(panel: pl.DataFrame, column: str, series: pl.Series, asked_S: np.ndarray) -> np.ndarray:
    """Whether each of the series asked for ever had a value ahead, or is too new to tell; shape (S, 1)."""
    if not asked_S.any():
        return asked_S[:, None]
    rows = panel.filter(pl.col("series_id").is_in(series.filter(pl.Series(asked_S)).implode()))
    had = pl.Series("had", np.isfinite(lists_of(rows[column])).any(1))
    found = rows.select("series_id", had).group_by("series_id").agg(pl.col("had").any(), rows=pl.len())
    may = found.filter(pl.col("had") | (pl.col("rows") <= LATELY))["series_id"]
    return series.is_in(may.implode()).to_numpy()[:, None]


def _steps(steps: np.ndarray) -> str:
    first, last = steps[0], steps[-1]
    return f"step {first}" if first == last else f"steps {first} to {last}"
