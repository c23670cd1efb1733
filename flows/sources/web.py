"""Prices from a web address: CSV, JSON or Parquet, also packed. Only transient errors are retried."""

import gzip
import io
import json
import logging
import re
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import httpx
import polars as pl

from tidecast.features.error_text import counted, ended
from tidecast.flows.config.secrets import expand
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.io.retrying import retried
from tidecast.flows.parsing.fetched import Fetched
from tidecast.flows.parsing.formats import SUFFIXES, table_of
from tidecast.flows.parsing.frames import frame_of
from tidecast.flows.parsing.layout import to_long
from tidecast.flows.redaction import beginning

LARGEST = 1_000_000_000
"""Most bytes of a body, unpacked."""

PAUSE = 1.0
"""Seconds between two requests to one host."""

ECB = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip"
"""All euro reference rates since 1999: a zip with one CSV, a column per currency, "N/A" where a rate is missing."""

_EARLIEST = date(1900, 1, 1)
_last_asked: dict[str, float] = {}


class _Transient(Exception):
    """A transient fault of a server; `after`: seconds to wait, if the server gave a number."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


@dataclass(frozen=True)
class WebSource:
    """A table behind an ``http://`` or ``https://`` address.

    Parameters
    ----------
    settings : Settings
        `source`: the address, in which ``{since}`` stands for the first day (1900-01-01 for all); names of columns.
    environ : mapping
        Where ``${VAR}`` in the address is looked up.
    """

    settings: Settings
    environ: Mapping[str, str]

    @property
    def name(self) -> str:
        return self.settings.source

    def fetch(self, since: date | None = None) -> Fetched:
        """Return its rows: those from `since` on if the address contains ``{since}``, else all.

        Parameters
        ----------
        since : date or None

        Raises
        ------
        SourceError
            It does not answer, or answers with an error, a web page, no table, no rows or too many bytes.
        """
        frame = self.table(since)
        return replace(to_long(frame, self.settings, self._label), whole="{since}" not in self.name)

    def table(self, since: date | None = None) -> pl.DataFrame:
        """Return its columns as they are written; rows and errors as of `fetch`.

        Parameters
        ----------
        since : date or None
        """
        address = expand(self.name, self.environ).replace("{since}", (since or _EARLIEST).isoformat())
        try:
            return retried(lambda: self._read(address), self.name, _is_transient, _wait_of)
        except (httpx.HTTPError, httpx.InvalidURL, _Transient) as error:
            why = " ".join(str(error).replace(address, self.name).split()) or type(error).__name__
            raise SourceError(f"{self.name} must answer with a table, got: {ended(why)} Check the address.") from None

    @property
    def _label(self) -> str:
        parts = urlsplit(self.name)
        return PurePosixPath(parts.path).name or parts.netloc.rpartition("@")[2]

    def _read(self, address: str) -> pl.DataFrame:
        body, kind = _download(address, self.name)
        return _table(body, kind, self._label, self.name)


def ecb_settings(settings: Settings) -> Settings:
    """Return the settings for the ECB's file.

    Parameters
    ----------
    settings : Settings
    """
    return settings.model_copy(update={"source": ECB, "time": "Date", "layout": "wide"})


def _download(address: str, name: str) -> tuple[bytes, str]:
    """Body and content type."""
    host = urlsplit(address).netloc
    time.sleep(max(0.0, _last_asked.get(host, 0.0) + PAUSE - time.monotonic()))
    _last_asked[host] = time.monotonic()
    timeout = httpx.Timeout(60.0, connect=10.0)
    with _silent(), httpx.stream("GET", address, timeout=timeout, follow_redirects=True) as answer:
        _refuse(answer, name)
        parts, size = [], 0
        for part in answer.iter_bytes():
            size += len(part)
            if size > LARGEST:
                raise SourceError(
                    f"{name} must have at most {LARGEST:,} bytes, found more. Ask for less, see {{since}}."
                )
            parts.append(part)
    return b"".join(parts), answer.headers.get("content-type", "")


def _refuse(answer: httpx.Response, name: str) -> None:
    """Raise `_Transient` for a transient error, `SourceError` for any other."""
    status = answer.status_code
    what = f"{status} {answer.reason_phrase}".strip()
    if status in (408, 425, 429) or status >= 500:
        raise _Transient(what, _seconds(answer.headers.get("retry-after", "")))
    if status != 200:
        advice = "Check the address." if status not in (401, 403) else "Check the key or password in the address."
        raise SourceError(f"{name} must answer with a table, got: {ended(what)} {advice}")


def _seconds(retry_after: str) -> float:
    """Seconds to wait by Retry-After, which is a number or a time."""
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment.tzinfo else 0.0


def _is_transient(error: Exception) -> bool:
    if isinstance(error, httpx.ConnectError):
        return not re.search("certificate|not known|no address|nodename", str(error), re.I)
    return isinstance(error, _Transient | httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError)


def _wait_of(error: Exception) -> float:
    return error.after if isinstance(error, _Transient) else 0.0


def _table(body: bytes, kind: str, label: str, name: str) -> pl.DataFrame:
    """The table in a body, unpacked. Its first bytes give the format."""
    start = body[:512].lstrip(b"\xef\xbb\xbf \r\n\t")
    if not start:
        raise SourceError(f"{name} must answer with a table, got nothing. Check the address.")
    if start.startswith(b"PK\x03\x04"):
        return _table(_unzipped(body, name), "", label, name)
    if start.startswith(b"\x1f\x8b"):
        return _table(_unpacked(body, name), "", label, name)
    if start.startswith(b"<") or "html" in kind:
        begins = beginning(start.decode(errors="replace"), 40)
        raise SourceError(
            f"{name} must answer with CSV or JSON, got a page ({kind or 'HTML'}) that begins {begins!r}. "
            "Check the address, and whether it needs a login."
        )
    if start[:1] in (b"[", b"{"):
        return _from_json(body, name)
    stem = re.sub(rf"({'|'.join(map(re.escape, SUFFIXES))}|\.zip|\.gz)$", "", label)
    return table_of(body, f"{stem}{'.parquet' if start.startswith(b'PAR1') else '.csv'}", "its beginning")


def _unzipped(body: bytes, name: str) -> bytes:
    try:
        archive = zipfile.ZipFile(io.BytesIO(body))
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1 or members[0].file_size > LARGEST:
            raise SourceError(
                f"{name} must be a zip with one table of at most {LARGEST:,} bytes, found "
                f"{counted(len(members), 'file')} in it."
            )
        return archive.read(members[0])
    except (zipfile.BadZipFile, EOFError) as error:
        raise _Transient(f"a zip that is cut off or broken ({error})") from None


def _unpacked(body: bytes, name: str) -> bytes:
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(body)).read(LARGEST + 1)
    except (EOFError, OSError) as error:
        raise _Transient(f"a gzip that is cut off or broken ({error})") from None
    if len(unpacked) > LARGEST:
        raise SourceError(f"{name} must have at most {LARGEST:,} bytes, found more. Ask for less, see {{since}}.")
    return unpacked


def _from_json(body: bytes, name: str) -> pl.DataFrame:
    """The table in a list of objects or an object of equally long lists; either may lie one level down."""
    try:
        data = json.loads(body)
    except json.JSONDecodeError as error:
        if error.pos >= len(body.decode(errors="replace").rstrip()) - 1 or "Unterminated" in error.msg:
            raise _Transient("JSON that is cut off") from None
        raise SourceError(f"{name} must answer with JSON, got something else ({error}). Check the address.") from None
    inner = list(data.values()) if isinstance(data, dict) else []
    for found in (data, *inner):
        if (frame := _records_or_columns(found)) is not None:
            if frame.is_empty():
                raise SourceError(f"{name} must have at least one row, got none.")
            return frame
    raise SourceError(
        f"{name} must be a JSON list of objects or an object of lists, got neither. Use CSV or another address."
    )


def _records_or_columns(data: Any) -> pl.DataFrame | None:
    if isinstance(data, list) and all(isinstance(record, dict) for record in data):
        names = list(dict.fromkeys(name for record in data for name in record))
        return frame_of(names, ([record.get(name) for record in data] for name in names))
    columns = list(data.values()) if isinstance(data, dict) else []
    is_columns = columns and all(isinstance(column, list) for column in columns)
    if is_columns and len({len(column) for column in columns}) == 1 and not _nested(columns):
        return frame_of(list(data), columns)
    return None


def _nested(columns: list[list[Any]]) -> bool:
    return any(isinstance(value, dict | list) for column in columns for value in column[:1])


@contextmanager
def _silent() -> Iterator[None]:
    """Silence httpx, which logs each address with secrets in it."""
    logger = logging.getLogger("httpx")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
