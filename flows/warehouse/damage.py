"""Find damage to the tables: missing or changed files, empty commits, missing tables and rows.

`damages` reads the log, the sizes of files and the table `runs`; with `deep`, it reads every file once.
"""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl

from tidecast.features.error_text import counted, shorten
from tidecast.flows.errors import WarehouseError, is_panic
from tidecast.flows.warehouse.checksums import is_altered
from tidecast.flows.warehouse.warehouse import Warehouse

VERSIONS_BACK = 200
"""Most versions that are searched for one whose files are all there."""

SHOWN = 3
"""Most damaged files of a table that a message names."""

COMPARED = (pl.Float64, pl.Int64, pl.Int32, pl.Date)
"""Types whose minimum and maximum in a file are compared with the log."""

_ANEW = {
    "prices": "move the folder away: tidecast run reads again what the source still has.",
    "forecasts": "move the folder away, and publish each session anew: tidecast run --as-of DATE --reissue",
}
"""How to do without a backup, by table."""

_NULLS = "null_count."
"""Prefix of the log's counts of missing values, by column."""


def damages(warehouse: Warehouse, deep: bool = False) -> list[str]:
    """Return a message for each damage found: what must hold, what was found, what can be restored.

    Parameters
    ----------
    warehouse : Warehouse
    deep : bool
        Read every file, and compare counts of rows with `runs`.
    """
    found: list[str] = []
    readable = []
    for name in warehouse.tables:
        empty = list(_empty_commits(warehouse.folder(name)))
        found += empty
        try:
            bad = _bad_files(warehouse, name, deep)
            readable.append(name)
        except WarehouseError as error:
            if not empty:
                found.append(_unreadable(warehouse, name, error))
            continue
        if bad:
            found.append(_damaged(warehouse, name, bad))
    if not found and len(readable) == len(warehouse.tables):
        found += _missing_tables(warehouse)
        try:
            found += _missing_rows(warehouse) if deep else []
        except WarehouseError as error:
            found.append(str(error))
    return found


def refuse_damage(warehouse: Warehouse) -> None:
    """Refuse tables with an empty commit: Delta Lake reads them without an error, and without its rows.

    Parameters
    ----------
    warehouse : Warehouse

    Raises
    ------
    WarehouseError
        A commit is empty. The message names it.
    """
    for name in warehouse.tables:
        for said in _empty_commits(warehouse.folder(name)):
            raise WarehouseError(said)


def refuse_lost_forecasts(warehouse: Warehouse, as_of: date) -> None:
    """Refuse a session whose forecasts `runs` counts as published, and that has none.

    Parameters
    ----------
    warehouse : Warehouse
    as_of : date

    Raises
    ------
    WarehouseError
        The forecasts are lost. The message says how to get them back.
    """
    published = warehouse.runs().filter(pl.col("as_of") == as_of)["series_forecast"].fill_null(0).sum()
    if published and warehouse.forecasts(as_of).is_empty():
        place = warehouse.folder("forecasts") or f"{warehouse.uri}/forecasts"
        raise WarehouseError(
            f"The table forecasts must have the forecasts of {as_of}, which runs counts as published, but has none. "
            f"Put back a copy of {place} from a backup, or publish them anew: tidecast run --as-of {as_of} --reissue"
        )


def _empty_commits(folder: Path | None) -> Iterator[str]:
    """Yield a message for each empty commit in a folder: the rows it added are in no version."""
    if folder is None or not (log := folder / "_delta_log").is_dir():
        return
    for commit in sorted(log.glob("*.json")):
        if commit.stem.isdigit() and commit.stat().st_size == 0:
            yield (
                f"Every commit must have content, but {commit} is empty: rows that it added are in no table. Put "
                f"back a copy of the file or of the whole folder.{_without_backup(folder.name)}"
            )


def _bad_files(warehouse: Warehouse, name: str, deep: bool) -> dict[str, str]:
    """Return path and fault of each file of a table that differs from the log."""
    folder, files, bad = warehouse.folder(name), warehouse.files(name), {}
    for file in files.to_dicts():
        why = None if folder is None else _stat_fault(folder / file["path"], file["size_bytes"])
        if why is None and deep:
            why = _content_fault(warehouse, name, file)
        if why is None and deep and folder is not None and is_altered(folder, file["path"]):
            why = "has other bytes than were written"
        if why is not None:
            bad[file["path"]] = why
    return bad


def _stat_fault(path: Path, size: int) -> str | None:
    try:
        there = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if there != size:
        return f"has {there:,} bytes, not {size:,}"
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _content_fault(warehouse: Warehouse, name: str, file: dict[str, object]) -> str | None:
    """Read a whole file, and compare it with the log."""
    try:
        return _difference(warehouse.rows_in(name, str(file["path"])), file)
    except WarehouseError:
        return "cannot be read: its content is damaged"
    except Exception as error:
        return f"has values that no column can hold ({type(error).__name__}: {error})"
    except BaseException as error:
        if not is_panic(error):
            raise
        return f"has values that no column can hold ({error})"


