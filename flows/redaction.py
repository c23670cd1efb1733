"""Recognise secrets in text and replace them. Every output of Tidecast calls `redact`.

A secret is

- a value of an environment variable that ``${VAR}`` put into an address (`learn`), or whose name looks like a secret;
- user and password of an address anywhere in a text; a user alone is a token in ``http`` addresses;
- a parameter whose name looks like a secret (``?key=``, ``api-key=``, ``password=``, ``sig=``, …);
- an access key of AWS, and the value after ``Authorization: Basic`` or ``Bearer``.

Known values are also found as they are written in URLs, HTML, JSON and Basic authentication.
"""

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN = "…"
SHORTEST = 4
"""Fewest characters of a value that is hidden in any text; shorter ones only in addresses and parameters."""

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")

_WORDS = {
    *("key", "apikey", "accesskey", "secretkey", "authkey", "userkey", "privatekey", "appkey", "sharedkey"),
    *("accountkey", "subscriptionkey", "keyid", "token", "accesstoken", "authtoken", "apitoken", "sastoken", "jwt"),
    *("bearer", "sig", "signature", "password", "passwd", "pwd", "pass", "passphrase", "secret", "clientsecret"),
    *("auth", "authorization", "credential", "credentials", "appid"),
}
_NOT_SECRET = ("sslkey", "sslrootcert")
_FOLDERS = ("PWD", "OLDPWD")
_SWITCHES = ("true", "false", "none", "null", "basic", "default", "enabled", "disabled")
_USERINFO = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:"
    r"(?P<user>[^\s:@/?#'\"<>]*):(?P<password>(?!\d{1,5}(?:[/?#]|$))[^\s'\"<>]+)|(?P<token>[^\s:@/?#'\"<>]+):?)@"
)
_PARAMETER = re.compile(r"(?<![\w%$.-])(?P<name>[A-Za-z%][\w%-]*)=(?P<value>[^&;#\s'\",)\]>]+)")
_HEADER = re.compile(r"(?P<before>authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer|token)\s+)[^\s'\"]+", re.I)
_AWS = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")

