"""Averages in a backtest whose members are compared as well: their forecasts follow from the members' tables."""

from __future__ import annotations

from typing import Any

import polars as pl


def averaged_members(named: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names of the members of each average of other models, so that no member is fitted twice.

    Fits are reproducible, so the average of the members' tables is the forecast of the average.

    Parameters
    ----------
    named : dict of str to model

    Returns
    -------
    dict of str to list of str
        By the name of an `Average`. One with a member that is not among the models is left out, and so is one of
        prices that may be negative: its members may forecast in levels that a table does not show.
    """
    from tidecast.forecasting.forecasters.average import Average  # loads torch, which takes seconds

    recipes = {name: model.recipe() for name, model in named.items() if hasattr(model, "recipe")}
    found = {}
    for name, model in named.items():
        if isinstance(model, Average) and (model.schema is None or model.schema.positive):
            wanted = [member.recipe() for member in model.members]
            names = [next((key for key, recipe in recipes.items() if recipe == each), None) for each in wanted]
            if all(names):
                found[name] = [key for key in names if key is not None]
    return found


def averaged_tables(
    tables: dict[str, dict[int, pl.DataFrame]], members: dict[str, list[str]]
) -> dict[str, dict[int, pl.DataFrame]]:
    """Return the tables of the averages, by model and fold.

    Parameters
    ----------
    tables : dict of str to dict of int to polars.DataFrame
        Tables of the other models by fold.
    members : dict of str to list of str
        From `averaged_members`.
    """
    from tidecast.forecasting.forecasters.average import average_tables  # loads torch, which takes seconds

    return {
        name: {fold: average_tables([tables[member][fold] for member in names]) for fold in tables[names[0]]}
        for name, names in members.items()
    }
