"""Make and read rows of the table `decisions`: which version became champion, on which numbers, or by whom and why.

A decision is stored before the champion's alias is moved. So the run after a killed one finds the decision, and only
moves the alias. And runs may be deleted from MLflow without losing the reason why a model is published.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from tidecast.flows.training.champion import Champion
from tidecast.flows.training.result import POOLED, TrainingResult

Row = dict[str, Any]

REFUSED = "refused"
"""Outcome of a decision that was not carried out, because somebody else changed the champion meanwhile."""

ROLLED_BACK = "rolled back"
"""Outcome of a decision that a person took back to the champion before."""


@dataclass(frozen=True)
class TrainingKey:
    """Key of a training: equal sessions, rows and settings are decided on once.

    Attributes
    ----------
    as_of : date
    panel_digest, settings_digest : str
    """

    as_of: date
    panel_digest: str
    settings_digest: str

    def key(self, champion_version: str) -> str:
        """Return the key of the decision, its run and its version in MLflow. It differs with the champion compared.

        Parameters
        ----------
        champion_version : str
            Empty where there was none.
        """
        text = f"{self.as_of}|{self.panel_digest}|{self.settings_digest}|{champion_version}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def decided(decisions: pl.DataFrame, trained: TrainingKey) -> Row | None:
    """Return the decision on the same session, rows and settings; None without one that was carried out.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    trained : TrainingKey
    """
    same = (pl.col(name) == value for name, value in asdict(trained).items())
    return _last(carried_out(decisions).filter(pl.all_horizontal(same)))


def last_of(decisions: pl.DataFrame) -> Row | None:
    """Return the decision in force; None before the first.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    """
    return _last(carried_out(decisions))


def made_champion(decisions: pl.DataFrame, version: str | None) -> Row | None:
    """Return the last decision that made a version champion; None without one.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    version : str or None
        None: a model without a version.
    """
    return _last(carried_out(decisions).filter(pl.col("version") == (version or "")))


def carried_out(decisions: pl.DataFrame) -> pl.DataFrame:
    """Return the decisions without refusals and the decisions they refused.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    """
    refusals = decisions.filter(pl.col("outcome") == REFUSED)["decision"].str.strip_suffix(f" {REFUSED}")
    return decisions.filter(pl.col("outcome") != REFUSED, ~pl.col("decision").is_in(refusals.implode()))


def of_run(decisions: pl.DataFrame, run_id: str) -> Row | None:
    """Return the decision of the training that an MLflow run holds; None without one.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    run_id : str
    """
    return _last(trainings(decisions).filter(pl.col("run_id") == run_id))


def trainings(decisions: pl.DataFrame) -> pl.DataFrame:
    """Return the decisions of trainings; those by hand have a `why`.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    """
    return decisions.filter(pl.col("why").is_null(), pl.col("outcome") != REFUSED)


def gates(decisions: pl.DataFrame) -> pl.DataFrame:
    """Return the decisions of trainings with a gate.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    """
    return trainings(decisions).filter(pl.col("n_origins").is_not_null())


def newest(decisions: pl.DataFrame, as_of: date) -> date | None:
    """Return the session of the newest decision up to `as_of`; None without one.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    as_of : date
    """
    last = decisions.filter(pl.col("as_of") <= as_of)["as_of"].max()
    return last if isinstance(last, date) else None


def _last(decisions: pl.DataFrame) -> Row | None:
    rows = decisions.tail(1).to_dicts()
    return rows[0] if rows else None


def of_training(
    training: TrainingResult, trained: TrainingKey, champion: Champion | None, gates_before: int, by: str, at: datetime
) -> Row:  # fmt: skip
    """Return the row of a training, without the ``run_id`` and ``version`` that MLflow gives it.

    Parameters
    ----------
    training : TrainingResult
    trained : TrainingKey
    champion : Champion or None
        The champion before.
    gates_before : int
        Number of gates held before on the panel.
    by : str
        "the daily flow", or a user's name.
    at : datetime
        In UTC.
    """
    decision = training.decision
    numbers: Row = {} if decision is None else decision.to_dict()
    names = (
        "candidate",
        "n_origins",
        "distribution_skill",
        "distribution_se",
        "distribution_p",
        "distribution_low",
        "distribution_high",
        "median_skill",
        "median_se",
        "median_low",
        "median_high",
    )
    judged = {name: numbers.get(name) for name in (*names, "worst_decile", "verdict")}
    origins = {} if decision is None else {n: _day(getattr(decision, n)) for n in ("first_origin", "last_origin")}
    champion_version = "" if champion is None else champion.version
    return judged | origins | asdict(trained) | {
        "decision": trained.key(champion_version),
        "outcome": training.outcome,
        "winner": training.winner,
        "champion": None if champion is None else champion.name,
        "champion_version": champion_version or None,
        "reason": training.reason,
        "checks": json.dumps({name: numbers[name] for name in ("checks", "champion_checks") if name in numbers}),
        "compared": json.dumps(_compared(training)),
        "policy": json.dumps(asdict(training.settings.gate)),
        "prices_version": training.table_versions.get("prices"),
        "gates_before": gates_before,
        "by": by,
        "at": at,
    }  # fmt: skip


def by_hand(
    outcome: str, as_of: date, chosen: Champion, champion: Champion | None, by: str, why: str,
    decisions: pl.DataFrame, at: datetime,
) -> Row:  # fmt: skip
    """Return the row of a champion chosen by hand; the last row if it says the same, as it was not carried out.

    Parameters
    ----------
    outcome : str
        "promoted by hand", or `ROLLED_BACK`.
    as_of : date
    chosen : Champion
        The new champion.
    champion : Champion or None
        The one before; None without one.
    by, why : str
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    at : datetime
        With a time zone.
    """
    version = f"version {chosen.version}"
    what = f"Rolled back to {version}" if outcome == ROLLED_BACK else f"{version.capitalize()} was {outcome}"
    row = {
        "outcome": outcome, "version": chosen.version, "champion_version": champion.version if champion else None,
        "by": by, "why": why,
    }  # fmt: skip
    last = decisions.tail(1).to_dicts()
    if last and all(last[0][name] == value for name, value in row.items()):
        return last[0]
    key = hashlib.sha256(json.dumps([decisions.height, *row.values()]).encode()).hexdigest()[:32]
    return row | {
        "decision": key,
        "as_of": as_of,
        "winner": chosen.name,
        "run_id": chosen.run_id,
        "champion": champion.name if champion else None,
        "reason": f"{what} by {by}: {why}",
        "gates_before": gates(decisions).height,
        "at": at,
    }


def refused(row: Mapping[str, Any], why: str, at: datetime) -> Row:
    """Return the row that says a decision was not carried out.

    Parameters
    ----------
    row : mapping
        The decision.
    why : str
    at : datetime
        With a time zone.
    """
    return {**row, "decision": f"{row['decision']} {REFUSED}", "outcome": REFUSED, "reason": why, "at": at}


def decision_details(row: Mapping[str, Any]) -> Row:
    """Return a stored decision as the report and the terminal read it: outcome, reason, verdict, numbers.

    Parameters
    ----------
    row : mapping
        Of `decisions`.
    """
    judged = (
        "candidate", "champion", "n_origins", "distribution_skill", "distribution_se", "distribution_p",
        "distribution_low", "distribution_high", "median_skill", "median_se", "median_low", "median_high",
        "worst_decile",
    )  # fmt: skip
    numbers = {name: row.get(name) for name in judged}  # earlier versions stored no intervals
    numbers |= {name: str(row[name]) for name in ("first_origin", "last_origin")}
    numbers |= json.loads(row["checks"] or "{}")
    texts = {name: row[name] for name in ("winner", "outcome", "reason", "verdict")}
    return {"as_of": str(row["as_of"]), **texts, "decision": numbers if row["n_origins"] else None}


def decision_text(row: Mapping[str, Any] | None) -> str:
    """Return when, how and by whom a champion was made, as text.

    Parameters
    ----------
    row : mapping or None
        Of `decisions`, or None.
    """
    if row is None:
        return "no decision is stored for it"
    why = f": {row['why']}" if row["why"] else ""
    return f"{row['as_of']}, {row['outcome']}, by {row['by']}{why}"


def _compared(training: TrainingResult) -> list[Row]:
    """Each model that the gate compared, with its recipe and pooled numbers; without a gate, the winner alone."""
    if training.evaluation is None:
        return [{"model": training.winner, "recipe": training.model.recipe()}]
    pooled = training.evaluation.summary.filter(pl.col("group") == "pooled")
    numbers = pooled.select("model", *(name for name in POOLED if name in pooled.columns)).to_dicts()
    return [found | {"recipe": training.compared.get(found["model"])} for found in numbers]


def _day(moment: date | datetime) -> date:
    return moment.date() if isinstance(moment, datetime) else moment
