"""Read dates, numbers and series ids from values of any type. A value that cannot be read becomes null."""

from datetime import date

import polars as pl

from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.iso_times import times_of_text
from tidecast.flows.parsing.separators import without_separators

MISSING = ("", "na", "n/a", "nan", "null", "none", "nil", "-", ".", "#n/a")
"""Texts, in lower case, that mean a missing value."""

_NO_TEXT = (pl.Binary, pl.Object, pl.Duration)
"""Types that polars does not cast to text."""

_A_DAY = {"days": 1, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
"""Units in a day."""

_FIRST_DAY, _LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date.min, date.max))
"""The first and the last day that Python can hold, in days since 1970-01-01."""


def dates(values: pl.Series, zone: str | None) -> tuple[pl.Series, pl.Series]:
    """Session date and time of day of each value.

    Parameters
    ----------
    values : Series
        Dates, datetimes, or text as `tidecast.flows.parsing.iso_times.times_of_text` reads it.
    zone : str or None
        Times with a zone are converted to this one, unless they are dates in disguise: see `midnights_elsewhere`. None:
        the date stays as it is written.

    Returns
    -------
    day : Series of Date
        Null if it cannot be read or lies outside the years 1 to 9999. Day or month first ("31/12/2024") is not read.
    clock : Series of Duration
        Since midnight, in the zone of the day; zero for a date.
    """
    if values.dtype == pl.Date:
        return of_calendar(values), pl.Series([0]).cast(pl.Duration("us")).new_from_index(0, len(values))
    moment = _moments(values, None if midnights_elsewhere(values, zone) else zone)
    return moment.dt.date(), moment - moment.dt.truncate("1d")


def instants(values: pl.Series) -> pl.Series:
    """Return the instant of each value in UTC; null where it cannot be read.

    A day is the first microsecond after its midnight: later than the close of every session of the day before, and
    earlier than that of its own. Days are dates, texts without a time of day, and midnights. Each value is judged
    alone, so that one more row does not change what the others mean.

    Parameters
    ----------
    values : Series
        Dates, datetimes, or text as `tidecast.flows.parsing.iso_times.times_of_text` reads it. Times without a zone are
        UTC.
    """
    written, moment = _moments(values, None), _moments(values, "UTC")
    is_day = written == written.dt.truncate("1d")
    frame = pl.DataFrame({"written": written, "moment": moment, "is_day": is_day})
    day = pl.col("written").dt.truncate("1d") + pl.duration(microseconds=1)
    return frame.select(pl.when("is_day").then(day).otherwise("moment").dt.replace_time_zone("UTC")).to_series()


def dates_by_zone(values: pl.Series, zones: pl.Series) -> tuple[pl.Series, pl.Series, list[str]]:
    """As `dates`, with a zone for each value.

    Parameters
    ----------
    values : Series
    zones : Series of str
        Names of zones, or null.

    Returns
    -------
    day, clock : Series
    as_written : list of str
        Zones to which nothing was converted: see `midnights_elsewhere`.
    """
    if values.dtype == pl.Date:
        return *dates(values, None), []
    parts, as_written = [], []
    for (zone,), rows in pl.DataFrame({"value": values, "zone": zones}).with_row_index("number").group_by("zone"):
        assert zone is None or isinstance(zone, str)
        day, clock = dates(rows["value"], zone)
        as_written += [zone] if zone and midnights_elsewhere(rows["value"], zone) else []
        parts.append(rows.select("number").with_columns(day=day, clock=clock))
    read = pl.concat(parts).sort("number") if parts else pl.DataFrame(schema={"day": pl.Date, "clock": pl.Duration})
    return read["day"], read["clock"], sorted(as_written)


def midnights_elsewhere(values: pl.Series, zone: str | None) -> bool:
    """Whether all times are midnights of their own zone, and some fall on another day in `zone`.

    No market closes at midnight: such times are dates that a program wrote as timestamps.

    Parameters
    ----------
    values : Series
    zone : str or None
    """
    if zone is None or values.dtype == pl.Date:
        return False
    written = _moments(values, None)
    midnight = (written == written.dt.truncate("1d")).all()
    there = _moments(values, zone).dt.date()  # null where it lies before the year 1
    return bool(midnight and written.dt.date().ne_missing(there).any())


def of_calendar(values: pl.Series) -> pl.Series:
    """Set dates or datetimes outside the years 1 to 9999 to null: Python and Delta Lake cannot hold them.

    Parameters
    ----------
    values : Series of Date or Datetime
    """
    days = values.to_physical() // _A_DAY[values.dtype.time_unit if isinstance(values.dtype, pl.Datetime) else "days"]
    return values.set(~days.is_between(_FIRST_DAY, _LAST_DAY).fill_null(True), None)


