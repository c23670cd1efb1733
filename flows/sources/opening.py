"""Open the source that a name or address stands for."""

import os
import re
from collections.abc import Mapping

from tidecast.flows.config.secrets import expand
from tidecast.flows.config.settings import BUNDLED, CALENDARS, DROP, Settings
from tidecast.flows.errors import SettingsError, SourceError
from tidecast.flows.io.databases import DIALECTS, is_database
from tidecast.flows.sources.base import Source
from tidecast.flows.sources.bundled import BundledSource
from tidecast.flows.sources.file_listing import OBJECT_STORES
from tidecast.flows.sources.files import FileSource
from tidecast.flows.sources.plugins import open_plugin
from tidecast.flows.sources.sql import SqlSource
from tidecast.flows.sources.web import WebSource, ecb_settings
from tidecast.flows.sources.yahoo import YahooSource

_SCHEME = r"([A-Za-z][A-Za-z0-9+.-]+)://"


def open_source(settings: Settings, environ: Mapping[str, str] = os.environ) -> Source:
    """Return the source that the settings name. ``${VAR}`` in its address is expanded on connecting, not before.

    Parameters
    ----------
    settings : Settings
    environ : mapping
        Where ``${VAR}`` is looked up.

    Raises
    ------
    SourceError
        The name is empty, or its scheme is unknown.
    SettingsError
        Column names are given for a bundled source, or a variable in the address is not set.
    """
    if not settings.source.strip():
        raise SourceError(
            f"A source must be {' or '.join(BUNDLED)} (bundled), or the path or address of your own, got nothing. "
            "Name one with --source, or leave --source out."
        )
    if settings.source in CALENDARS:
        _refuse_column_names(settings)
        is_bundled = settings.source in BUNDLED
        return BundledSource(settings.source) if is_bundled else WebSource(ecb_settings(settings), environ)
    address = settings.source.removeprefix(DROP)
    found = re.match(_SCHEME, expand(address, environ) if address.startswith("${") else address)
    scheme = found[1].lower() if found else ""
    if scheme in ("", *OBJECT_STORES):
        return FileSource(settings, environ)
    if scheme in ("http", "https"):
        return WebSource(settings, environ)
    if scheme == "yahoo":
        return YahooSource(settings)
    if is_database(scheme):
        return SqlSource(settings, environ)
    return open_plugin(scheme, settings, known=(*OBJECT_STORES, "http", "https", "yahoo", *DIALECTS))


def _refuse_column_names(settings: Settings) -> None:
    defaults = {name: Settings.model_fields[name].default for name in ("series_id", "time", "target", "layout")}
    named = [name for name, default in defaults.items() if getattr(settings, name) not in (default, "long", "wide")]
    if named:
        raise SettingsError(
            f"{', '.join(named)} must be left out with the bundled source {settings.source!r}. "
            "For a source of your own, give its path or address."
        )
