"""From the name or address of a source to the source."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from flows.errors import SettingsError, SourceError
from flows.secrets import expand
from flows.settings import BUNDLED, Settings
from flows.sources.bundled import BundledSource
from flows.sources.databases import is_database
from flows.sources.files import FileSource
from flows.sources.plugins import open_plugin
from flows.sources.source import Source
from flows.sources.sql import SqlSource


def open_source(settings: Settings, environ: Mapping[str, str] = os.environ) -> Source:
    """The source that the settings name. ``${VAR}`` in its address is expanded on connecting, and nowhere before.

    Raises
    ------
    SourceError
        There is no name, or it is of a kind that is not known.
    SettingsError
        Column names are given for a bundled source, or a variable in the address is not set.
    """
    if not settings.source.strip():
        raise SourceError(
            f"A source must be {' or '.join(BUNDLED)} (bundled), or the path or address of your own, got nothing. "
            "Name one with --source, or leave --source out."
        )
    if settings.source in BUNDLED:
        _refuse_column_names(settings)
        return BundledSource(settings.source)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", expand(settings.source, environ))
    if scheme is None:
        return FileSource(Path(expand(settings.source, environ)), settings)
    if is_database(scheme[1]):
        return SqlSource(settings, environ)
    return open_plugin(scheme[1], settings)


def _refuse_column_names(settings: Settings) -> None:
    defaults = {name: Settings.model_fields[name].default for name in ("series_id", "time", "target", "layout")}
    named = [name for name, default in defaults.items() if getattr(settings, name) not in (default, "long")]
    if named:
        raise SettingsError(
            f"{', '.join(named)} must be left out with the bundled source {settings.source!r}. "
            "For a source of your own, give its path or address."
        )
