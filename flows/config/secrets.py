"""Secrets come from the environment only: addresses that hold one are refused, ``${VAR}`` is expanded on connecting.

Expanded values are never shown: see `tidecast.flows.redaction`.
"""

import re
from collections.abc import Iterable, Mapping

from tidecast.flows.errors import SettingsError
from tidecast.flows.redaction import VARIABLE, learn, secrets_in

# user:password@ after the scheme; the password may itself hold "/", "?" or "@"
_IN_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://[^:@]*:(?!\d{1,5}[/?#])(?P<secret>[^@]*)@")

_IN_TEXT = re.compile(r"(?<=')[^']+(?=')|\S+://\S+")


def refuse_password(address: str, setting: str, found_in: str) -> None:
    """Refuse an address that holds a password, token or key; the message does not repeat it.

    Parameters
    ----------
    address : str
        A source or warehouse address; plain paths pass.
    setting : str
        Name of the setting, shown in messages.
    found_in : str
        Where the value came from, shown in messages.

    Raises
    ------
    SettingsError
        The address holds a secret that is not written as ``${VAR}``.
    """
    match = _IN_ADDRESS.search(address)
    if secrets_in(address) or (match and VARIABLE.sub("", match["secret"])):
        raise SettingsError(
            f"{setting} ({found_in}) must not hold a password, token or key, because settings are stored and logged. "
            "Put it into an environment variable, say PRICES_PASSWORD, and write ${PRICES_PASSWORD} in its place."
        )


def refuse_secret(text: str, setting: str, addresses: Iterable[str]) -> None:
    """Refuse a secret in a setting that is not an address.

    In SQL, ``token=t.token`` is a comparison; only texts in quotes and addresses can hold a secret.

    Parameters
    ----------
    text : str
    setting : str
        Name of the setting, shown in messages.
    addresses : iterable of str
        Names of the settings that may use a secret.

    Raises
    ------
    SettingsError
        The text holds a secret.
    """
    if any(map(secrets_in, _IN_TEXT.findall(text))):
        raise SettingsError(
            f"{setting} must not hold a password, token or key, because settings are stored and logged. Leave it out: "
            f"only {', '.join(addresses)} may use one, written as ${{VAR}}."
        )


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with each ``${VAR}`` replaced by that environment variable. Call it on connecting only.

    Parameters
    ----------
    text : str
        A value from the operator's own flags, environment or files, never from a request.
    environ : mapping
        The environment variables.

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
        learn(name, environ[name], text)
        return environ[name]

    return VARIABLE.sub(value, text)
