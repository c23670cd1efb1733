"""Drop folders: each file is one delivery, ingested once, in order of name. The files stay untouched.

The table `deliveries` records a file after its rows are stored. If the run is killed in between, the file is ingested
again and its rows are found unchanged: nothing is lost or doubled.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from itertools import dropwhile, pairwise
from typing import Any

import polars as pl

from tidecast.features.error_text import ended, shorten
from tidecast.flows.config.secrets import expand
from tidecast.flows.config.settings import DROP, Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.ingest import Ingested, ingest, update_run
from tidecast.flows.sources.file_listing import File, files_at
from tidecast.flows.warehouse.warehouse import Warehouse

COUNTS = ("rows_in", "rows_stored", "rows_corrected", "rows_unchanged", "rows_quarantined")


def is_drop_folder(settings: Settings) -> bool:
    """Whether the source is a folder whose files are each ingested once.

    Parameters
    ----------
    settings : Settings
    """
    return settings.source.startswith(DROP)


def waiting(warehouse: Warehouse, settings: Settings, environ: Mapping[str, str] = os.environ) -> list[File]:
    """Files that are not recorded yet, in order of name.

    Parameters
    ----------
    warehouse, settings, environ
        As of `queue`.

    Raises
    ------
    SourceError
        As of `queue`.
    """
    recorded = set(warehouse.deliveries()["file"])
    return [file for file in queue(warehouse, settings, environ) if file.name not in recorded]


def queue(warehouse: Warehouse, settings: Settings, environ: Mapping[str, str] = os.environ) -> list[File]:
    """Files from the first one on that is not recorded yet, in order of name.

    Parameters
    ----------
    warehouse : Warehouse
        Its table `deliveries` records files.
    settings : Settings
        `source`: the drop folder.
    environ : mapping
        Where ``${VAR}`` in the folder's address is looked up.

    Raises
    ------
    SourceError
        The folder cannot be read, two files have one name, or a file was changed after it was recorded.
    """
    folder = expand(settings.source.removeprefix(DROP), environ)
    try:
        files = sorted(files_at(folder, environ, may_be_empty=True), key=lambda file: file.name)
        recorded = {row["file"]: row for row in warehouse.deliveries().to_dicts()}
        changed = [file.name for file in files if file.name in recorded and _is_changed(file, recorded[file.name])]
    except OSError as error:
        raise SourceError(
            f"{settings.source} must be readable, found: {ended(error)} Check its permissions."
        ) from error
    if twice := [one.name for one, other in pairwise(files) if one.name == other.name]:
        raise SourceError(
            f"Each file of a drop folder must have its own name, but {shorten(twice)} is there more than once. "
            "Rename one, or give each folder its own panel."
        )
    if changed:
        raise SourceError(
            f"A file must not change after it was taken, but {shorten(changed)} did. Put corrections in a file with a "
            "new name that sorts later."
        )
    return list(dropwhile(lambda file: file.name in recorded, files))


def _is_changed(file: File, record: Mapping[str, Any]) -> bool:
    """Whether a file's size differs, or its contents, which are read only where it was written since."""
    if file.size != record["bytes"]:
        return True
    if record.get("digest") is None or file.modified == record["modified"]:
        return False
    return _digest(file) != record["digest"]


def _digest(file: File) -> str:
    return hashlib.sha256(file.read()).hexdigest()


def ingest_drop_folder(
    warehouse: Warehouse, settings: Settings, as_of: date | None, today: date | None, now: datetime | None = None
) -> Ingested:
    """Ingest the files that wait, one by one, as if each had come on a day of its own.

    A file with rows after `as_of` is read up to that session and keeps waiting. So do the files after it, because a
    correction must not come before what it corrects.

    A late file, with a name before that of a recorded one, may undo a correction. If it has rows that were stored
    before, the files after it are ingested again, and it is recorded after that. So the last name always wins, in
    whatever order files come.

    Parameters
    ----------
    warehouse : Warehouse
        Where prices, quarantine and the record of files go.
    settings : Settings
        `source`: the drop folder.
    as_of : date or None
        None: the newest session of each file.
    today : date or None
        The day it is, if rows of later days are to be refused.
    now : datetime or None
        The instant at which the run was started, with a time zone: a file with rows of sessions that close later keeps
        waiting. None: every session counts as closed.

    Returns
    -------
    Ingested
        The sums over all files.

    Raises
    ------
    SourceError
        As of `tidecast.flows.ingest.ingest.ingest` and `queue`, or no file was ever delivered.
    """
    run = _Run(warehouse, settings, as_of, today, now)
    for file in queue(warehouse, settings):
        if not run.take(file):
            break
    else:
        run.flush()
    return run.result()


