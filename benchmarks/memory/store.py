"""Results as lines of JSON: each has a key, is written once, and is not measured again."""

from __future__ import annotations

import datetime
import json
import platform
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.jsonl")

Key = dict[str, Any]
Line = dict[str, Any]


def lines_of(path: Path, part: str) -> list[Line]:
    """Return the lines of one part, in the order in which they were measured.

    Parameters
    ----------
    path : Path
    part : str
    """
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [line for line in found if line["part"] == part]


def measure(path: Path, works: Iterable[tuple[Key, Callable[[], Line]]], minutes: float) -> tuple[int, int]:
    """Measure and append what the file lacks; start nothing after `minutes`.

    Parameters
    ----------
    path : Path
    works : iterable of (dict, callable)
        A key, with "part" first, and the work that returns the rest of the line.
    minutes : float

    Returns
    -------
    (int, int)
        Lines written, and works left.
    """
    end = time.monotonic() + 60 * minutes
    written, left = 0, 0
    for key, work in works:
        if any(key.items() <= line.items() for line in lines_of(path, key["part"])):
            continue
        if time.monotonic() > end:
            left += 1
            continue
        line = {**key, **work(), **_where()}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(" ".join(f"{name}={_short(value)}" for name, value in line.items()), flush=True)
        written += 1
    return written, left


def _where() -> Line:
    return {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        return f"[{len(value)}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
