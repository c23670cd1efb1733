"""A drop folder: each of its files is one delivery, taken once, in order of name; the files are not touched.

What was taken is in the table `deliveries`, written after a file's rows are stored. Killed in between, the file is
taken again, and its rows are known already: nothing is lost, nothing doubled.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from datetime import date
from itertools import dropwhile, pairwise
from typing import Any

import polars as pl

from tidecast.features.error_text import shorten
from tidecast.flows.config.secrets import expand
from tidecast.flows.config.settings import DROP, Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.ingest.ingest import Ingested, ingest, keep_up
from tidecast.flows.sources.file_listing import File, files_at
from tidecast.flows.warehouse.warehouse import Warehouse

COUNTS = ("rows_in", "rows_stored", "rows_corrected", "rows_unchanged", "rows_quarantined")


def is_drop_folder(settings: Settings) -> bool:
    """Whether the source is a folder whose files are taken once."""
    return settings.source.startswith(DROP)


def waiting(warehouse: Warehouse, settings: Settings, environ: Mapping[str, str] = os.environ) -> list[File]:
    """The files that were not taken yet, in order of name.

    Raises
    ------
    SourceError
        As of `queue`.
    """
    taken = set(warehouse.deliveries()["file"])
    return [file for file in queue(warehouse, settings, environ) if file.name not in taken]


def queue(warehouse: Warehouse, settings: Settings, environ: Mapping[str, str] = os.environ) -> list[File]:
    """The files from the first on that was not taken yet, in order of name.

    Raises
    ------
    SourceError
        The folder cannot be looked at, two files have one name, or one was changed after it was taken.
    """
    folder = expand(settings.source.removeprefix(DROP), environ)
    try:
        files = sorted(files_at(folder, environ, may_be_empty=True), key=lambda file: file.name)
        taken = {row["file"]: row for row in warehouse.deliveries().to_dicts()}
        changed = [file.name for file in files if file.name in taken and _is_changed(file, taken[file.name])]
    except OSError as error:
        raise SourceError(f"{settings.source} must be readable, found: {error}. Check its permissions.") from error
    if twice := [one.name for one, other in pairwise(files) if one.name == other.name]:
        raise SourceError(
            f"Files of a drop folder must have names of their own, but {shorten(twice)} is there more than once. "
            "Rename one, or make panels of their own."
        )
    if changed:
        raise SourceError(
            f"A file must not change once it was taken, but {shorten(changed)} did. Corrections come in a file with a "
            "new name, later in the order of names."
        )
    return list(dropwhile(lambda file: file.name in taken, files))


def _is_changed(file: File, taken: Mapping[str, Any]) -> bool:
    """By its size; by what is in it, where its place says that it was written since."""
    if file.size != taken["bytes"]:
        return True
    return taken.get("digest") is not None and file.modified != taken["modified"] and _digest(file) != taken["digest"]


def _digest(file: File) -> str:
    return hashlib.sha256(file.read()).hexdigest()


def take_deliveries(warehouse: Warehouse, settings: Settings, as_of: date | None, today: date | None) -> Ingested:
    """Ingest what is waiting, file by file, as if each had come on a day of its own.

    A file with rows after `as_of` is taken up to there and stays waiting, and so do those after it: a correction must
    not come before what it corrects.

    A file that came late, with a name before that of one that was taken, may undo what that one has corrected. Where it
    speaks of rows that were known, those after it are taken again, and it is recorded after that: in whatever order
    files come, the last name has the last word.

    Raises
    ------
    SourceError
        As of `tidecast.flows.ingest.ingest.ingest` and `queue`, or nothing was ever delivered.
    """
    taken = set(warehouse.deliveries()["file"])
    found: list[Ingested] = []
    unrecorded: list[dict[str, Any]] = []
    names: list[str] = []
    again: list[str] = []
    overtakes = False
    for file in queue(warehouse, settings):
        if file.name in taken and not overtakes:
            continue
        seen = {"file": file.name, "bytes": file.size, "modified": file.modified, "digest": _digest(file)}
        one = ingest(warehouse, settings.model_copy(update={"source": file.address}), as_of, today)
        settings = one.settings.model_copy(update={"source": settings.source})
        found.append(one)
        if one.newest_in_source > one.as_of:
            break
        if file.name in taken:
            again.append(file.name)
        elif not one.left:  # else it waits for its day; known_at tells the order of its rows, not its name
            unrecorded.append(seen | {"as_of": one.newest} | one.run_counts)
            overtakes |= one.corrected + one.unchanged > 0
        overtakes &= file.name < max(taken, default="")
        if not overtakes:
            names += _record(warehouse, unrecorded)
    else:
        names += _record(warehouse, unrecorded)
    newest = warehouse.newest_session()
    if newest is None or settings.calendar is None:
        raise SourceError(
            f"A drop folder must hold a file to begin with, but {settings.source} has none. Put one there."
        )
    session = settings.sessions.at_or_before(min(newest, as_of or newest))
    counts = _counts_of_run(warehouse, session, [one for one in found if one.left])
    keep_up(warehouse, session, counts)
    told = [f"Taken from the drop folder: {shorten(names)}." if names else "Nothing new in the drop folder."]
    if again:
        told.append(f"Taken again, for a file with an earlier name came late: {shorten(again)}.")
    return Ingested(
        as_of=session,
        **{name: sum(getattr(one, name) for one in found) for name in ("rows_in", "stored", "corrected", "unchanged")},
        quarantined=_added([one.quarantined for one in found]),
        newest_in_source=newest,
        newest=max(newest, session),
        settings=settings,
        rules=_added([one.rules for one in found]),
        doubts=_added([one.doubts for one in found]),
        run_counts=counts,
        messages=(*(message for one in found for message in one.messages), *told),
    )


def _record(warehouse: Warehouse, rows: list[dict[str, Any]]) -> list[str]:
    """Write that these files were taken, and leave the list empty; returns their names."""
    for row in rows:
        warehouse.store_delivery(row)
    names = [row["file"] for row in rows]
    rows.clear()
    return names


def _counts_of_run(warehouse: Warehouse, session: date, unfinished: list[Ingested]) -> dict[str, object]:
    """What all deliveries since the run before came to, from the table alone, and files taken in part."""
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