class _Run:
    """One run over a drop folder: `take` each file, in order of name, then `flush` what is not recorded yet."""

    def __init__(
        self, warehouse: Warehouse, settings: Settings, as_of: date | None, today: date | None, now: datetime | None
    ) -> None:
        self._warehouse, self._settings = warehouse, settings
        self._as_of, self._today, self._now = as_of, today, now
        self._recorded_before = set(warehouse.deliveries()["file"])
        self._ingested: list[Ingested] = []
        self._pending: list[dict[str, Any]] = []  # rows for the table `deliveries`
        self._recorded: list[str] = []
        self._repeated: list[str] = []
        self._overtakes = False  # a late file may have undone corrections of recorded files after it

    def take(self, file: File) -> bool:
        """Ingest a file, unless it is recorded and stands; False if it has rows after `as_of`."""
        if file.name in self._recorded_before and not self._overtakes:
            return True
        contents = {"file": file.name, "bytes": file.size, "modified": file.modified, "digest": _digest(file)}
        settings = self._settings.model_copy(update={"source": f"{DROP}{file.address}"})
        result = ingest(self._warehouse, settings, self._as_of, self._today, self._now)
        self._settings = result.settings.model_copy(update={"source": self._settings.source})
        self._ingested.append(result)
        if result.newest_in_source > result.as_of:
            return False
        if file.name in self._recorded_before:
            self._repeated.append(file.name)
        elif not result.left:  # else it waits for its day: known_at gives the order of its rows, not its name
            self._pending.append(contents | {"as_of": result.newest} | result.run_counts)
            self._overtakes |= result.corrected + result.unchanged > 0
        self._overtakes &= file.name < max(self._recorded_before, default="")
        if not self._overtakes:
            self.flush()
        return True

    def flush(self) -> None:
        """Record the files that are ingested and not recorded yet."""
        for row in self._pending:
            self._warehouse.store_delivery(row)
        self._recorded += [row["file"] for row in self._pending]
        self._pending.clear()

    def result(self) -> Ingested:
        """Return the sums over all files, and bring the session's row of `runs` up to date.

        Raises
        ------
        SourceError
            No file was ever delivered.
        """
        newest = self._warehouse.newest_session()
        if newest is None or self._settings.calendar is None:
            raise SourceError(
                f"A drop folder must hold a file to start with, but {self._settings.source} has none. Put one there."
            )
        session = self._settings.sessions.at_or_before(min(newest, self._as_of or newest))
        found = self._ingested
        counts = _counts_of_run(self._warehouse, session, [one for one in found if one.left])
        update_run(self._warehouse, session, counts)
        totals = {
            name: sum(getattr(one, name) for one in found) for name in ("rows_in", "stored", "corrected", "unchanged")
        }
        return Ingested(
            as_of=session,
            **totals,
            quarantined=_added([one.quarantined for one in found]),
            newest_in_source=newest,
            newest=max(newest, session),
            settings=self._settings,
            rules=_added([one.rules for one in found]),
            doubts=_added([one.doubts for one in found]),
            run_counts=counts,
            messages=(*(message for one in found for message in one.messages), *self._messages()),
        )

    def _messages(self) -> Iterator[str]:
        if self._recorded:
            yield f"Taken from the drop folder: {shorten(self._recorded)}."
        else:
            yield "Nothing new in the drop folder."
        if self._repeated:
            yield f"Taken again, because a file with an earlier name came late: {shorten(self._repeated)}."


def _counts_of_run(warehouse: Warehouse, session: date, unfinished: list[Ingested]) -> dict[str, object]:
    """Counts of all files since the run before, from the table `deliveries`, and of files ingested in part."""
    runs = warehouse.runs()["as_of"]
    before = runs.filter(runs < session).max() or date.min
    rows = warehouse.deliveries().filter(pl.col("as_of") > before, pl.col("as_of") <= session).to_dicts()
    rows += [one.run_counts for one in unfinished]
    rules = _added([json.loads(row["rules"]) for row in rows])
    return {**{name: sum(row[name] for row in rows) for name in COUNTS}, "rules": json.dumps(rules)}


def _added(counts: list[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(total)
