"""Price sources. No other package opens what users own."""

from tidecast.flows.parsing.fetched import NEEDED, OPTIONAL, Fetched
from tidecast.flows.sources.base import Source
from tidecast.flows.sources.bundled import BundledSource
from tidecast.flows.sources.files import FileSource
from tidecast.flows.sources.opening import open_source
from tidecast.flows.sources.sql import SqlSource
from tidecast.flows.sources.web import WebSource
from tidecast.flows.sources.yahoo import YahooSource

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
