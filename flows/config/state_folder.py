"""The state folder: the tables, models and reports of one panel, and the lock that admits one run at a time."""

import json
import os
import socket
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tidecast.features.error_text import ended
from tidecast.flows.config.paths import refuse_unusable
from tidecast.flows.errors import Busy, SettingsError
from tidecast.flows.os_errors import message_of, shown

NAME = ".tidecast"

LONGEST = 440
"""Most bytes in the path of a state folder: SQLite opens paths of up to 512, and its files need some of them."""


@dataclass(frozen=True)
class StateFolder:
    """The paths of one panel's tables, models and reports. Nothing is written before :meth:`make`.

    Parameters
    ----------
    path : Path
        The folder, absolute.
    created : bool
        True if the folder does not exist yet.
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
        """Trainings that are not logged yet."""
        return self.path / "unsent"

    @property
    def walks(self) -> Path:
        """Fitted random walks that forecasts are scored beside; made anew where they are missing."""
        return self.path / "walks"

    @property
    def tuning(self) -> "StateFolder":
        """The folder of studies. It has its own lock, so a search does not block the daily run."""
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

    def panel_id(self) -> str:
        """Return the id that marks this folder's panel on shared servers (MLflow, Prefect); made on first use."""
        file = self.path / "panel_id"
        if not file.exists():
            draft = self.make().path / f"panel_id.{os.getpid()}.draft"
            draft.write_text(uuid.uuid4().hex, encoding="utf-8")
            with suppress(FileExistsError):  # another process made one meanwhile
                os.link(draft, file)
            draft.unlink()
        return file.read_text(encoding="utf-8").strip()

    def make(self) -> "StateFolder":
        """Create the folder and its .gitignore if they do not exist; return the folder.

        Raises
        ------
        SettingsError
            The folder cannot be created or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise _not_writable(self, error) from error
        return self


def find_state_folder(path: str | None, environ: Mapping[str, str], cwd: Path) -> StateFolder:
    """Return the state folder: `path`, else ``TIDECAST_HOME``, else the nearest ``.tidecast`` upwards, else a new one.

    Parameters
    ----------
    path : str or None
        The value of ``--home``.
    environ : mapping
        The environment variables.
    cwd : Path
        The folder the command was called in.

    Raises
    ------
    SettingsError
        The path is not that of a folder, cannot be used, or is one that tables cannot have.
    """
    cwd = cwd.absolute()
    wanted = path or environ.get("TIDECAST_HOME")
    try:
        found = _path_of(wanted, cwd)
        _refuse_too_long(found)
        exists = _exists(found)
        if exists and not stat.S_ISDIR(found.stat().st_mode):
            raise SettingsError(
                f"The state folder must be a folder, but {found} is a file. Choose another with --home."
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: the user of ~user is unknown
        raise SettingsError(f"The state folder cannot be there: {_words(error)}, or another --home.") from None
    except ValueError as error:
        raise SettingsError(f"--home must be the path of a folder, got {wanted!r}: {ended(error)}") from None
    if exists and not os.access(found, os.R_OK | os.X_OK):
        raise SettingsError(
            f"The state folder {found} must be readable, but permission is denied. Change its permissions or its "
            "owner, or choose another with --home."
        )
    refuse_unusable(found)
    return StateFolder(found, created=not exists)


def _path_of(wanted: str | None, cwd: Path) -> Path:
    """Return the wanted path, else the nearest ``.tidecast`` upwards, else one in `cwd`."""
    if wanted:
        return Path(os.path.normpath(cwd / Path(wanted).expanduser()))
    return next((above / NAME for above in (cwd, *cwd.parents) if os.path.isdir(above / NAME)), cwd / NAME)


def _exists(path: Path) -> bool:
    """Whether anything is at that path, also a broken symbolic link. Other faults are raised."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _refuse_too_long(path: Path) -> None:
    """Refuse a path that is too long for SQLite, and so for MLflow."""
    if (count := len(os.fsencode(path))) > LONGEST:
        raise SettingsError(
            f"The path of a state folder must have at most {LONGEST} bytes, because SQLite cannot open longer ones, "
            f"got {count:,}: {shown(str(path))}. Choose a shorter one with --home."
        )


def _words(error: Exception) -> str:
    return message_of(error) if isinstance(error, OSError) else str(error)


@contextmanager
def hold(
    folder: StateFolder, what: str, patience: float = 0.0, say: Callable[[str], None] = lambda text: None
) -> Iterator[None]:
    """Hold the lock of the state folder while the block runs.

    The lock belongs to the operating system, which releases it when the process ends, however it ends. lock.json names
    the holder for messages only: after a kill it is stale, and the lock is free.

    Parameters
    ----------
    folder : StateFolder
    what : str
        The holder's command, for messages: "tidecast run".
    patience : float, default=0.0
        Seconds to wait while another run holds the folder.
    say : callable, optional
        Called with a sentence when there is something to wait for.

    Raises
    ------
    Busy
        Another run holds the folder, still after `patience`; the message names its command, its process and since when.
    SettingsError
        The folder is not writable.
    """
    folder.make()
    note = folder.path / "lock.json"
    lock = FileLock(folder.lock_file, timeout=0)
    since = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "what": what, "since": since}
    try:
        _acquire(lock, lambda: _who_holds(folder, note), patience, say)
        note.write_text(json.dumps(holder))
    except Timeout:
        raise Busy(f"{_who_holds(folder, note)} Wait for it to end, then run again.") from None
    except OSError as error:
        lock.release()
        raise _not_writable(folder, error) from error
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, who: Callable[[], str], patience: float, say: Callable[[str], None]) -> None:
    """Take the lock, at once or after waiting; Timeout when it stays taken."""
    try:
        lock.acquire()
    except Timeout:
        if patience <= 0:
            raise
        say(f"{who()} Waiting for it …")
        lock.acquire(timeout=patience, poll_interval=1.0)


def _not_writable(folder: StateFolder, error: OSError) -> SettingsError:
    return SettingsError(
        f"The state folder {folder.path} must be writable: {error.strerror}. Choose another with --home."
    )


def _who_holds(folder: StateFolder, note: Path) -> str:
    try:
        holder = json.loads(note.read_text())
        who = f"{holder['what']}, process {holder['pid']} on {holder['host']}, since {holder['since']}"
        here = holder["host"] == socket.gethostname()
    except (OSError, ValueError, KeyError):
        who, here = "", False
    if not who or (here and not _alive(holder["pid"])):  # it has the lock and has not written lock.json yet
        who = "one that has just started"
    return f"One run at a time on {folder.path}: it is held by {who}."


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
