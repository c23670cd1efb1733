"""Versions of libraries that Tidecast does not work with, and what to install in their place."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

TIDECAST = "tidecast"


@dataclass(frozen=True)
class KnownBad:
    """Versions of a library that break something.

    Attributes
    ----------
    library : str
    versions : str
        The bad ones, as pip writes them: ">=0.151".
    effect : str
        What goes wrong with them.
    install : str
        What to install, as pip writes it.
    """

    library: str
    versions: str
    effect: str
    install: str


KNOWN_BAD = (
    KnownBad("fastapi", ">=0.151", "Prefect 3.8 runs no flow with it", "fastapi<0.151"),
    KnownBad("sqlalchemy", ">=2.1", "Prefect 3.8 schedules no run with it, and says nothing", "sqlalchemy>=2.0,<2.1"),
)
"""Each is excluded by the requirements in pyproject.toml, too; a later ``pip install -U`` does not read those."""


def version_problems() -> list[str]:
    """Return a sentence per installed library whose version does not work, or was never tried, with what to install."""
    known = {bad.library: text for bad in KNOWN_BAD if (text := _known_bad(bad)) is not None}
    return [*known.values(), *(text for name, text in _outside() if name not in known)]


def _known_bad(bad: KnownBad) -> str | None:
    found = _version(bad.library)
    if found is None or not SpecifierSet(bad.versions).contains(found, prereleases=True):
        return None
    return f"{bad.library} must not be {bad.versions}, found {found}: {bad.effect}. Run: pip install '{bad.install}'"


def _outside() -> Iterator[tuple[str, str]]:
    """Libraries outside of what the installed Tidecast requires, extras left out: name and sentence."""
    for text in _requirements():
        try:
            needed = Requirement(text)
        except InvalidRequirement:
            continue
        found = _version(needed.name)
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        if applies and found is not None and not needed.specifier.contains(found, prereleases=True):
            to_do = f"Run: pip install '{needed.name}{needed.specifier}'"
            problem = f"{needed.name} must be {needed.specifier}, found {found}: Tidecast is not tested with it."
            yield needed.name.lower(), f"{problem} {to_do}"


def _requirements() -> list[str]:
    try:
        return metadata.requires(TIDECAST) or []
    except metadata.PackageNotFoundError:  # a checkout on the path that was never installed
        return []


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
