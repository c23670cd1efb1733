"""Price sources: where prices come from. The only code that opens what is not ours."""

from flows.sources.bundled import BundledSource
from flows.sources.files import FileSource
from flows.sources.opening import open_source
from flows.sources.source import NEEDED, OPTIONAL, Fetched, Source
from flows.sources.sql import SqlSource
from flows.sources.web import WebSource
from flows.sources.yahoo import YahooSource

__all__ = [
    "NEEDED",
    "OPTIONAL",
    "BundledSource",
    "Fetched",
    "FileSource",
    "Source",
    "SqlSource",
    "WebSource",
    "YahooSource",
    "open_source",
]
