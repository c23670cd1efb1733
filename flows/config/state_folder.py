"""The state folder: one folder holds one panel, its tables, models and reports; a lock lets one run in at a time."""

import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tidecast.flows.config.paths import refuse_unusable
from tidecast.flows.errors import Busy, SettingsError
from tidecast.flows.os_errors import in_words, shown

NAME = ".tidecast"

LONGEST = 440
"""Bytes of the path of a state folder: SQLite opens paths of up to 512, and its files need some of them."""


@dataclass(frozen=True)
class StateFolder:
    """Where everything of one panel lies. Nothing is written before :meth:`make`.

    Parameters
    ----------
    path : Path
        The folder, absolute.
    created : bool
        True when the folder was not there and is to be made.
    """

    path: Path
    created: bool = False

    @property
    def warehouse_uri(self) -> str:
        return str(self.path / "warehouse")

    @property
    def mlflow_db(self) -> Path:
        return self.path / "mlflow.db"

    @property
    def mlartifacts(self) -> Path:
        return self.path / "mlartifacts"

    @property
    def prefect(self) -> Path:
        return self.path / "prefect"

    @property
    def unsent(self) -> Path:
        """Trainings that wait to be logged."""
        return self.path / "unsent"

    @property
    def tuning(self) -> "StateFolder":
        """Where studies lie, with a lock of their own: the day goes on beside a search."""
        return StateFolder(self.path / "tuning")

    @property
    def reports(self) -> Path:
        return self.path / "reports"

    @property
    def panel_file(self) -> Path:
        return self.path / "panel.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    def make(self) -> "StateFolder":
        """Make the folder, with a .gitignore of its own, if it is not there yet."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise _not_writable(self, error) from error
        return self


def find_state_folder(given: str | None, environ: Mapping[str, str], cwd: Path) -> StateFolder:
    """The state folder: as given, else ``TIDECAST_HOME``, else the nearest ``.tidecast`` upwards, else a new one here.

    Parameters
    ----------
    given : str or None
        The value of ``--home``.
    environ : mapping
        The environment variables.
    cwd : Path
        The folder the command was called in.

    Raises
    ------
    SettingsError
        The place is taken by something that is not a folder, or no table can lie there.
    """
    cwd = cwd.absolute()
    wanted = given or environ.get("TIDECAST_HOME")
    try:
        if wanted:
            path = Path(os.path.normpath(cwd / Path(wanted).expanduser()))
        else:
            path = next((up / NAME for up in (cwd, *cwd.parents) if os.path.isdir(up / NAME)), cwd / NAME)
        _refuse_too_long(path)
        is_there = _is_there(path)
        if is_there and not stat.S_ISDIR(path.stat().st_mode):
            raise SettingsError(f"The state folder must be a folder, but {path} is a file. Choose another with --home.")
    except (OSError, RuntimeError) as error:  # RuntimeError: the user of ~user is not known
        raise SettingsError(f"No folder there: {_words(error)}, or another --home.") from None
    except ValueError as error:
        raise SettingsError(f"--home must be the path of a folder, got {wanted!r}: {error}.") from None
    if is_there and not os.access(path, os.R_OK | os.X_OK):
        raise SettingsError(
            f"The state folder {path} must be readable, but permission is denied. Change its permissions or its owner, "
            "or choose another with --home."
        )
    refuse_unusable(path)
    return StateFolder(path, created=not is_there)


def _is_there(path: Path) -> bool:
    """Whether anything is at that path, a symbolic link that leads nowhere included. Other faults are raised."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _refuse_too_long(path: Path) -> None:
    """Refuse a path in which SQLite, and so MLflow, opens no file."""
    if (count := len(os.fsencode(path))) > LONGEST:
        raise SettingsError(
            f"The path of a state folder must have at most {LONGEST} bytes, because SQLite opens no longer ones, got "
            f"{count:,}: {shown(str(path))}. Choose a shorter one with --home."
        )


def _words(error: Exception) -> str:
    return in_words(error) if isinstance(error, OSError) else str(error)


@contextmanager
def hold(home: StateFolder, what: str) -> Iterator[None]:
    """Hold the state folder, alone, while the block runs.

    The lock is the operating system's: the kernel releases it when the process ends, however it ends. Who holds it is
    written beside it for the message only, and decides nothing: after a kill that note is stale and the lock is free.

    Parameters
    ----------
    home : StateFolder
        The state folder.
    what : str
        What the holder does, for the second one to read: "tidecast run".

    Raises
    ------
    Busy
        Another run holds the folder; the message names its process, what it does and since when.
    SettingsError
        The folder may not be written to.
    """
    home.make()
    note = home.path / "lock.json"
    lock = FileLock(home.lock_file, timeout=0)
    since = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "what": what, "since": since}
    try:
        lock.acquire()
        note.write_text(json.dumps(holder))
    except Timeout:
        raise Busy(_who_holds(home, note)) from None
    except OSError as error:
        lock.release()
        raise _not_writable(home, error) from error
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _not_writable(home: StateFolder, error: OSError) -> SettingsError:
    return SettingsError(
        f"The state folder {home.path} must be writable: {error.strerror}. Choose another with --home."
    )


def _who_holds(home: StateFolder, note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        who = f"{holder['what']}, process {holder['pid']} on {holder['host']}, since {holder['since']}"
        here = holder["host"] == socket.gethostname()
    except (OSError, ValueError, KeyError):
        who, here = "", False
    if not who or (here and not _alive(holder["pid"])):  # the holder has only just taken the lock; its note comes next
        who = "one that has just started"
    return f"One run at a time on {home.path}: it is held by {who}. Wait for it to end, then run again."


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