def _difference(rows: pl.DataFrame, file: dict[str, object]) -> str | None:
    """Return how the rows of a file differ from what the log says of it."""
    with_nulls = {
        key.removeprefix(_NULLS) for key, nulls in file.items() if key.startswith(_NULLS) and nulls is not None
    }
    if lost := sorted(with_nulls.difference(rows.columns)):
        return f"has no column {shorten(lost, SHOWN)}"
    if file.get("num_records") is not None and rows.height != file["num_records"]:
        return f"has {counted(rows.height, 'row')}, not {file['num_records']:,}"
    for column in rows.select(pl.col(*COMPARED)):
        known = column.drop_nans() if column.dtype.is_float() else column
        for which, value in (("min", known.min()), ("max", known.max())):
            logged = file.get(f"{which}.{column.name}")
            if logged is not None and value is not None and logged != value and str(logged) != str(value):
                return f"has {value!s} as {which} of {column.name}, not {logged}"
        nulls = file.get(f"{_NULLS}{column.name}")
        if nulls is not None and column.null_count() != nulls:
            return f"has {counted(column.null_count(), 'row')} without {column.name}, not {nulls:,}"
    return None


def _damaged(warehouse: Warehouse, name: str, bad: dict[str, str]) -> str:
    folder = warehouse.folder(name) or f"{warehouse.uri}/{name}"
    named = "; ".join(f"{folder}/{path} {why}" for path, why in list(bad.items())[:SHOWN])
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return (
        f"The files of {name} must be as they were written, but {named}{more}. Put back copies of them from a backup. "
        f"{_restorable(warehouse, name, set(bad))}"
    )


def _restorable(warehouse: Warehouse, name: str, bad: set[str]) -> str:
    """Say which version has none of the damaged files, and how to restore it."""
    newest = warehouse.version(name)
    for version in range(newest - 1, max(-1, newest - 1 - VERSIONS_BACK), -1):
        try:
            if bad.isdisjoint(files := set(warehouse.files(name, version)["path"])) and files:
                folder = warehouse.folder(name) or f"{warehouse.uri}/{name}"
                return (
                    f'Without one, version {version} of {newest} has none of these files: python -c "from deltalake '
                    f"import DeltaTable; DeltaTable('{folder}').restore({version})\". Later rows are lost, except "
                    "those that the source still has: tidecast run reads them again."
                )
        except WarehouseError:
            break
    return f"All earlier versions need these files.{_without_backup(name)}"


def _without_backup(name: str) -> str:
    return f" Without a backup, {_ANEW[name]}" if name in _ANEW else ""


def _unreadable(warehouse: Warehouse, name: str, error: WarehouseError) -> str:
    folder = warehouse.folder(name) or f"{warehouse.uri}/{name}"
    why = str(error).removesuffix(
        " Files that are missing or damaged, and what can be restored: tidecast doctor --deep"
    )
    return f"{why} Put back a copy of {folder}/_delta_log from a backup."


def _missing_tables(warehouse: Warehouse) -> list[str]:
    """Return a message for each table that was deleted, created again, or restored from an old copy."""
    versions, runs, found = warehouse.versions(), warehouse.runs(), []
    read: dict[str, int] = {}
    for versions_read in (*map(json.loads, runs["table_versions"].drop_nulls()), *warehouse.read_by()):
        for name, version in versions_read.items():
            read[name] = max(read.get(name, 0), version)
    needed = {
        "prices": "runs" if (runs["rows_stored"].fill_null(0) > 0).any() else None,
        "forecasts": "runs" if (runs["series_forecast"].fill_null(0) > 0).any() else None,
        "quarantine": "runs" if (runs["rows_quarantined"].fill_null(0) > 0).any() else None,
        "decisions": "runs" if runs["champion_version"].drop_nulls().len() else None,
        "runs": "forecasts" if "forecasts" in versions and warehouse.height("forecasts") else None,
    }
    for name, witness in needed.items():
        if witness and (name not in versions or warehouse.height(name) == 0):
            found.append(_missing(warehouse, name, f"{witness} says that rows were written to it"))
        elif versions.get(name, 0) < read.get(name, 0):
            what = f"is at version {versions[name]}, and version {read[name]} was read for published forecasts"
            found.append(_missing(warehouse, name, what))
    if "forecasts" in versions and not found:
        issued = set(warehouse.forecasts().select("as_of").unique()["as_of"])
        lost = [day for day in runs.filter(pl.col("series_forecast") > 0)["as_of"] if day not in issued]
        if lost:
            found.append(_missing(warehouse, "forecasts", f"runs says that those of {lost[0]} were published"))
    return found


def _missing(warehouse: Warehouse, name: str, what: str) -> str:
    folder = warehouse.folder(name) or f"{warehouse.uri}/{name}"
    again = {
        "prices": " tidecast run reads again what the source still has.",
        "forecasts": " Without one, publish each lost session anew: tidecast run --as-of DATE --reissue",
    }.get(name, "")
    return f"The table {name} must have all its rows, but {what}. Put back a copy of {folder} from a backup.{again}"


def _missing_rows(warehouse: Warehouse) -> list[str]:
    """Return a message for rows that `runs` counted and that are missing."""
    runs = warehouse.runs()
    corrected, stored = (int(runs[name].fill_null(0).sum()) for name in ("rows_corrected", "rows_stored"))
    there = warehouse.revisions().select("series_id", "time").unique().height
    found = []
    if there < stored - corrected:
        found.append(
            _missing(warehouse, "prices", f"it has {counted(there, 'session')} of series, and runs stored {stored:,}")
        )
    issued = warehouse.forecasts().group_by("as_of").agg(series=pl.col("series_id").n_unique())
    compared = runs.select("as_of", "series_forecast").join(issued, on="as_of", how="left")
    short = compared.filter(pl.col("series").fill_null(0) < pl.col("series_forecast").fill_null(0))
    for row in short.head(1).to_dicts():
        what = (
            f"those of {row['as_of']} are of {row['series'] or 0} series, and runs published {row['series_forecast']}"
        )
        found.append(_missing(warehouse, "forecasts", what))
    return found
