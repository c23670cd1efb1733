"""Messages for errors of the operating system: a path that cannot be used, a full disk."""

import errno
import os
import re
import shutil
import sqlite3
from pathlib import Path

LEAST_FREE = 16 * 2**20
"""Bytes that must be free on the disk of a state folder: Prefect's and MLflow's files and the tables of a day."""

SHOWN = 120
"""Most characters of a path in a message."""

_MESSAGES = {
    errno.ENOSPC: f"the disk must have {LEAST_FREE // 2**20} MB of room, but is full. Make room, then run again",
    errno.EDQUOT: "the disk quota must have room, but is used up. Make room, then run again",
    errno.EROFS: "the file system must be writable, but is read-only. Choose another folder",
    errno.EACCES: "you must have permission to read and write there, but do not. Change the permissions or the owner",
    errno.EPERM: "you must have permission to read and write there, but do not. Change the permissions or the owner",
    errno.ENAMETOOLONG: "the path must be short enough for this system, but is too long. Choose a shorter one",
    errno.ELOOP: "the path must exist, but a symbolic link in it leads back to itself. Remove the link",
    errno.EMFILE: "the process must be allowed to open more files. Raise the limit (ulimit -n)",
    errno.EIO: "the disk must be readable and writable, but reports an error. Check it",
}

_SQLITE = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_READONLY": errno.EROFS,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_CANTOPEN": errno.EACCES,
    "SQLITE_PERM": errno.EACCES,
}

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_NO_KEYS = "no credentials found in chain"
_REQUEST = re.compile(r"Error performing [A-Z]+ https?://([^/\s?]+)")
"""A request to an object store; the group is its host."""

_NO_ACCESS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "ExpiredToken")


def message_of(error: OSError) -> str:
    """Return one sentence that begins with the path: what must hold, what was found and what to do.

    Parameters
    ----------
    error : OSError
    """
    known = _MESSAGES.get(error.errno or 0)
    path = shown(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else ""
    if known is None:
        said = " ".join((error.strerror or str(error) or type(error).__name__).split())
        return f"{path}: {said}" if path else said
    return f"{path}: {known}" if path else known[0].upper() + known[1:]


def message_of_store(text: str) -> str | None:
    """Return the sentence for the answer of an object store, which is XML, or for none; None for any other text.

    Parameters
    ----------
    text : str
        The library's message.
    """
    code, said = re.search(r"<Code>(\w+)</Code>", text), re.search(r"<Message>([^<]*)</Message>", text)
    if code is None:
        return _message_without_an_answer(text)
    if code[1] in _NO_BUCKET:
        return "the bucket must exist, but the store has none of that name. Create it, or correct the address"
    if code[1] in _NO_ACCESS:
        return f"the store must accept the keys in the environment, but answers {code[1]}. Set others, or permit these"
    return f"the store must answer, but reports {code[1]}{f' ({said[1].strip()})' if said else ''}"


def _message_without_an_answer(text: str) -> str | None:
    """The sentence for a request that no object store has answered; None for any other text."""
    if _NO_KEYS in text:
        return (
            "the store needs keys, but none were found. Set them in the environment (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or those of your store)"
        )
    if (found := _REQUEST.search(text)) is None:
        return None
    host = found[1].rpartition("@")[2]
    if "URL scheme is not allowed" in text:
        return f"the store at {host} must be asked over https. To allow http, set AWS_ALLOW_HTTP=true"
    if "error sending request" in text or "HTTP error" in text:
        return f"the store at {host} must answer, but no connection could be made. Check its address and the network"
    return None


def message_of_number(text: str) -> str | None:
    """Return the sentence for an error of a library in Rust, which ends in "(os error 13)"; None for any other.

    Parameters
    ----------
    text : str
        The library's message.
    """
    found = re.search(r"\(os error (\d+)\)", text)
    return _MESSAGES.get(int(found[1])) if found else None


def message_of_sqlite(error: sqlite3.Error) -> str | None:
    """Return the sentence for an error of SQLite that the disk or the folder caused; None for any other.

    Parameters
    ----------
    error : sqlite3.Error
    """
    name = getattr(error, "sqlite_errorname", "")
    return next((_MESSAGES[number] for cause, number in _SQLITE.items() if name.startswith(cause)), None)


def require_room(folder: Path) -> None:
    """Refuse to begin what would fail in the middle for want of disk space.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    OSError
        Less than `LEAST_FREE` bytes are free.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if shutil.disk_usage(there).free < LEAST_FREE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


def shown(path: str) -> str:
    """Return a path for a message: a very long one is cut, with its length.

    Parameters
    ----------
    path : str
    """
    return path if len(path) <= SHOWN else f"{path[:SHOWN]}… ({len(path):,} characters)"
