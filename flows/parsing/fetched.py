"""Rows of a source as they come, and the columns they may have."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from tidecast.features.error_text import counted, shorten
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.frames import as_polars, stacked
from tidecast.flows.parsing.values import of_calendar

NEEDED = ("series_id", "time", "close")
SPLIT_IN_DOUBT = "split_in_doubt"
"""Boolean column of a source that undoes restatements: it found none for a split here and kept the quoted price."""

OPTIONAL = (
    "open", "high", "low", "volume", "known_at", "calendar", "dividend", "split_ratio", "adj_close", SPLIT_IN_DOUBT,
)  # fmt: skip
"""Optional columns. `known_at`: when the source knew the value; `calendar`: the series' sessions; `adj_close`: for the
rules, never stored."""

_OTHER_SPELLINGS = {
    "dividends": "dividend", "stock splits": "split_ratio", "stock_splits": "split_ratio", "adj close": "adj_close",
}  # fmt: skip


@dataclass(frozen=True)
class Fetched:
    """Rows of a source as they come: nothing is parsed, dropped or sorted yet.

    Parameters
    ----------
    rows : polars.DataFrame
        One row per price, in the source's own types: `NEEDED`, and any of `OPTIONAL`; upper and lower case are the
        same. Other columns are ignored. A pandas frame is converted.
    raw : polars.DataFrame, optional
        The same rows with all columns under the source's own names, as quarantine stores them. None: `rows`.
    layout : {"long", "wide"}
        How the source was read.
    messages : tuple of str
        Messages for the user on how it was read.
    whole : bool
        Whether these are all rows of the source, whatever `since` was.

    Raises
    ------
    SourceError
        A needed column is missing, `raw` has another number of rows, or either is not a data frame.
    """

    rows: pl.DataFrame
    raw: pl.DataFrame | None = None
    layout: str = "long"
    messages: tuple[str, ...] = ()
    whole: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", as_polars(self.rows))
        object.__setattr__(self, "raw", None if self.raw is None else as_polars(self.raw))
        if missing := [name for name in NEEDED if name not in self.rows.columns]:
            raise SourceError(
                f"A source's rows must have the columns {', '.join(NEEDED)}, found {shorten(self.rows.columns, 12)}. "
                f"Name one {missing[0]!r}."
            )
        if self.raw is not None and self.raw.height != self.rows.height:
            raise SourceError(
                f"raw must be the source's rows under its own names, found {self.raw.height:,} of them for "
                f"{counted(self.rows.height, 'row')}. Leave it out if they are the same."
            )
        found = optional_columns(name for name in self.rows.columns if name not in NEEDED)
        rows = pl.DataFrame(
            [*(self.rows[name] for name in NEEDED), *(self.rows[own].alias(name) for name, own in found.items())],
            orient="col",
        )
        object.__setattr__(self, "raw", self.rows if self.raw is None else self.raw)
        object.__setattr__(self, "rows", rows)

    def where(self, keep: pl.Series) -> "Fetched":
        """Return the rows where a mask is true.

        Parameters
        ----------
        keep : polars.Series of Boolean
        """
        assert self.raw is not None
        return replace(self, rows=self.rows.filter(keep), raw=self.raw.filter(keep))

    def followed_by(self, other: "Fetched") -> "Fetched":
        """Return these rows with those of another source below them.

        Parameters
        ----------
        other : Fetched
        """
        assert self.raw is not None
        assert other.raw is not None
        return replace(self, rows=stacked([self.rows, other.rows]), raw=stacked([self.raw, other.raw]))

    def originals(self, rows: Sequence[int] | pl.Series) -> list[str]:
        """Return raw rows as JSON text, each value as its text or null.

        Parameters
        ----------
        rows : sequence of int or polars.Series
            Numbers of the rows.
        """
        assert self.raw is not None
        return rows_as_json(self.raw[rows])


def rows_as_json(rows: pl.DataFrame) -> list[str]:
    """Return rows as JSON text, each value as its text or null: so quarantine stores them.

    Parameters
    ----------
    rows : polars.DataFrame
    """
    return [
        json.dumps({name: None if value is None else str(value) for name, value in row.items()}, ensure_ascii=False)
        for row in _without_impossible_days(rows).to_dicts()
    ]


def _without_impossible_days(rows: pl.DataFrame) -> pl.DataFrame:
    """Write days that Python cannot hold as text, counted from 1970-01-01 in the unit they came in."""
    columns = []
    for values in rows.select(pl.selectors.date() | pl.selectors.datetime()):
        possible = of_calendar(values)
        if possible.null_count() > values.null_count():
            unit = possible.dtype.time_unit if isinstance(possible.dtype, pl.Datetime) else "days"
            pairs = zip(possible.to_list(), values.to_physical().to_list(), strict=True)
            texts = [f"{n} {unit} since 1970-01-01" if day is None and n is not None else day for day, n in pairs]
            columns.append(pl.Series(values.name, [None if t is None else str(t) for t in texts], dtype=pl.String))
    return rows.with_columns(columns)


def optional_columns(columns: Iterable[str]) -> dict[str, str]:
    """Find the `OPTIONAL` columns among a source's columns.

    Parameters
    ----------
    columns : iterable of str
        The source's names, in any case.

    Returns
    -------
    dict of str to str
        Our name → the source's.

    Raises
    ------
    SourceError
        Two columns have the same meaning.
    """
    found: dict[str, str] = {}
    for own in columns:
        lower = own.strip().lower()
        name = _OTHER_SPELLINGS.get(lower, lower)
        if name in OPTIONAL and found.setdefault(name, own) != own:
            raise SourceError(
                f"A source must have one column for each value, but {found[name]!r} and {own!r} both mean {name}. "
                "Rename one, by a view or a query."
            )
    return found
