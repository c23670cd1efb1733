"""Prices in CSV or Parquet files: one file, a folder or a pattern, on disk or in an object store."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from tidecast.features.error_text import ended
from tidecast.flows.config.secrets import expand
from tidecast.flows.config.settings import DROP, Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.fetched import Fetched
from tidecast.flows.parsing.formats import table_of
from tidecast.flows.parsing.frames import stacked
from tidecast.flows.parsing.layout import to_long
from tidecast.flows.sources.file_listing import File, files_at


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
        return self.settings.source

    def fetch(self, since: date | None = None) -> Fetched:
        """Return all rows, whatever `since` is: files are read whole.

        Raises
        ------
        SourceError
            A file is missing, unreadable, empty, broken or of another format, a column is missing, or files differ in
            layout.
        """
        try:
            files = files_at(expand(self.name.removeprefix(DROP), self.environ), self.environ)
            return replace(combined([fetched_from(file, self.settings) for file in files]), whole=True)
        except OSError as error:
            why = error.strerror or " ".join(str(error).split()) or type(error).__name__
            raise SourceError(
                f"{self.name} must be readable, but opening it gave: {ended(why)} Check its permissions."
            ) from error


def fetched_from(file: File, settings: Settings) -> Fetched:
    """Return the rows of one file.

    Parameters
    ----------
    file : File
    settings : Settings

    Raises
    ------
    SourceError
        It is empty, broken or of another format, or a column is missing.
    """
    return to_long(table_of(file.read(), file.name), settings, file.name)


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
    more = f" {len(notes) - 1} more files likewise." if len(notes) > 1 else ""
    raws = [part.raw for part in parts if part.raw is not None]
    return Fetched(
        stacked([part.rows for part in parts]),
        stacked(raws),
        layouts.pop(),
        (f"{len(parts)} files are read.", *(note + more for note in notes[:1])),
    )
