"""Prices in CSV or Parquet files: one file, a folder or a pattern, on disk or in an object store."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from tidecast.features.error_text import counted, ended
from tidecast.flows.config.secrets import expand
from tidecast.flows.config.settings import DROP, Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.fetched import Fetched
from tidecast.flows.parsing.formats import PARQUET, table_of
from tidecast.flows.parsing.frames import stacked
from tidecast.flows.parsing.layout import to_long
from tidecast.flows.parsing.newest_rows import day_before, newest_rows, newest_rows_of_parquet
from tidecast.flows.sources.file_listing import File, LocalFile, files_at

LARGE = 4_000_000
"""Bytes from which on a source's files are read from the first day needed on. Smaller ones are read whole, so that a
correction of any age is found."""


@dataclass(frozen=True)
class FileSource:
    """Files, all long (a row per series and session), all wide (a column per series), or each of one series.

    Parameters
    ----------
    settings : Settings
        `source`: a path, folder or pattern; names of columns; layout. CSV must be UTF-8, with comma, semicolon, tab or
        bar between values and decimal points; ".csv.gz" works too.
    environ : mapping
        Where ``${VAR}`` in the path is looked up.
    """

    settings: Settings
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.settings.source.removeprefix(DROP)

    def fetch(self, since: date | None = None) -> Fetched:
        """Return all rows; of files that together are `LARGE`, those from a day on.

        Parameters
        ----------
        since : date, optional
            The first day needed. None: all rows.

        Raises
        ------
        SourceError
            A file is missing, unreadable, empty, broken or of another format, a column is missing, or files differ in
            layout.
        """
        try:
            files = files_at(expand(self.name, self.environ), self.environ)
            is_delivery = self.settings.source.startswith(DROP)  # it is read once, whatever days it holds
            first = since if not is_delivery and sum(file.size for file in files) > LARGE else None
            parts = [fetched_from(file, self.settings, first) for file in files]
            if all(part.whole for part in parts):
                return replace(combined(parts), whole=True)
            found = combined(parts)
            note = f"{self.name} is large: only its rows from {first} on are read (reread_sessions sets how far back)."
            return replace(found, messages=(*found.messages, note))
        except OSError as error:
            raise _unreadable(self.name, error) from error

    def table(self) -> pl.DataFrame:
        """Return the columns of all files as they are written.

        Raises
        ------
        SourceError
            As `fetch`.
        """
        try:
            files = files_at(expand(self.name, self.environ), self.environ)
            return stacked([table_of(file.read(), file.name) for file in files])
        except OSError as error:
            raise _unreadable(self.name, error) from error


def _unreadable(name: str, error: OSError) -> SourceError:
    why = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return SourceError(f"{name} must be readable, but opening it gave: {ended(why)} Check its permissions.")


def fetched_from(file: File, settings: Settings, since: date | None = None) -> Fetched:
    """Return the rows of one file.

    Parameters
    ----------
    file : File
    settings : Settings
    since : date, optional
        Rows of earlier days are left out where their days are certain; then `whole` is False. None: all rows.

    Raises
    ------
    SourceError
        It is empty, broken or of another format, or a column is missing.
    """
    is_parquet, newest = file.name.lower().endswith(PARQUET), None
    if since is not None and is_parquet:
        place = file.path if isinstance(file, LocalFile) else file.read()
        newest = newest_rows_of_parquet(place, settings, day_before(since))
    if newest is None:
        frame = table_of(file.read(), file.name)
        if since is not None and not is_parquet:
            newest = newest_rows(frame, settings, day_before(since))
        if newest is None:
            return replace(to_long(frame, settings, file.name), whole=True)
    return to_long(newest, settings, file.name)


def combined(parts: list[Fetched]) -> Fetched:
    """Combine the rows of several files, all long or all wide.

    Parameters
    ----------
    parts : list of Fetched

    Raises
    ------
    SourceError
        Some are long and some are wide.
    """
    if len(parts) == 1:
        return parts[0]
    layouts = {part.layout for part in parts}
    if len(layouts) > 1:
        raise SourceError(
            "All files of a source must have one layout, found long and wide ones. Make a panel of each kind."
        )
    notes = [part.messages[0] for part in parts if part.messages]
    more = f" {counted(len(notes) - 1, 'more file')} likewise." if len(notes) > 1 else ""
    raws = [part.raw for part in parts if part.raw is not None]
    return Fetched(
        stacked([part.rows for part in parts]),
        stacked(raws),
        layouts.pop(),
        (f"{counted(len(parts), 'file is', 'files are')} read.", *(note + more for note in notes[:1])),
    )
