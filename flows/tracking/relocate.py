"""Repair of MLflow's SQLite file after its state folder was moved, renamed or copied.

MLflow stores absolute addresses: of experiments, runs, models and versions, and, as text, of the tables a run read.
Those of the old folder are replaced in one transaction; others stay. Nothing here imports MLflow.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from tidecast.features.error_text import ended
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import TidecastError
from tidecast.flows.os_errors import message_of_sqlite

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
PATIENCE = 60.0
"""Seconds to wait for another program that is writing to the file."""


def relocate_if_moved(home: StateFolder) -> str | None:
    """Replace the addresses of the old folder if the state folder was moved.

    Parameters
    ----------
    home : StateFolder
        With its own `mlflow.db`, or without one.

    Returns
    -------
    str or None
        A message on what was done; None if the folder was not moved.

    Raises
    ------
    TidecastError
        The file cannot be read or written.
    """
    if not home.mlflow_db.exists():
        return None
    try:
        with closing(sqlite3.connect(home.mlflow_db, timeout=PATIENCE)) as database, database:
            old = _old_address(database, home)
            if old is None:
                return None
            new = home.path.as_uri()
            count = sum(_relocate(database, table, column, old, new) for table, column in _existing_columns(database))
            before = Path(url2pathname(urlsplit(old).path))
            _relocate_tables(database, before, home.path)
    except sqlite3.Error as error:
        if (why := message_of_sqlite(error)) is not None:
            raise TidecastError(f"{home.mlflow_db}: {ended(why)}") from error
        raise TidecastError(
            f"{home.mlflow_db} must be MLflow's SQLite file, reading it failed: {ended(error)} Put back a copy of it."
        ) from error
    message = f"The state folder was moved here from {before}: {count} addresses in mlflow.db were updated."
    if not home.mlartifacts.exists():
        message += f" Its models were not moved: {home.mlartifacts} is missing, and those of {before} are not used."
    return message


def _old_address(database: sqlite3.Connection, home: StateFolder) -> str | None:
    """Address of the folder that MLflow names, if its files now lie in this one; else None.

    An experiment that keeps its files elsewhere on purpose has none of them here. If the folder named is another state
    folder, this one is a copy without its files, and the files of the other one are not used.
    """
    found = database.execute(
        "SELECT artifact_location FROM experiments WHERE artifact_location LIKE 'file:%/mlartifacts'"
    )
    for (location,) in found.fetchall():
        if location == home.mlartifacts.as_uri():
            continue
        runs = database.execute(
            "SELECT artifact_uri FROM runs WHERE substr(artifact_uri, 1, ?) = ?", (len(location) + 1, f"{location}/")
        ).fetchall()
        folders = [home.mlartifacts / uri[len(location) + 1 :] for (uri,) in runs]
        named = Path(url2pathname(urlsplit(location).path)).parent
        if (
            any(folder.exists() for folder in folders)
            or _is_state_folder(named)
            or (not named.exists() and not folders)
        ):
            return str(location.removesuffix("/mlartifacts"))
    return None


def _is_state_folder(folder: Path) -> bool:
    """Whether a folder is a state folder: of another panel, or the original of a copied one."""
    return any((folder / name).exists() for name in ("mlflow.db", "panel.json", "panel_id"))


def _existing_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """The (table, column) pairs of addresses that exist in this version of MLflow."""
    return [
        (table, column)
        for table, column in ADDRESSES
        if column in [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    ]


def _relocate(database: sqlite3.Connection, table: str, column: str, old: str, new: str) -> int:
    """Replace the beginning of addresses under the old folder, and return their number."""
    return database.execute(
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
        (new, len(old) + 1, len(old) + 1, f"{old}/"),
    ).rowcount


def _relocate_tables(database: sqlite3.Connection, old: Path, new: Path) -> None:
    """Replace the old folder in the paths of tables, which are JSON inside the description of a data set."""
    old_text, new_text = (json.dumps(f"{path}/")[:-1] for path in (old, new))
    database.execute(
        "UPDATE datasets SET dataset_source = replace(dataset_source, ?, ?) WHERE instr(dataset_source, ?)",
        (old_text, new_text, old_text),
    )
