"""Faults of the operating system, in words: a path that may not be used, a disk that is full."""

import errno
import os

SHOWN = 120
"""Characters of a path that are shown."""

_WORDS = {
    errno.ENOSPC: "the disk must have room, but is full. Make room, then run again",
    errno.EDQUOT: "the disk quota must have room, but is used up. Make room, then run again",
    errno.EROFS: "the file system must be writable, but is read-only. Choose another place",
    errno.EACCES: "you must have permission to read and write there, but have not. Change the permissions or the owner",
    errno.EPERM: "you must have permission to read and write there, but have not. Change the permissions or the owner",
    errno.ENAMETOOLONG: "the path must be short enough for this system, but is too long. Choose a shorter one",
    errno.ELOOP: "the path must lead somewhere, but a symbolic link in it leads back to itself. Remove the link",
    errno.EMFILE: "the process must be allowed to open more files. Raise the limit (ulimit -n)",
    errno.EIO: "the disk must be readable and writable, but reports a fault. Check it",
}


def in_words(error: OSError) -> str:
    """Return what must hold, what was found and what to do, in one sentence that begins with the path."""
    words = _WORDS.get(error.errno or 0)
    place = shown(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else ""
    if words is None:
        said = " ".join((error.strerror or str(error) or type(error).__name__).split())
        return f"{place}: {said}" if place else said
    return f"{place}: {words}" if place else words[0].upper() + words[1:]


def shown(path: str) -> str:
    """Return a path as it is shown: a very long one is cut, and its length is said."""
    return path if len(path) <= SHOWN else f"{path[:SHOWN]}… ({len(path):,} characters)"
