"""List the files of a path, folder or pattern, on disk or in an object store, in order of name."""

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from tidecast.features.error_text import meant
from tidecast.flows.config.settings import CALENDARS
from tidecast.flows.errors import SourceError
from tidecast.flows.parsing.formats import CSV, PARQUET, SUFFIXES

OBJECT_STORES = ("s3", "gs", "gcs", "abfs", "abfss")


class File(Protocol):
    """A file that can be read."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def modified(self) -> int:
        """Last modification by its file system: nanoseconds since 1970."""
        ...

    def read(self) -> bytes:
        """Return its contents; raise OSError if it cannot be read."""
        ...


@dataclass(frozen=True)
class LocalFile:
    """A file on disk.

    Attributes
    ----------
    path : Path
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def address(self) -> str:
        return str(self.path)

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def modified(self) -> int:
        return self.path.stat().st_mtime_ns

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read()


@dataclass(frozen=True)
class StoredFile:
    """A file in an object store, with its size and time from the listing.

    Attributes
    ----------
    scheme : str
        Of its address, such as "s3".
    store : object
        The file system of pyarrow.
    path : str
        In the store, without the scheme.
    size : int
        Bytes.
    modified : int
        Nanoseconds since 1970.
    """

    scheme: str
    store: Any
    path: str
    size: int
    modified: int

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def address(self) -> str:
        return f"{self.scheme}://{self.path}"

    def read(self) -> bytes:
        with self.store.open_input_file(self.path) as file:
            return bytes(file.read())


def files_at(address: str, environ: Mapping[str, str] = os.environ, may_be_empty: bool = False) -> list[File]:
    """Return the file at a path, the CSV and Parquet files of a folder, or those that a pattern (``*?[]``) matches.

    Hidden files (their names begin with a dot) count only if the path names them.

    Parameters
    ----------
    address : str
        Path, folder, pattern, or address in an object store.
    environ : mapping
        For an object store: AWS_ENDPOINT_URL and AWS_REGION.
    may_be_empty : bool
        Accept a folder without files.

    Returns
    -------
    list of File
        In order of path.

    Raises
    ------
    SourceError
        There is no file, or one is neither CSV nor Parquet.
    OSError
        The folder or store cannot be read.
    """
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", address)
    found = _in_store(address, scheme[1], environ, may_be_empty) if scheme else _on_disk(Path(address), may_be_empty)
    for file in found:
        if not file.name.lower().endswith(SUFFIXES):
            raise SourceError(
                f"A source must be CSV ({', '.join(CSV)}) or Parquet ({', '.join(PARQUET)}), got {file.name!r}. "
                "Save it in one of these formats."
            )
    return found


def _on_disk(path: Path, may_be_empty: bool) -> list[File]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        return _tables([LocalFile(file) for file in files], str(path), may_be_empty)
    if path.exists():
        return [LocalFile(path)]
    if matches := sorted(glob.glob(str(path), recursive=True)):
        return _tables([LocalFile(Path(match)) for match in matches if Path(match).is_file()], str(path))
    if glob.has_magic(str(path)):
        raise SourceError(f"A pattern must match at least one file, but {path} matches none. Check the path.")
    neighbours = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = (
        meant(path.name, [*CALENDARS, *neighbours]) or " Check the path; a relative one starts at the current folder."
    )
    raise SourceError(f"A source must exist; there is no file {path}.{hint}")


def _in_store(address: str, scheme: str, environ: Mapping[str, str], may_be_empty: bool) -> list[File]:
    from pyarrow.fs import FileSelector, FileType  # slow to load, and only object stores need it

    store, path = _store(address, scheme, environ)
    at_path = store.get_file_info(path)
    kind = at_path.type
    if kind == FileType.File:
        return [_stored(scheme, store, at_path)]
    fixed = re.split(r"[*?\[]", path)[0]
    folder = path if kind == FileType.Directory else fixed.rpartition("/")[0]
    deep = path.removeprefix(folder).strip("/").count("/") > 0
    listed = store.get_file_info(FileSelector(folder, recursive=deep, allow_not_found=True))
    found = sorted((info for info in listed if info.type == FileType.File), key=lambda info: info.path)
    if kind != FileType.Directory:
        found = [info for info in found if _matches(info.path, path)]
    return _tables([_stored(scheme, store, info) for info in found], address, may_be_empty)


def _stored(scheme: str, store: Any, info: Any) -> StoredFile:
    return StoredFile(scheme, store, info.path, int(info.size), int(info.mtime_ns or 0))


def _store(address: str, scheme: str, environ: Mapping[str, str]) -> tuple[Any, str]:
    """The file system of an object store, by AWS_ENDPOINT_URL and AWS_REGION, and the path in it."""
    from pyarrow.fs import FileSystem, S3FileSystem  # slow to load, and only object stores need it

    path = address.split("://", 1)[1].rstrip("/")
    if scheme != "s3":
        bucket = path.split("/")[0]
        return FileSystem.from_uri(f"{scheme}://{bucket}")[0], path
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    protocol, _, host = endpoint.rpartition("://")
    options = {"scheme": protocol, "endpoint_override": host,
               "region": environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")}  # fmt: skip
    return S3FileSystem(**{name: value for name, value in options.items() if value}, connect_timeout=10), path


def _matches(path: str, pattern: str) -> bool:
    """Whether a path matches, part by part: a star does not match a slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _tables(files: list[Any], where: str, may_be_empty: bool = False) -> list[File]:
    tables = [file for file in files if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")]
    if not tables and not may_be_empty:
        raise SourceError(
            f"A source must be CSV ({', '.join(CSV)}) or Parquet ({', '.join(PARQUET)}), but {where} has no such file. "
            "Check the path."
        )
    return tables
