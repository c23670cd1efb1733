"""Averages in a backtest: their forecasts follow from their members' tables, so no recipe is fitted twice."""

from __future__ import annotations

from typing import Any

import polars as pl


def unnamed_members(named: dict[str, Any]) -> dict[str, Any]:
    """Return the members of averages that are not among the models themselves, each recipe once, by a name of its own.

    Parameters
    ----------
    named : dict of str to model
    """
    found: dict[str, Any] = {}
    for name, average in _averages(named).items():
        for k, member in enumerate(average.members, start=1):
            recipe = _recipe_of(member)
            if recipe is not None and recipe not in [_recipe_of(model) for model in (named | found).values()]:
                found[f"{name}, member {k}"] = member
    return found


def averaged_members(named: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names of the members of each average of other models.

    Fits are reproducible, so the average of the members' tables is the forecast of the average.

    Parameters
    ----------
    named : dict of str to model
        With `unnamed_members`.

    Returns
    -------
    dict of str to list of str
        By the name of an `Average`. One with a member that is not among the models is left out, and so is one of
        prices that may be negative: its members may forecast in levels that a table does not show.
    """
    recipes = {name: recipe for name, model in named.items() if (recipe := _recipe_of(model)) is not None}
    found = {}
    for name, average in _averages(named).items():
        wanted = [_recipe_of(member) for member in average.members]
        names = [next((key for key, recipe in recipes.items() if recipe == each), None) for each in wanted]
        if all(names):
            found[name] = [key for key in names if key is not None]
    return found


def _recipe_of(model: Any) -> dict[str, Any] | None:
    """The recipe of a model; None where it has none, as one with a feature that is defined in a script or notebook."""
    try:
        recipe: dict[str, Any] | None = model.recipe() if hasattr(model, "recipe") else None
    except (TypeError, ValueError):
        return None
    return recipe


def _averages(named: dict[str, Any]) -> dict[str, Any]:
    """The averages among the models whose forecasts follow from their members' tables."""
    from tidecast.forecasting.forecasters.average import Average  # loads torch, which takes seconds

    positive = {name: getattr(model, "schema", None) for name, model in named.items() if isinstance(model, Average)}
    return {name: named[name] for name, schema in positive.items() if schema is None or schema.positive}


def averaged_tables(tables: dict[str, pl.DataFrame], members: dict[str, list[str]]) -> dict[str, pl.DataFrame]:
    """Return the tables of the averages of a fold, by model.

    Parameters
    ----------
    tables : dict of str to polars.DataFrame
        Tables of the other models.
    members : dict of str to list of str
        From `averaged_members`.
    """
    from tidecast.forecasting.forecasters.average import average_tables  # loads torch, which takes seconds

    return {name: average_tables([tables[member] for member in names]) for name, names in members.items()}