def numbers(values: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Read each value as a number.

    Thousands separators are read where the column shows which they are, decimal commas never: see
    `tidecast.flows.parsing.separators`.

    Parameters
    ----------
    values : Series

    Returns
    -------
    number : Series of Float64
        Null where it cannot be read; never NaN.
    present : Series of Boolean
        As `is_present`.
    """
    if values.dtype.is_numeric() or values.dtype == pl.Null:
        number = values.cast(pl.Float64).fill_nan(None)
        return number, number.is_not_null()
    text, present = as_text(values), is_present(values)
    number = without_separators(text.set(~present, None)).cast(pl.Float64, strict=False)
    return number.fill_nan(None).alias(values.name), present


def is_present(values: pl.Series) -> pl.Series:
    """Whether each value is there, readable or not. Null, NaN and the texts in `MISSING` are not.

    Parameters
    ----------
    values : Series

    Returns
    -------
    Series of Boolean
    """
    if values.dtype.is_float():
        return values.fill_nan(None).is_not_null()
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        return values.is_not_null()
    text = as_text(values)
    return text.is_not_null() & ~text.str.to_lowercase().is_in(MISSING).fill_null(True)


def truths(values: pl.Series) -> pl.Series | None:
    """Read true as 1 and false as 0, a missing value as null; None if the column holds anything else.

    Parameters
    ----------
    values : Series

    Returns
    -------
    Series of Float64 or None
    """
    if values.dtype == pl.Boolean:
        return values.cast(pl.Float64)
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return None
    words, present = as_text(values).str.to_lowercase(), is_present(values)
    if not present.any() or not words.filter(present).is_in(["true", "false"]).all():
        return None
    return (words == "true").cast(pl.Float64).set(~present, None)


def example(values: pl.Series) -> str:
    """Return the first value that is present, in quotes and on one line, for a message.

    Parameters
    ----------
    values : polars.Series
        At least one is present.
    """
    first = values.filter(is_present(values))[0]
    text = str(first.to_list() if isinstance(first, pl.Series) else first)
    return repr(text if len(text) <= 60 else text[:60] + " …")


def finite(values: pl.Series) -> pl.Series:
    """Read each value as Float64; null where it is not a finite number.

    Parameters
    ----------
    values : Series
    """
    number = numbers(values)[0]
    return number.set(~number.is_finite(), None)


def names(values: pl.Series) -> pl.Series:
    """Return each value as text, unchanged because a series id is data. 5.0 becomes "5", blank text null.

    Parameters
    ----------
    values : Series

    Raises
    ------
    SourceError
        The column holds lists, bytes, durations or other values that are not names.
    """
    if values.dtype.is_nested() or values.dtype in _NO_TEXT:
        raise SourceError(
            f"Names must be text or whole numbers, got {values.dtype}. Give another --series-id (or static column)."
        )
    if values.dtype.is_float() and (values.fill_nan(None).drop_nulls() % 1 == 0).all():
        values = values.fill_nan(None).cast(pl.Int64, strict=False)
    text = values.cast(pl.String)
    return text.set((text.str.strip_chars() == "").fill_null(False), None)


def as_text(values: pl.Series) -> pl.Series:
    """Return each value as text, without blanks around it; lists, bytes and durations as Python writes them.

    Parameters
    ----------
    values : Series
    """
    if values.dtype.is_nested() or values.dtype in _NO_TEXT:
        return pl.Series(values.name, [None if value is None else str(value) for value in values], dtype=pl.String)
    return values.cast(pl.String).str.strip_chars()


def _moments(values: pl.Series, zone: str | None) -> pl.Series:
    """Local datetimes: in `zone` if they have their own zone, else as written; null outside the years 1 to 9999."""
    if values.dtype.is_float():  # 20240131.0, in a column with missing values
        values = values.cast(pl.Int64, strict=False).set(values % 1 != 0, None)
    kind = values.dtype
    if not isinstance(kind, pl.Datetime):
        return of_calendar(_moments_of_text(as_text(values), zone))
    values = of_calendar(values)
    if kind.time_zone is not None:
        values = (values.dt.convert_time_zone(zone) if zone else values).dt.replace_time_zone(None)
    return of_calendar(values.cast(pl.Datetime("us")))


def _moments_of_text(text: pl.Series, zone: str | None) -> pl.Series:
    """Local datetimes of text in ISO 8601."""
    read = times_of_text(text)
    if zone is not None:
        utc = (pl.col("moment") - pl.col("ahead")).dt.replace_time_zone("UTC")
        local = utc.dt.convert_time_zone(zone).dt.replace_time_zone(None)
        read = read.with_columns(moment=pl.when(pl.col("ahead").is_null()).then("moment").otherwise(local))
    return read["moment"]
