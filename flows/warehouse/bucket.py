"""Buckets: neighbouring series of a large panel, which one task reads and works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from tidecast.features.segments import blocks_of

BUCKET_ROWS = 1 << 21
"""Least rows of a bucket, about: 2 CPU s of work, to 0.075 for opening the tables and sending a task."""

FEWEST_SERIES = 8
"""Series of a bucket, at least: linear algebra takes other ways, with other last digits, through fewer than 4 rows."""


@dataclass(frozen=True)
class Bucket:
    """Series by name, from `first` to `last`, both included.

    Attributes
    ----------
    first, last : str
    rows : int
        Rows to work on.
    """

    first: str
    last: str
    rows: int


@dataclass(frozen=True)
class TablesReference:
    """The place of tables, which a task carries instead of their rows.

    Attributes
    ----------
    uri : str
        Folder, or address of an object store.
    versions : mapping of str to int
        By table. A table that is not named did not exist.
    options : mapping of str to str, optional
        Credentials and endpoint of the object store.
    """

    uri: str
    versions: Mapping[str, int]
    options: Mapping[str, str] | None = field(default=None, repr=False, kw_only=True)


@dataclass(frozen=True)
class BucketReference(TablesReference):
    """The place of the rows of some series.

    Attributes
    ----------
    columns : tuple of str
        Columns of the whole panel, see `tidecast.flows.warehouse.schema.as_known`: a bucket may have values in fewer.
    bucket : Bucket
    """

    columns: tuple[str, ...]
    bucket: Bucket

    @property
    def series(self) -> pl.Expr:
        """Whether a row's series is in the bucket."""
        return pl.col("series_id").is_between(pl.lit(self.bucket.first), pl.lit(self.bucket.last))


def may_be_several(rows: int) -> bool:
    """Whether a panel of that many rows may be more than one bucket.

    Parameters
    ----------
    rows : int
    """
    return rows >= 2 * BUCKET_ROWS


def in_buckets(series: pl.DataFrame) -> list[Bucket]:
    """Cut series into buckets, in order, which together hold them all.

    A bucket ends where a block of `blocks_of` does, so that a model meets the same blocks in it as in the whole panel:
    the digits of a network's forecast then do not depend on buckets.

    Parameters
    ----------
    series : polars.DataFrame
        ``series_id``, sorted, and ``rows``: of each series, the rows that the work takes; 0 where it takes none.

    Returns
    -------
    list of Bucket
        As many as there are times `BUCKET_ROWS` in the rows, of about the same size; one, if there are fewer.
    """
    taken = series.filter(pl.col("rows") > 0)
    starts = np.append(0, taken["rows"].cum_sum().to_numpy()).astype(np.int64)
    places = np.flatnonzero(series["rows"].to_numpy() > 0)
    number = max(1, starts[-1] // BUCKET_ROWS)
    cuts, first = [0], 0
    for block in blocks_of(starts):
        at = int(np.searchsorted(starts, block.start))
        full = block.start * number >= starts[-1] * len(cuts) > 0 and len(cuts) < number
        if full and at - first >= FEWEST_SERIES and taken.height - at >= FEWEST_SERIES:
            cuts.append(int(places[at]))
            first = at
    ends = [*cuts[1:], series.height]
    return [_bucket(series[begin:end]) for begin, end in zip(cuts, ends, strict=True) if end > begin]


def _bucket(series: pl.DataFrame) -> Bucket:
    return Bucket(series["series_id"][0], series["series_id"][-1], int(series["rows"].sum()))
