"""Columns that a transformer, such as a step of a Pipeline, added before a forecaster got the panel."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.features.frame_notes import note_of
from tidecast.features.transformers.base import MADE

LEVEL = 6  # frames between a warning here and the caller of fit


def made_columns(panel: Any) -> list[str]:
    """Columns of a panel that `PanelTransformer` objects noted as made and that no later one has read.

    Parameters
    ----------
    panel : object
        A frame; any other object has none.
    """
    return [name for name in note_of(panel, MADE, []) if name in panel.columns]


def warn_of_unseen(model: object, made: Collection[str], seen: Collection[str]) -> None:
    """Warn of made columns that a model does not use.

    Parameters
    ----------
    model : estimator
        For the message.
    made : collection of str
        Columns.
    seen : collection of str
        The model's inputs.

    Warns
    -----
    UserWarning
        Naming them, and how to turn them into inputs.
    """
    unseen = tuple(name for name in made if name not in seen)
    if unseen:
        warnings.warn(
            f"Columns that a transformer makes must be named to be inputs of a network; {type(model).__name__} does "
            f"not see {shorten(unseen)}. Name them in its schema, PanelSchema(covariates={unseen!r}), or give it the "
            "transformer as features=.",
            stacklevel=LEVEL,
        )


def check_made(panel: Any, made: Collection[str]) -> None:
    """Refuse a panel without the columns that a transformer made in `fit`.

    Parameters
    ----------
    panel : object
    made : collection of str
        Columns.

    Raises
    ------
    ValueError
        Naming them.
    """
    if not made or not hasattr(panel, "columns") or isinstance(panel, pl.LazyFrame):
        return  # anything but an eager frame is refused later, by name
    lacking = [name for name in made if name not in panel.columns]
    if lacking:
        raise ValueError(
            f"The panel must have the columns that a transformer made in fit; {shorten(lacking)} not found. Give the "
            "transformer to the forecaster, features=, and fit again: then predict, update, sample and save include "
            "it. Or transform the panel first, as the Pipeline does."
        )
