"""Checksums of data files, next to the files: Parquet has none that our writer fills, so flipped bits read as prices.

Every file has a checksum of its own, written whole or not at all, so that writers at the same time cannot harm each
other's. Delta Lake ignores folders that begin with an underscore.
"""

import contextlib
import hashlib
import os
from collections.abc import Collection
from pathlib import Path

FOLDER = "_checksums"


def seal(table: Path, files: Collection[str]) -> None:
    """Write the checksum of each file that has none yet.

    A checksum that cannot be written, because the disk is full or the process is killed, is written after the next
    commit: the rows are stored all the same.

    Parameters
    ----------
    table : Path
        Folder of the table.
    files : collection of str
        Paths of data files in it.
    """
    folder = table / FOLDER
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
        known = {path.name for path in folder.iterdir()}
        for file in files:
            if _name(file) not in known:
                unfinished = folder / f".{_name(file)}.{os.getpid()}"
                unfinished.write_text(_digest(table / file))
                unfinished.replace(folder / _name(file))


def is_altered(table: Path, file: str) -> bool:
    """Whether a data file has other bytes than when its checksum was written; False without a checksum.

    Parameters
    ----------
    table : Path
        Folder of the table.
    file : str
        Path of the data file in it.
    """
    try:
        return (table / FOLDER / _name(file)).read_text() != _digest(table / file)
    except FileNotFoundError:
        return False


def forget_removed(table: Path) -> None:
    """Remove the checksums of data files that are no longer there.

    Parameters
    ----------
    table : Path
        Folder of the table.
    """
    there = {_name(str(path.relative_to(table))) for path in table.rglob("*.parquet")}
    with contextlib.suppress(OSError):
        for path in (table / FOLDER).iterdir():
            if path.name not in there:
                path.unlink()


def _name(file: str) -> str:
    return file.replace("/", "~") + ".sha256"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
