"""Errors that users can act on: the command line prints one line, without a traceback.

TidecastError
├── SettingsError    a setting is impossible, misspelt, or contradicts panel.json
├── SourceError      the price source cannot be opened or understood
├── WarehouseError   a table would break its own rules, or cannot be read or written
├── Partial          forecasts are published, but not everything was done
└── Busy             another run holds the state folder
"""

from typing import Any

from tidecast.flows.redaction import redact


class TidecastError(Exception):
    """One line: the requirement, what was found, and what to do. Secrets in it are hidden.

    Parameters
    ----------
    *args : object
        As an Exception takes them.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*(redact(part) if isinstance(part, str) else part for part in args))


class SettingsError(TidecastError):
    """A setting is impossible, misspelt, or contradicts panel.json."""


class SourceError(TidecastError):
    """The price source cannot be opened or understood."""


class WarehouseError(TidecastError):
    """A table would break its own rules, or cannot be read or written."""


class Partial(TidecastError):
    """Forecasts are published, but not everything was done. The command line exits with 3."""


class Busy(TidecastError):
    """Another run holds the state folder. The command line exits with 75 (EX_TEMPFAIL)."""


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust (deltalake, polars) panicked: its PanicException is not an Exception.

    Parameters
    ----------
    error : BaseException
    """
    return type(error).__name__ == "PanicException"
