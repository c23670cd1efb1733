"""The columns of a source that the settings name besides prices: covariates, and what is static in a series."""

from collections.abc import Mapping

import polars as pl

from features.messages import near_match
from flows.errors import SourceError
from flows.parsing import finite, names, numbers
from flows.settings import Settings
from flows.sources import Fetched
from flows.tables import VALUES


def further_columns(
    fetched: Fetched, settings: Settings, source: str, kinds: Mapping[str, pl.DataType]
) -> list[pl.Series]:
    """Covariates as numbers, null where they are none; static ones as numbers or text.

    A static column is text where `prices` has it as text or, not yet having it, where not all of it can be read as
    numbers.

    Parameters
    ----------
    fetched : Fetched
    settings : Settings
    source : str
        What to call it in a message.
    kinds : mapping of str to DataType
        The columns that `prices` has.

    Raises
    ------
    SourceError
        A column is missing, or a static one has words where it had numbers.
    """
    assert fetched.raw is not None
    wanted = {name: "covariates" for name in settings.covariates if name not in VALUES}
    wanted |= dict.fromkeys(settings.static, "static")
    for name, setting in wanted.items():
        if name not in fetched.raw.columns or fetched.layout == "wide":
            near = near_match(name, fetched.raw.columns)
            hint = f"Did you mean {near!r}?" if near else f"Take it out of {setting}, or give it to the source."
            raise SourceError(f"{source} must have a column {name!r} ({setting}), found none in a long table. {hint}")
    return [
        finite(fetched.raw[name]) if setting == "covariates" else _static(fetched.raw[name], source, kinds.get(name))
        for name, setting in wanted.items()
    ]


def _static(values: pl.Series, source: str, kind: pl.DataType | None) -> pl.Series:
    number, present = numbers(values)
    words = values.filter(present & number.is_null())
    if kind == pl.String or (kind is None and len(words)):
        return names(values).alias(values.name)
    if len(words):
        raise SourceError(
            f"A static column must stay numbers or stay text; {values.name!r} had numbers before, and {source} has "
            f"{words[0]!r}. Mend it, or give the text a column of its own name."
        )
    return finite(values)
