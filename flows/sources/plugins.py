"""Sources of users, found by the entry points of installed packages."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from tidecast.features.error_text import ended, meant
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError, TidecastError
from tidecast.flows.sources.base import Source

GROUP = "tidecast.sources"


def schemes() -> list[str]:
    """Return the schemes of addresses that installed packages add."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def open_plugin(scheme: str, settings: Settings, known: Sequence[str] = ()) -> Source:
    """Return the source that an installed package has for a scheme, opened with the address as it is written.

    Parameters
    ----------
    scheme : str
        Of the address: "vault" of "vault://…".
    settings : Settings
        Handed to the source.
    known : sequence of str
        Schemes that need no package, to name the near match.

    Raises
    ------
    SourceError
        No package has the scheme (the near match is named), several have it, or the source cannot be loaded, fails when
        opened, or lacks a name or `fetch`.
    """
    points = list(entry_points(group=GROUP, name=scheme))
    if not points:
        added = ", ".join(f"{name}://" for name in schemes())
        hint = meant(scheme, [*known, *schemes()], "{}://".format)
        hint = hint or f" Known by installed packages: {added or 'none'}."
        raise SourceError(
            f"The scheme of a source must be known, found {scheme}://.{hint} docs/sources.md lists all schemes."
        )
    if len(points) > 1:
        raise SourceError(
            f"Only one package may add {scheme}://, found {' and '.join(_whose(point) for point in points)}. "
            "Uninstall the others."
        )
    return _opened(points[0], settings)


def _opened(point: EntryPoint, settings: Settings) -> Source:
    try:
        source = point.load()(settings.source, settings)
    except TidecastError:
        raise
    except Exception as error:
        raise SourceError(
            f"The source {point.name}:// must be callable with an address and the settings; {_whose(point)} gave "
            f"{type(error).__name__}: {ended(error)} Fix or uninstall that package."
        ) from error
    if not (callable(getattr(source, "fetch", None)) and isinstance(getattr(source, "name", None), str)):
        raise SourceError(
            f"The source {point.name}:// must have a name and a method fetch(since=None); {_whose(point)} gave a "
            f"{type(source).__name__} without them. docs/sources.md has an example."
        )
    return source


def _whose(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name if point.dist else 'a package'}"
