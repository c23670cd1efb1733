"""A champion without its model, as the table `decisions` records it: enough to train its recipe again."""

import json
from datetime import date
from typing import Any

import polars as pl

from tidecast.flows.training.champion import Champion
from tidecast.flows.training.decisions import Row, decision_details, last_of, trainings


def recorded_champion(decisions: pl.DataFrame) -> Champion | None:
    """Return the champion as `decisions` records it, its model None; None where its recipe is not stored.

    Parameters
    ----------
    decisions : polars.DataFrame
        The table `decisions`, oldest first.
    """
    last = last_of(decisions)
    if last is None:
        return None
    trained = trainings(decisions).filter(pl.col("version") == last["version"]).tail(1).to_dicts()
    recipe = _recipe_in(trained[0]) if trained else None
    if recipe is None:
        return None
    row = trained[0]
    through: date = row["as_of"]
    return Champion(
        row["winner"], row["version"], row["run_id"], through, recipe, None, decision_details(row), None, None
    )


def _recipe_in(row: Row) -> dict[str, Any] | None:
    """The recipe of the winner; at a gate that kept the champion, that goes by "GRU (champion)"."""
    recipes = {found["model"]: found.get("recipe") for found in json.loads(row["compared"] or "[]")}
    names = [f"{row['winner']} (champion)"] if row["outcome"] == "kept" else []
    return next((recipes[name] for name in (*names, row["winner"]) if recipes.get(name)), None)
