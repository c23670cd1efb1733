"""Timestamps with zones that polars does not know: fixed offsets such as +05:30, and unknown names."""

import io
import re
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

import polars as pl

if TYPE_CHECKING:
    import pyarrow as pa

_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")


def parquet_table(body: bytes) -> pl.DataFrame:
    """Return the table of a Parquet file. Columns with an offset or zone that polars does not know become text.

    The text is ISO 8601 with the offset, so that the instant is kept. (Polars panics on an offset like +05:30.)

    Parameters
    ----------
    body : bytes
        Contents of the file.
    """
    import pyarrow.parquet as pq  # slow to load, and the command line starts without it

    schema = pq.read_schema(io.BytesIO(body))
    odd = [number for number, field in enumerate(schema) if has_odd_zone(field.type)]
    if not odd:
        return as_read(pl.read_parquet(io.BytesIO(body)))
    table = pq.read_table(io.BytesIO(body))
    for number in odd:
        table = table.set_column(number, table.column_names[number], as_text(table.column(number)).to_arrow())
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return as_read(frame)


def as_read(frame: pl.DataFrame) -> pl.DataFrame:
    """Decode columns of bytes that are UTF-8: some programs write text without marking it as text.

    Parameters
    ----------
    frame : polars.DataFrame
        Of a Parquet file.
    """
    text = []
    for name, kind in frame.schema.items():
        if kind == pl.Binary:
            with suppress(pl.exceptions.PolarsError):
                text.append(frame[name].cast(pl.String))
    return frame.with_columns(text)


def as_text(column: "pa.ChunkedArray") -> pl.Series:
    """Return timestamps with a zone as text in ISO 8601, in local time; in UTC if the zone is unknown.

    Parameters
    ----------
    column : pyarrow.ChunkedArray
    """
    import pyarrow as pa

    ahead, offset = _ahead(column.type.tz)
    utc = pl.Series(pl.from_arrow(column.cast(pa.timestamp("us", "UTC"), safe=False)))
    shown = utc.dt.replace_time_zone(None).dt.offset_by(f"{int(ahead.total_seconds())}s")
    return shown.dt.strftime(f"%Y-%m-%dT%H:%M:%S%.6f{offset}")


def has_odd_zone(kind: "pa.DataType") -> bool:
    """Whether timestamps of this type have a zone that polars does not know.

    Parameters
    ----------
    kind : pyarrow.DataType
    """
    import pyarrow as pa

    return pa.types.is_timestamp(kind) and kind.tz is not None and kind.tz not in available_timezones()


def _ahead(zone: str) -> tuple[timedelta, str]:
    """A fixed offset as a duration and as text; any other name counts as UTC."""
    match = _OFFSET.fullmatch(zone)
    if match is None:
        return timedelta(0), "Z"
    sign, hours, minutes = match.groups()
    ahead = timedelta(hours=int(hours), minutes=int(minutes))
    return (ahead if sign == "+" else -ahead), f"{sign}{hours}:{minutes}"
