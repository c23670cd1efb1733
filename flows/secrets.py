"""Secrets come from the environment only: passwords in addresses are refused, ``${VAR}`` is expanded on connecting."""

import re
from collections.abc import Mapping

from flows.errors import SettingsError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# user:password@ after the scheme. Generous on purpose: a password may itself hold "/", "?" or "@".
_IN_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^:@]*:(?P<secret>[^@]*)@")
# ...?password=, &token=, or libpq's "host=... password=..."
_IN_PARAMETER = re.compile(r"(?:password|passwd|pwd|secret|token|api_?key|sig(?:nature)?)=(?P<secret>[^&\s]*)", re.I)


def refuse_password(address: str, setting: str, found_in: str) -> None:
    """Refuse an address that carries a password, without repeating it.

    Parameters
    ----------
    address : str
        A source or warehouse address; plain paths pass.
    setting : str
        Name of the setting, for the message.
    found_in : str
        Where the value came from, for the message.

    Raises
    ------
    SettingsError
        The address holds a password that is not written as ``${VAR}``.
    """
    for pattern in (_IN_ADDRESS, _IN_PARAMETER):
        match = pattern.search(address)
        if match and match["secret"] and _VARIABLE.sub("", match["secret"]):
            raise SettingsError(
                f"{setting} ({found_in}) must not hold a password, since settings are kept and logged. "
                "Put it into an environment variable, say PRICES_PASSWORD, and write ${PRICES_PASSWORD} in its place."
            )


def expand(text: str, environ: Mapping[str, str]) -> str:
    """The text with each ``${VAR}`` replaced by that environment variable. Call it at the moment of connecting only.

    Raises
    ------
    SettingsError
        A variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            raise SettingsError(
                f"{text} needs the environment variable {name}, which is not set. Set it and run again."
            )
        return environ[name]

    return _VARIABLE.sub(value, text)
