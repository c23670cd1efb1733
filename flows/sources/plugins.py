"""Sources of the user's own, found by the entry points of installed packages."""

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError, TidecastError
from tidecast.flows.sources.base import Source

GROUP = "tidecast.sources"


def schemes() -> list[str]:
    """The schemes of addresses that installed packages bring."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def open_plugin(scheme: str, settings: Settings) -> Source:
    """The source that an installed package has for this scheme, opened with the address as it is written.

    Raises
    ------
    SourceError
        No package has one (the near match is named), several have, or the one there is cannot be loaded, fails on
        opening, or is no source.
    """
    points = list(entry_points(group=GROUP, name=scheme))
    if not points:
        near = get_close_matches(scheme, schemes(), n=1)
        known = ", ".join(f"{name}://" for name in schemes())
        hint = f"Did you mean {near[0]}://?" if near else f"Known by installed packages: {known or 'none'}."
        raise SourceError(f"The scheme of a source must be known, found {scheme}://. {hint} docs/sources.md lists all.")
    if len(points) > 1:
        raise SourceError(
            f"One package must bring the source {scheme}://, found {' and '.join(_whose(point) for point in points)}. "
            "Uninstall one."
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
            f"{type(error).__name__}: {error}. Mend or uninstall that package."
        ) from error
    if not (callable(getattr(source, "fetch", None)) and isinstance(getattr(source, "name", None), str)):
        raise SourceError(
            f"The source {point.name}:// must have a name and a method fetch(since=None); {_whose(point)} gave a "
            f"{type(source).__name__} without. docs/sources.md has an example."
        )
    return source


def _whose(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name if point.dist else 'a package'}"
