"""Columns of a source that the settings name besides prices: covariates and static columns."""

from collections.abc import Mapping

import polars as pl

from tidecast.features.error_text import near_match, shorten
from tidecast.flows.config.column_names import STANDARD, with_prefix
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.values import example, finite, is_present, names, numbers, truths
from tidecast.flows.sources import Fetched


def extra_columns(
    fetched: Fetched, settings: Settings, source: str, kinds: Mapping[str, pl.DataType]
) -> list[pl.Series]:
    """Read covariates as numbers, null where they cannot be read, and static columns as numbers or text.

    They are named by `with_prefix`. Standard columns such as volume are not among them; they are read with the price.
    A static column is text if it is text in `prices`, or if it is not there yet and has values that are not numbers. It
    is left out while it has no value at all.

    Parameters
    ----------
    fetched : Fetched
    settings : Settings
        `covariates`, `static`.
    source : str
        The source's name in messages.
    kinds : mapping of str to DataType
        Columns of the table `prices`.

    Returns
    -------
    list of polars.Series

    Raises
    ------
    SourceError
        A column is missing, a covariate has no number, or a static one has text but had numbers before.
    """
    assert fetched.raw is not None
    for name in settings.covariates:
        if name in STANDARD and name not in fetched.rows.columns:
            raise SourceError(_missing(name, "covariates", fetched, source))
    wanted = {name: "covariates" for name in settings.covariates if name not in STANDARD}
    wanted |= dict.fromkeys(settings.static, "static")
    for name, setting in wanted.items():
        if name not in fetched.raw.columns or fetched.layout == "wide":
            raise SourceError(_missing(name, setting, fetched, source))
    read = [
        _covariate(fetched.raw[name], source)
        if setting == "covariates"
        else _static(fetched.raw[name], source, kinds.get(name))
        for name, setting in wanted.items()
    ]
    return [values.alias(with_prefix(values.name)) for values in read if values is not None]


def empty_columns(fetched: Fetched, settings: Settings) -> list[str]:
    """Return a message on covariates and static columns without any value; empty if there are none.

    Parameters
    ----------
    fetched : Fetched
    settings : Settings
        `covariates`, `static`.
    """
    assert fetched.raw is not None
    columns = [
        (fetched.rows if name in STANDARD else fetched.raw)[name] for name in (*settings.covariates, *settings.static)
    ]
    empty = [values.name for values in columns if len(values) and not is_present(values).any()]
    return [f"Columns without a value in any row: {shorten(empty)}. Models see them as missing."] if empty else []


def _missing(name: str, setting: str, fetched: Fetched, source: str) -> str:
    assert fetched.raw is not None
    near = near_match(name, fetched.raw.columns)
    hint = f"Did you mean {near!r}?" if near else f"Take it out of {setting}, or add it to the source."
    return f"{source} must have a column {name!r} ({setting}), found none in a long table. {hint}"


def _covariate(values: pl.Series, source: str) -> pl.Series:
    """The column as numbers; true is 1, false is 0."""
    if (as_numbers := truths(values)) is not None:
        return as_numbers
    number = finite(values)
    if number.null_count() == len(number) and is_present(values).any():
        raise SourceError(
            f"A covariate must be numbers, or true and false; {values.name!r} of {source} has no number, but "
            f"{example(values)}. Write it as numbers; for words, one column of 0 and 1 for each. If it describes a "
            f"whole series, make it static: --static {values.name!r}."
        )
    return number


def _static(values: pl.Series, source: str, kind: pl.DataType | None) -> pl.Series | None:
    """The column as numbers or text; None if it has no value yet."""
    present = is_present(values)
    if kind is None and not present.any():
        return None
    if (as_numbers := truths(values)) is not None and kind != pl.String:
        return as_numbers
    number, _ = numbers(values)
    words = values.filter(present & number.is_null())
    if kind == pl.String or (kind is None and len(words)):
        return names(values).alias(values.name)
    if len(words):
        raise SourceError(
            f"A static column must stay numbers or stay text; {values.name!r} had numbers before, and {source} has "
            f"{example(words)}. Correct it, or put the text in another column."
        )
    return finite(values)
