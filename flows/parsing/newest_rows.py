"""The newest rows of a large file: only what a run needs is read, converted and checked.

Rows are left out only where their day is certain and where the others mean the same without them. Otherwise the whole
file is read: whether "1,234" is a number, for example, shows only in the whole column.
"""

import io
from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from tidecast.flows.config.settings import Settings
from tidecast.flows.parsing.fetched import optional_columns
from tidecast.flows.parsing.two_level_columns import has_two_levels
from tidecast.flows.parsing.utc_offsets import as_read, has_odd_zone

ISO_DAY = r"^\d{4}-\d{2}-\d{2}$"
SEPARATORS = [",", "'", "’", " ", "\u00a0", "\u202f"]
"""Characters that may separate thousands."""

FEW = 0.01
"""Share of times that may be written otherwise than the others; such rows are kept."""

BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError, OSError)
"""Errors of a Parquet file that cannot be read."""

MOST_APPENDED = 0.2
"""Largest share of a file that can be its end."""

NOT_NUMBERS = ("known_at", "calendar", "split_in_doubt")
"""Optional columns that hold no numbers."""


def newest_rows(frame: pl.DataFrame, settings: Settings, since: date) -> pl.DataFrame | None:
    """Return the rows of a file's table from a day on; None if that needs the whole table.

    Where they lie at the end of the file, as in one that grows from day to day, an older row that was appended late is
    returned as well, with all rows of its day, because it may contradict one of them.

    Parameters
    ----------
    frame : polars.DataFrame
        As a CSV file has it, all values as text.
    settings : Settings
        Names of columns.
    since : date
    """
    if settings.time not in frame.columns or has_two_levels(frame.columns):
        return None
    texts = [name for name in _number_columns(frame.columns, settings) if frame[name].dtype == pl.String]
    if any(frame[name].str.contains_any(SEPARATORS).any() for name in texts):
        return None
    day = frame[settings.time]
    if day.dtype != pl.String:
        return None
    plain = day.str.contains(ISO_DAY).fill_null(False)
    if plain.sum() < (1 - FEW) * frame.height:
        return None
    is_new = plain & (day >= str(since)).fill_null(False)
    begins = is_new.arg_max() if is_new.any() else frame.height
    appended = pl.int_range(frame.height, eager=True) >= (begins or 0)
    if appended.sum() > MOST_APPENDED * frame.height:
        return frame.filter(~plain | is_new)
    late = day.filter(appended & ~is_new).unique().implode()
    return frame.filter(~plain | appended | day.is_in(late))


def newest_rows_of_parquet(file: Path | bytes, settings: Settings, since: date) -> pl.DataFrame | None:
    """Return the rows of a Parquet file from a day on, None if that needs the whole file.

    Parts of the file whose statistics end before that day are not read.

    Parameters
    ----------
    file : Path or bytes
        Its path, or its contents.
    settings : Settings
        Names of columns.
    since : date
    """
    with suppress(*BROKEN):  # the whole file is read then, and what is wrong is said
        return _newest_rows_of_parquet(file, settings, since)
    return None


def _newest_rows_of_parquet(file: Path | bytes, settings: Settings, since: date) -> pl.DataFrame | None:
    import pyarrow as pa  # slow to load, and the command line starts without it
    import pyarrow.parquet as pq

    schema = pq.read_schema(file if isinstance(file, Path) else io.BytesIO(file))
    kinds = {field.name: field.type for field in schema}
    kind = kinds.get(settings.time)
    is_day = kind is not None and (pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None))
    numbers = [kinds[name] for name in _number_columns(schema.names, settings)]
    if not is_day or has_two_levels(schema.names) or any(map(has_odd_zone, kinds.values())):
        return None
    if not all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in numbers):
        return None
    bound = datetime.combine(since, time.min) if pa.types.is_timestamp(kind) else since
    at = pl.col(settings.time)
    source = pl.scan_parquet(file if isinstance(file, Path) else io.BytesIO(file))
    return as_read(source.filter((at >= bound) | at.is_null()).collect())


def day_before(since: date) -> date:
    """Return the day from which rows are kept: a day earlier, because a market's zone may move a time by a day.

    Parameters
    ----------
    since : date
    """
    return max(since, date.min + timedelta(days=1)) - timedelta(days=1)


def _number_columns(columns: Sequence[str], settings: Settings) -> Collection[str]:
    """The columns that are read as numbers: of a long table the target and further values, of a wide one all."""
    if settings.target not in columns:
        return [name for name in columns if name not in (settings.time, settings.series_id)]
    others = [name for name in columns if name not in (settings.time, settings.series_id, settings.target)]
    named = [own for name, own in optional_columns(others).items() if name not in NOT_NUMBERS]
    known = [settings.known_at] if settings.known_at else []
    chosen = {settings.target, *named, *settings.covariates} - {*known}
    return [name for name in columns if name in chosen]
