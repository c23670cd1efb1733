"""Recognise secrets in text and put something harmless in their place; every way out of Tidecast asks here.

A secret is

- a value of an environment variable that ``${VAR}`` put into an address (`learn`), or whose name looks like a secret;
- user and password of an address, wherever one stands in a text; a user alone is a token in ``http`` addresses;
- a parameter whose name looks like a secret (``?key=``, ``api-key=``, ``password=``, ``sig=``, …);
- an access key of AWS, and what follows ``Authorization: Basic`` or ``Bearer``.

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
"""Characters of a value that is searched for in any text; shorter ones are hidden in addresses and parameters only."""

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

_known: dict[str, str] = {}
"""Values to hide, and what is shown in their place."""


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> bool:
    """Whether a parameter or variable of this name holds a secret: ``api-key``, ``X-Amz-Signature``, ``PGPASSWORD``."""
    name = unquote(name)
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])", name) if word]
    if "".join(words) in _NOT_SECRET:
        return False
    found = _WORDS.intersection([*words, "".join(words)])
    return bool(found) or (bool(words) and words[-1].endswith(("password", "passwd", "secret", "token", "apikey")))


def secrets_in(text: str) -> list[str]:
    """Secrets that are written out in a text, such as an address; ``${VAR}`` is none."""
    found = []
    for match in _USERINFO.finditer(text):
        bare = match["token"] if match["scheme"].lower() in ("http", "https") else None
        found.append(match["password"] or bare)
    found += [match["value"] for match in _PARAMETER.finditer(text) if looks_secret(match["name"])]
    found += _AWS.findall(text)
    return [secret for secret in found if secret and not _is_variable(secret)]


def learn(name: str, value: str, address: str) -> None:
    """Remember that `value`, of the environment variable `name`, came into an address, so that it is never shown.

    Hosts, ports, names of databases and paths of files are no secrets, unless the variable's name says so.
    """
    if "://" in value:
        _known.update(_of_address(name, value))
    elif looks_secret(name) or _in_secret_place(name, address):
        _known[value] = f"${{{name}}}"


def redact(text: str) -> str:
    """The text without its secrets: ``${VAR}`` where a value came from a variable, else "…"."""
    hidden = _known | _from_environment(tuple(sorted(_secret_variables(os.environ).items())))
    if hidden:
        pattern, shown = _compiled(tuple(sorted(hidden.items())))
        text = pattern.sub(lambda match: shown[match[0]], text)
    if "://" in text:
        text = _USERINFO.sub(_without_userinfo, text)
    if "=" in text:
        text = _PARAMETER.sub(_without_value, text)
    text = _HEADER.sub(lambda match: match["before"] + HIDDEN, text)
    return _AWS.sub(HIDDEN, text)


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
    """Whether nothing is written out in a value, up to the ``@`` after it."""
    return not VARIABLE.sub("", value.partition("@")[0])


def _in_secret_place(name: str, address: str) -> bool:
    """Whether ``${name}`` stands where an address may hold a secret: not in its host, nor in a path but of the web."""
    scheme, found, rest = address.partition("://")
    variable = f"${{{name}}}"
    if not found:  # a path, unless it begins with a variable that may hold all before it
        scheme, rest = "", address if address.startswith("${") else ""
    place, _, query = rest.partition("?")
    userinfo, _, place = place.rpartition("@")
    path = place.partition("/")[2]
    is_web = scheme.lower() in ("http", "https")
    return variable in userinfo or variable in query or (is_web and variable in path)


def _of_address(name: str, address: str) -> Iterator[tuple[str, str]]:
    """What to hide of an address in a variable: its secrets, and all of it when it is more than scheme and host.

    MLflow's own variables hold the address of its pages, which are printed: of these, only the secrets are hidden.
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
    """Variables that hold a secret by their name, or by an address with one in it."""
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
    """A pattern of every way in which the values may be written, and what is shown for each; longer ones first."""
    shown: dict[str, str] = {}
    for value, name in hidden:
        if len(value) >= SHORTEST:
            for written in _written(value):
                shown.setdefault(written, name)
    ways = sorted(shown, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ways)) or r"(?!)"), shown


def _written(value: str) -> Iterable[str]:
    """A value as it is, and as URLs, HTML, JSON, Python and Basic authentication write it."""
    raw = value.encode()
    escaped = {quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe="!$&'()*+,;=:@")}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), way) for way in escaped}
    quoted = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    pages = {html.escape(value), html.escape(value, quote=False)}
    basic = {base64.b64encode(before + raw) for before in (b"", b":")}
    packed = {base64.urlsafe_b64encode(raw).decode(), *(way.decode() for way in basic)}
    return {value, *escaped, *lower, *quoted, *pages, *packed, *(way.rstrip("=") for way in packed)}
