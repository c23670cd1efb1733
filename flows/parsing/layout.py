"""Convert a source's own columns to one row per price."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import PurePath

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.fetched import Fetched, optional_columns
from tidecast.flows.parsing.two_level_columns import has_two_levels, one_row_per_series
from tidecast.flows.parsing.values import as_text, dates, example, numbers
from tidecast.flows.warehouse.schema import VALUES

_INDEX = ("", "Unnamed: 0", "index", "__index_level_0__")
"""Names of row numbers in files that pandas wrote."""


def to_long(frame: pl.DataFrame, settings: Settings, source: str) -> Fetched:
    """Return one row per price, from a long table, a wide one, or one of a single series.

    - *Long*: it has the series_id column.
    - *Single series*: it has the target but no series_id column; the series is called like the source.
    - *Wide*: it has neither, but several columns of numbers besides the time, each a series. Empty cells are not rows.
    - *Two levels*: each column is named after a field and a series; see `tidecast.flows.parsing.two_level_columns`.

    Parameters
    ----------
    frame : polars.DataFrame
        As the source has it.
    settings : Settings
        `layout`, and the names of columns.
    source : str
        Name of the source in messages.

    Raises
    ------
    SourceError
        A column is missing (the near match is named), or the columns can be read in more than one way.
    """
    if settings.layout != "wide" and has_two_levels(frame.columns):
        frame, note = one_row_per_series(frame, settings, source)
        for column, setting in ((settings.time, "time"), (settings.target, "target")):
            _require(frame, column, setting, source)
        return _long(frame, settings, source, frame[settings.series_id], (note,))
    _require(frame, settings.time, "time", source, settings)
    if settings.layout == "wide":
        return _wide(frame, settings, source)
    named = settings.series_id != Settings.model_fields["series_id"].default
    if settings.series_id in frame.columns or named:
        _require(frame, settings.series_id, "series_id", source)
        _require(frame, settings.target, "target", source)
        return _long(frame, settings, source, frame[settings.series_id])
    if settings.target in frame.columns:
        return _single_series(frame, settings, source)
    if settings.layout == "long" or settings.target != Settings.model_fields["target"].default:
        _require(frame, settings.target, "target", source)
    _refuse_ambiguity(frame, settings, source)
    return _wide(frame, settings, source)


def _single_series(frame: pl.DataFrame, settings: Settings, source: str) -> Fetched:
    text = [name for name in _texts(frame, settings) if name != settings.target]
    if settings.layout == "auto" and text and frame[settings.time].is_duplicated().any():
        raise SourceError(
            f"{source} must say which series a row belongs to: its times repeat, and it has no column "
            f"{settings.series_id!r}. Is it {text[0]!r}? Then add --series-id {text[0]!r}."
        )
    series = PurePath(source).stem
    series_id = pl.Series([series]).new_from_index(0, frame.height)
    note = f"{source} is read as one series, called {series!r}, because it has no column {settings.series_id!r}."
    return _long(frame, settings, source, series_id, (note,) if settings.layout == "auto" else ())


def _long(
    frame: pl.DataFrame, settings: Settings, source: str, series_id: pl.Series, notes: tuple[str, ...] = ()
) -> Fetched:
    taken = {settings.series_id, settings.time, settings.target}
    others = optional_columns(name for name in frame.columns if name not in taken)
    if settings.known_at is not None:
        _require(frame, settings.known_at, "known_at", source)
        others["known_at"] = settings.known_at
    named = {"time": settings.time, "close": settings.target, **others}
    rows = pl.DataFrame(
        [series_id.alias("series_id"), *(frame[name].alias(value) for value, name in named.items())], orient="col"
    )
    return Fetched(rows, frame, "long", notes)


def _wide(frame: pl.DataFrame, settings: Settings, source: str) -> Fetched:
    series = [name for name in frame.columns if name != settings.time and name not in _INDEX]
    if not series:
        raise SourceError(f"{source} must have a column per series besides {settings.time!r}, got none. Add them.")
    kinds = {frame[name].dtype for name in series}
    if len(kinds) > 1:  # text and numbers: all as text, so that each value is read by itself
        plain = all(kind.is_numeric() for kind in kinds)
        frame = frame.with_columns(frame[name].cast(pl.Float64) if plain else as_text(frame[name]) for name in series)
    time = frame[settings.time].alias("time")
    rows = pl.concat(
        pl.DataFrame(
            [pl.Series("series_id", [name]).new_from_index(0, frame.height), time, frame[name].alias("close")],
            orient="col",
        )
        for name in series
    )
    rows = rows.filter(numbers(rows["close"])[1])
    raw = rows.select("time", column="series_id", value="close")
    note = f"{source} is read as wide, a series per column: {shorten(series)}."
    return Fetched(rows, raw, "wide", (note,) if settings.layout == "auto" else ())


def _require(frame: pl.DataFrame, column: str, setting: str, source: str, settings: Settings | None = None) -> None:
    """Refuse a table without a column. With `settings`, the advice names the other columns of prices, too."""
    if column in frame.columns:
        return
    candidates = frame.columns
    if setting == "time":  # a name does not show which columns hold dates
        dated = [name for name in candidates if dates(frame[name].drop_nulls().head(5), None)[0].is_not_null().any()]
        candidates = dated or candidates
    by_lower = {name.lower(): name for name in reversed(candidates)}
    near = [by_lower[name] for name in get_close_matches(column.lower(), by_lower, n=1, cutoff=0.6)]
    if not near and setting == "time":
        near = dated
    if data := _data_in_the_header(frame.columns):
        raise SourceError(
            f"{source} must have names of columns in its first line, found {shorten(frame.columns, 12)}, of which "
            f"{data!r} is a value. Put a line with names above it."
        )
    option = f"--{setting.replace('_', '-')}"
    more = _other_options(frame, near[0], settings) if near and settings is not None else ""
    hint = f"Did you mean {near[0]!r}? Then add {option} {near[0]!r}{more}." if near else f"Name it with {option}."
    found = shorten(frame.columns, 12)
    what = f"{column!r}" if column == setting else f"{column!r} ({setting})"
    raise SourceError(f"{source} must have a column {what}, found {found}. {hint}")


def _other_options(frame: pl.DataFrame, time: str, settings: Settings) -> str:
    """The options that a long table needs besides --time; empty if it has the columns, or may be wide."""
    text = [name for name in _texts(frame, settings) if name != time]
    if not text or settings.layout == "wide":
        return ""
    options = ""
    if settings.series_id not in frame.columns:
        options += f" --series-id {text[0]!r}"
    if settings.target not in frame.columns:
        numbers_of = [name for name in frame.columns if name not in (time, *text, *_INDEX)]
        options += f" --target {_likely_target(numbers_of)!r}"
    return options


def _data_in_the_header(columns: Sequence[str]) -> str | None:
    """A name that is a day or a number with a decimal point: the file has no header. None without one."""
    return next((name for name in columns if re.fullmatch(r"\d{4}-\d\d-\d\d.*|[+-]?\d+\.\d+", name)), None)


def _likely_target(names: Sequence[str]) -> str:
    """The name that most likely means a price at the end of a session; else the first."""
    words = ("close", "price", "value", "last", "settle")
    exact = [name for word in words for name in names if name.lower() == word]
    within = [name for word in words for name in names if word in name.lower()]
    return next(iter([*exact, *within, *names]), "…")


def _texts(frame: pl.DataFrame, settings: Settings) -> list[str]:
    """Columns besides the time in which most values cannot be read as numbers."""
    texts = []
    for name in frame.columns:
        values, present = numbers(frame[name])
        count = int(present.sum())
        if name not in (settings.time, *_INDEX) and count and values.is_not_null().sum() < count / 2:
            texts.append(name)
    return texts


def _refuse_ambiguity(frame: pl.DataFrame, settings: Settings, source: str) -> None:
    """Refuse columns that look like another layout, unless the settings say wide."""
    columns = [name for name in frame.columns if name != settings.time and name not in _INDEX]
    found = f"{source} has no column {settings.series_id!r} and no column {settings.target!r}"
    if text := _texts(frame, settings):
        others = [name for name in columns if name not in text]
        target = _likely_target(others)
        raise SourceError(
            f"{found}, but text in {shorten(text)}, such as {example(frame[text[0]])}. "
            f"If that names the series, add --series-id {text[0]!r} --target {target!r}. "
            "If it is a number, write it with a decimal point."
        )
    bars = [name for name in columns if name.lower().replace("_", " ") in (*VALUES, "adj close", "price")]
    if bars or len(columns) < 2:
        target = next((name for name in bars if name.lower() == "close"), (bars or columns or ["…"])[0])
        raise SourceError(
            f"{found}; it has {shorten(frame.columns, 12)}. "
            f"If it is one series, name the column to forecast: --target {target!r}. If a column names the series, add "
            "--series-id COLUMN too. If each column is a series, set TIDECAST_LAYOUT=wide."
        )
