"""Read times from text, in the forms of ISO 8601 that name one day or one instant."""

import polars as pl

_DATE = (
    r"(?:(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})|(?P<year_1>\d{4})/(?P<month_1>\d{2})/(?P<day_1>\d{2})"
    r"|(?P<year_2>\d{4})(?P<month_2>\d{2})(?P<day_2>\d{2})"
    r"|(?P<year_3>\d{4})-(?P<ordinal>\d{3})|(?P<year_4>\d{4})-?W(?P<week>\d{2})-?(?P<weekday>\d))"
)
_CLOCK = (
    r"(?:[Tt]|\s+)(?P<hour>\d{2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2}))?)?(?:[.,](?P<fraction>\d+))?"
    r"\s?(?P<zone>[Zz]|UTC|GMT|(?P<sign>[+\-−])(?P<hours_ahead>\d{2})"
    r"(?::?(?P<minutes_ahead>\d{2})(?::?(?P<seconds_ahead>\d{2}))?)?)?(?:\[[^\]]*\])?"
)
_OF_A_DAY = r"\s?(?:[Zz]|UTC|GMT|[+\-−]\d{2}:?\d{2})"
_TIME = f"^{_DATE}(?:{_CLOCK}|{_OF_A_DAY})?$"

_SECOND = 1_000_000
_MOST_AHEAD = 16
"""Hours; no zone was ever that far from UTC."""


def times_of_text(text: pl.Series) -> pl.DataFrame:
    """Local time of each text, and its distance from UTC.

    Parameters
    ----------
    text : Series of str
        Calendar dates ("2024-12-31", "20241231", "2024/12/31"), ordinal dates ("2024-366") and week dates
        ("2025-W01-2"), alone or with a time of day after "T" or a blank: "17", "17:30", "1730", "17:30:00.25",
        "17:30:00,25". It may be followed by "Z", "UTC", "GMT" or an offset ("+01", "+0100", "+01:00", "+01:00:00").

    Returns
    -------
    polars.DataFrame
        One row per value. ``moment`` (Datetime in microseconds): as written; null where it cannot be read. A leap
        second (60) is the last microsecond of its minute; 24:00 is the midnight after the day. ``ahead`` (Duration):
        local time minus UTC; null where there is no time of day or no zone.
    """
    distinct = text.unique().alias("text").to_frame()
    parts = distinct.with_columns(pl.col("text").str.extract_groups(_TIME).alias("part")).unnest("part")
    read = parts.select("text", moment=_day().cast(pl.Datetime("us")) + _clock(), ahead=_ahead())
    impossible = pl.col("ahead").is_null() & (parts["sign"].is_not_null())
    read = read.with_columns(moment=pl.when(~impossible).then("moment"))
    return text.alias("text").to_frame().join(read, on="text", how="left", maintain_order="left").drop("text")


def _number(*parts: str) -> pl.Expr:
    return pl.coalesce(parts).cast(pl.Int64)


def _date(year: pl.Expr, month: pl.Expr | str, day: pl.Expr | str) -> pl.Expr:
    """The day; null if it does not exist."""
    ends = [pl.lit(end) if isinstance(end, str) else end for end in (month, day)]
    return pl.format("{}-{}-{}", year, *ends).str.to_date("%Y-%m-%d", strict=False)


def _day() -> pl.Expr:
    calendar = _date(*(pl.coalesce(name, f"{name}_1", f"{name}_2") for name in ("year", "month", "day")))
    begin = _date(pl.col("year_3"), "01", "01")
    ordinal = begin + pl.duration(days=_number("ordinal") - 1)
    fourth = _date(pl.col("year_4"), "01", "04")  # of January: always in the first week
    days = (_number("week") - 1) * 7 + _number("weekday") - fourth.dt.weekday()
    in_week = fourth + pl.duration(days=days)
    weekday, week = _number("weekday"), _number("week")
    return pl.coalesce(
        calendar,
        pl.when(ordinal.dt.year() == begin.dt.year()).then(ordinal),
        pl.when(weekday.is_between(1, 7), week >= 1, in_week.dt.iso_year() == fourth.dt.year()).then(in_week),
    )


def _clock() -> pl.Expr:
    """Time of day as a duration; zero if the text has none, null if it does not exist."""
    hour, minute, second = (_number(part).fill_null(0) for part in ("hour", "minute", "second"))
    unit = pl.when(pl.col("second").is_not_null()).then(1).when(pl.col("minute").is_not_null()).then(60).otherwise(3600)
    billionths = pl.col("fraction").str.slice(0, 9).str.pad_end(9, "0").cast(pl.Int64).fill_null(0)
    beyond = billionths * unit // 1000
    leap = second == 60
    micros = (hour * 3600 + minute * 60 + second) * _SECOND + beyond
    micros = pl.when(leap).then((hour * 3600 + minute * 60 + 60) * _SECOND - 1).otherwise(micros)
    possible = (hour <= 23) | ((hour == 24) & (micros == 24 * 3600 * _SECOND))
    return pl.when(possible, minute <= 59, second <= 60).then(pl.duration(microseconds=micros))


def _ahead() -> pl.Expr:
    """Local time minus UTC; null if the text has no zone or an impossible one."""
    hours, minutes, seconds = (_number(f"{part}_ahead").fill_null(0) for part in ("hours", "minutes", "seconds"))
    total = hours * 3600 + minutes * 60 + seconds
    signed = pl.when(pl.col("sign") == "+").then(total).otherwise(-total)
    possible = pl.col("zone").is_not_null() & (hours < _MOST_AHEAD) & (minutes <= 59) & (seconds <= 59)
    return pl.when(possible).then(pl.duration(seconds=signed))
