"""Prices in CSV or Parquet files: one, those of a folder or of a pattern, on disk or in an object store."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

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
        `source`: a path, folder or pattern; what the columns are called, and the layout. CSV: UTF-8; comma, semicolon,
        tab or bar between values, decimal points; ".csv.gz" too.
    environ : mapping
        Where ``${VAR}`` in the path is looked up.
    """

    settings: Settings
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.settings.source

    def fetch(self, since: date | None = None) -> Fetched:
        """All of their rows, whatever `since` is: a file is read whole.

        Raises
        ------
        SourceError
            A file is missing, not readable, empty, of another type or broken, a column is missing, or files differ in
            layout.
        """
        try:
            files = files_at(expand(self.name.removeprefix(DROP), self.environ), self.environ)
            return replace(together([fetched_from(file, self.settings) for file in files]), whole=True)
        except OSError as error:
            why = error.strerror or " ".join(str(error).split()) or type(error).__name__
            raise SourceError(
                f"{self.name} must be readable, opening it gave: {why}. Check its permissions."
            ) from error


def fetched_from(file: File, settings: Settings) -> Fetched:
    """The rows of one file."""
    return to_long(table_of(file.read(), file.name), settings, file.name)


def together(parts: list[Fetched]) -> Fetched:
    """The rows of several files as one."""
    if len(parts) == 1:
        return parts[0]
    layouts = {part.layout for part in parts}
    if len(layouts) > 1:
        raise SourceError("All files of a source must be alike, found long and wide ones. Give them one by one.")
    told = [part.messages[0] for part in parts if part.messages]
    more = f" {len(told) - 1} more files likewise." if len(told) > 1 else ""
    raws = [part.raw for part in parts if part.raw is not None]
    return Fetched(
        stacked([part.rows for part in parts]),
        stacked(raws),
        layouts.pop(),
        (f"{len(parts)} files are read.", *(told[0] + more for _ in told[:1])),
    )
