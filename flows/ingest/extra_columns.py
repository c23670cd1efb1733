"""The columns of a source that the settings name besides prices: covariates, and what is static in a series."""

from collections.abc import Mapping

import polars as pl

from tidecast.features.error_text import near_match, shorten
from tidecast.flows.config.column_names import STANDARD, with_prefix
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.values import example, finite, given, names, numbers, truths
from tidecast.flows.sources import Fetched


def further_columns(
    fetched: Fetched, settings: Settings, source: str, kinds: Mapping[str, pl.DataType]
) -> list[pl.Series]:
    """Covariates as numbers, null where they cannot be read; static ones as numbers or text.

    Each is called as `with_prefix` says. Standard columns, such as volume, are not among them: they
    are read with the price. A static column is text where `prices` has it as text or, not yet having it, where not all
    of it can be read as numbers; it is left out as long as nothing is known of it.

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
        A column is missing, a covariate holds words alone, or a static one has words where it had numbers.
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
    """What to tell of covariates and static columns that have no value in any row."""
    assert fetched.raw is not None
    columns = [
        (fetched.rows if name in STANDARD else fetched.raw)[name] for name in (*settings.covariates, *settings.static)
    ]
    empty = [values.name for values in columns if len(values) and not given(values).any()]
    return [f"Columns without a value in any row: {shorten(empty)}. Models see them as missing."] if empty else []


def _missing(name: str, setting: str, fetched: Fetched, source: str) -> str:
    assert fetched.raw is not None
    near = near_match(name, fetched.raw.columns)
    hint = f"Did you mean {near!r}?" if near else f"Take it out of {setting}, or give it to the source."
    return f"{source} must have a column {name!r} ({setting}), found none in a long table. {hint}"


def _covariate(values: pl.Series, source: str) -> pl.Series:
    """A column as numbers; true is 1, false is 0."""
    if (as_numbers := truths(values)) is not None:
        return as_numbers
    number = finite(values)
    if number.null_count() == len(number) and given(values).any():
        raise SourceError(
            f"A covariate must be numbers, or true and false; {values.name!r} of {source} has no number, but "
            f"{example(values)}. Give it as numbers: of words, a column of 0 and 1 for each. If it says one thing of a "
            f"series, make it static: --static {values.name!r}."
        )
    return number


def _static(values: pl.Series, source: str, kind: pl.DataType | None) -> pl.Series | None:
    """A column as numbers or as text; None where nothing is known yet, not even which of the two it is."""
    present = given(values)
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
            f"{example(words)}. Correct it, or give the text a column of its own name."
        )
    return finite(values)