_learned: dict[str, str] = {}
"""Value to hide, to the text that replaces it."""


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether a parameter or variable of this name holds a secret: ``api-key``, ``X-Amz-Signature``, ``PGPASSWORD``.

    Parameters
    ----------
    name : str
        Percent-encoded, or not.
    """
    name = unquote(name)
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])", name) if word]
    if "".join(words) in _NOT_SECRET:
        return False
    found = _WORDS.intersection([*words, "".join(words)])
    return bool(found) or (bool(words) and words[-1].endswith(("password", "passwd", "secret", "token", "apikey")))


def secrets_in(text: str) -> list[str]:
    """Return the secrets that a text, such as an address, spells out; ``${VAR}`` is not a secret.

    Parameters
    ----------
    text : str
    """
    found = []
    for match in _USERINFO.finditer(text):
        bare = match["token"] if match["scheme"].lower() in ("http", "https") else None
        found.append(match["password"] or bare)
    found += [match["value"] for match in _PARAMETER.finditer(text) if looks_secret(match["name"])]
    found += _AWS.findall(text)
    return [secret for secret in found if secret and not _is_variable(secret)]


def learn(name: str, value: str, address: str) -> None:
    """Hide `value` of the environment variable `name` from now on, because `address` uses it.

    Hosts, ports, names of databases and paths of files are not secrets, unless the variable's name says so.

    Parameters
    ----------
    name : str
    value : str
    address : str
        The address before the variable is replaced.
    """
    if "://" in value:
        _learned.update(_of_address(name, value))
    elif looks_secret(name) or _in_secret_place(name, address):
        _learned[value] = f"${{{name}}}"


def redact(text: str) -> str:
    """Return the text without secrets: ``${VAR}`` where a value came from a variable, else "…".

    Parameters
    ----------
    text : str
    """
    hidden = _learned | _from_environment(tuple(sorted(_secret_variables(os.environ).items())))
    if hidden:
        pattern, shown = _compiled(tuple(sorted(hidden.items())))
        text = pattern.sub(lambda match: shown[match[0]], text)
    if "://" in text:
        text = _USERINFO.sub(_without_userinfo, text)
    if "=" in text:
        text = _PARAMETER.sub(_without_value, text)
    text = _HEADER.sub(lambda match: match["before"] + HIDDEN, text)
    return _AWS.sub(HIDDEN, text)


def beginning(text: str, most: int) -> str:
    """Return the first characters of a text on one line, redacted before the cut: half a secret is not recognised.

    Parameters
    ----------
    text : str
    most : int
        Characters.
    """
    return redact(" ".join(text.split()))[:most]


def _without_userinfo(match: re.Match[str]) -> str:
    scheme, user = match["scheme"], match["user"]
    if match["password"] is not None:
        return match[0] if _is_variable(match["password"]) else f"{scheme}://{user}:{HIDDEN}@"
    is_open = scheme.lower() not in ("http", "https") or _is_variable(match["token"])
    return match[0] if is_open else f"{scheme}://{HIDDEN}@"


def _without_value(match: re.Match[str]) -> str:
    is_open = not looks_secret(match["name"]) or _is_variable(match["value"]) or match["value"] == HIDDEN
    return match[0] if is_open else f"{match['name']}={HIDDEN}"


def _is_variable(value: str) -> bool:
    """Whether a value, up to the ``@`` after it, consists of variables only."""
    return not VARIABLE.sub("", value.partition("@")[0])


def _in_secret_place(name: str, address: str) -> bool:
    """Whether ``${name}`` is where an address may hold a secret: not in a host, and in a path only on the web."""
    scheme, found, rest = address.partition("://")
    variable = f"${{{name}}}"
    if not found:  # a path, unless it begins with a variable that may hold scheme and host
        scheme, rest = "", address if address.startswith("${") else ""
    before_query, _, query = rest.partition("?")
    userinfo, _, host_and_path = before_query.rpartition("@")
    path = host_and_path.partition("/")[2]
    is_web = scheme.lower() in ("http", "https")
    return variable in userinfo or variable in query or (is_web and variable in path)


def _of_address(name: str, address: str) -> Iterator[tuple[str, str]]:
    """Yield what to hide of an address in a variable: its secrets, and all of it if it is more than scheme and host.

    MLflow's own variables hold the address of its pages, which are printed: of these only the secrets are hidden.
    """
    try:
        parts = urlsplit(address)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError:
        parts, user, password = None, "", ""
    is_page = name.startswith("MLFLOW_")
    if parts is None or parts.username or parts.query or (parts.path.strip("/") and not is_page):
        yield address, f"${{{name}}}"
    for secret in secrets_in(address):
        yield secret, HIDDEN
        yield unquote(secret), HIDDEN
    if password:
        yield password, HIDDEN
        for user_and_password in (f"{user}:{password}", f"{parts.username}:{parts.password}" if parts else ""):
            yield base64.b64encode(user_and_password.encode()).decode(), HIDDEN


def _secret_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that hold a secret, by their name or by the address in them."""
    return {
        name: value
        for name, value in environ.items()
        if len(value) >= SHORTEST
        and name not in _FOLDERS
        and value.lower() not in _SWITCHES
        and (looks_secret(name) or ("://" in value and secrets_in(value)))
    }


@lru_cache(maxsize=8)
def _from_environment(variables: tuple[tuple[str, str], ...]) -> dict[str, str]:
    hidden: dict[str, str] = {}
    for name, value in variables:
        if "://" in value:
            hidden |= dict(_of_address(name, value))
        elif not (os.path.isabs(value) and os.path.exists(value)):  # SSH_AUTH_SOCK, a file of keys
            hidden[value] = f"${{{name}}}"
    return hidden


@lru_cache(maxsize=8)
def _compiled(hidden: tuple[tuple[str, str], ...]) -> tuple[re.Pattern[str], dict[str, str]]:
    """Return a pattern of every form of the values, longer ones first, and the replacement of each form."""
    shown: dict[str, str] = {}
    for value, name in hidden:
        if len(value) >= SHORTEST:
            for written in _written(value):
                shown.setdefault(written, name)
    ways = sorted(shown, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ways)) or r"(?!)"), shown


def _written(value: str) -> Iterable[str]:
    """Return a value as it is, and as URLs, HTML, JSON, Python and Basic authentication write it."""
    raw = value.encode()
    escaped = {quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe="!$&'()*+,;=:@")}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), way) for way in escaped}
    quoted = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    pages = {html.escape(value), html.escape(value, quote=False)}
    basic = {base64.b64encode(before + raw) for before in (b"", b":")}
    packed = {base64.urlsafe_b64encode(raw).decode(), *(way.decode() for way in basic)}
    return {value, *escaped, *lower, *quoted, *pages, *packed, *(way.rstrip("=") for way in packed)}
