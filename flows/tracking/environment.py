"""What a run was made with: the code, the machine, the packages, and how much memory it took."""

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
    """Installed version without its local part: "2.6.0", not "2.6.0+cpu"; "0" when it is not."""
    try:
        return metadata.version(package).split("+")[0]
    except metadata.PackageNotFoundError:
        return "0"


def commit() -> str | None:
    """The commit that this code was checked out at; None where it was installed, or git is not there to ask."""
    top = Path(__file__).resolve().parents[2]
    if not (top / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=top, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()


def machine() -> dict[str, Any]:
    """Python, system, processors and every installed package with its version, as JSON holds it."""
    return {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "processor": platform.machine(),
        "processors": os.cpu_count(),
        "packages": dict(sorted(_packages().items(), key=lambda item: item[0].lower())),
    }


def _packages() -> dict[str, str]:
    """Version of each installed package, as the names of their ``.dist-info`` folders say: none is opened."""
    folders = [folder for place in reversed(sys.path) for folder in Path(place or ".").glob("*.dist-info")]
    named = [folder.stem.partition("-") for folder in folders]
    return {name.replace("_", "-"): version for name, _, version in named}


def peak_memory() -> dict[str, float]:
    """Most megabytes held at once since their start: by this ``process``, and by the largest living ``worker`` of it.

    Empty where the system does not tell (it is read from ``/proc``).
    """
    peaks: dict[str, float] = {}
    if (own := _peak(PROC / "self")) is not None:
        peaks["process"] = own
    workers = [_peak(PROC / child) for child in _children(PROC / "self" / "task")]
    if known := [peak for peak in workers if peak is not None]:
        peaks["worker"] = max(known)
    return peaks


def _children(tasks: Path) -> list[str]:
    """Ids of the processes started from here that still live."""
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
