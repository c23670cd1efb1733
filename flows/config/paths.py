"""Addresses of tables: which are folders, and which paths cannot be."""

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tidecast.flows.errors import SettingsError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# deltalake takes these for parts of an address, or decodes them, and fails or writes elsewhere; = marks a partition
_UNUSABLE = re.compile(r"[=\[\]|^\\\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")


def folder_of(uri: str) -> Path | None:
    """Return the absolute folder of a path or a ``file://`` address; None for other addresses.

    Parameters
    ----------
    uri : str
    """
    if uri.startswith("file://"):
        return Path(url2pathname(urlsplit(uri).path))
    return None if _ADDRESS.match(uri) else Path(uri).absolute()


def refuse_unusable(folder: Path) -> None:
    """Refuse a path in which Delta tables cannot be.

    Parameters
    ----------
    folder : Path
        Absolute.

    Raises
    ------
    SettingsError
        The path has ``=``, a square bracket, ``|``, ``^``, a backslash, a control character, or ``%`` before two
        hexadecimal digits.
    """
    if found := _UNUSABLE.search(folder.as_posix()):
        raise SettingsError(
            f"The path of a folder of tables must be without {found[0]!r}, which Delta Lake cannot handle, got "
            f"{str(folder)!r}. Rename the folder, or choose another with --home or TIDECAST_WAREHOUSE."
        )
