"""The environment of a run: code, machine, packages and peak memory."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def installed(package: str) -> str:
    """Version of an installed package without its local part ("2.6.0", not "2.6.0+cpu"); "0" if it is not installed.

    Parameters
    ----------
    package : str
        As on PyPI.
    """
    try:
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        return "0"


def commit() -> str | None:
    """Commit of the checkout that this code lies in; None if it was installed, or if git is missing."""
    top = Path(__file__).resolve().parents[2]
    if not (top / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=top, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def machine() -> dict[str, Any]:
    """Python, system, processors and the version of every installed package, as values that JSON can hold."""
    return {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "processor": platform.machine(),
        "processors": os.cpu_count(),
        "packages": dict(sorted(_packages().items(), key=lambda item: item[0].lower())),
    }


def _packages() -> dict[str, str]:
    """Version of each installed package, read from the names of the ``.dist-info`` folders alone."""
    folders = [folder for entry in reversed(sys.path) for folder in Path(entry or ".").glob("*.dist-info")]
    named = [folder.stem.partition("-") for folder in folders]
    return {name.replace("_", "-"): version for name, _, version in named}


def peak_memory() -> dict[str, float]:
    """Peak memory in megabytes of this ``process``, and of its largest living ``worker``.

    Empty on systems without ``/proc``.
    """
    peaks: dict[str, float] = {}
    if (own := _peak(PROC / "self")) is not None:
        peaks["process"] = own
    workers = [_peak(PROC / child) for child in _children(PROC / "self" / "task")]
    if found := [peak for peak in workers if peak is not None]:
        peaks["worker"] = max(found)
    return peaks


def _children(tasks: Path) -> list[str]:
    """Ids of the living child processes."""
    try:
        return [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _peak(process: Path) -> float | None:
    try:
        lines = (process / "status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        return None
