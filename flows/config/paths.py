"""Folders that tables lie in: which address is one, and which path cannot be."""

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tidecast.flows.errors import SettingsError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# what deltalake takes for part of an address, or decodes: it then fails or writes somewhere else; = is a partition's
_UNUSABLE = re.compile(r"[=\[\]|^\\\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")


def folder_of(uri: str) -> Path | None:
    """The absolute folder that a path or a ``file://`` address means; None for an address of another kind."""
    if uri.startswith("file://"):
        return Path(url2pathname(urlsplit(uri).path))
    return None if _ADDRESS.match(uri) else Path(uri).absolute()


def refuse_unusable(folder: Path) -> None:
    """Refuse a path that no Delta table can lie in.

    Raises
    ------
    SettingsError
        It holds ``=``, a square bracket, ``|``, ``^``, a backslash, a control character, or ``%`` and two hexadecimal
        digits.
    """
    if found := _UNUSABLE.search(folder.as_posix()):
        raise SettingsError(
            f"The path of a folder of tables must be without {found[0]!r}, which Delta Lake cannot have in it, got "
            f"{str(folder)!r}. Rename the folder, or choose another with --home or TIDECAST_WAREHOUSE."
        )
