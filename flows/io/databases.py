"""Databases by their SQLAlchemy address: engines, tables, and error messages without passwords."""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidecast.features.error_text import ended, shorten
from tidecast.flows.config.secrets import expand
from tidecast.flows.errors import SourceError

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

DIALECTS = ("postgresql", "postgres", "sqlite", "mysql", "mariadb", "mssql", "oracle")
_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
"""Scheme to driver, where an address names none: SQLAlchemy's own default is psycopg2."""

_MAY_PASS = re.compile(
    "connection refused|server closed the connection|starting up|shutting down|terminat|not accepting|reset by peer|"
    "broken pipe|timeout|timed out|too many clients|too many connections|lost|gone away|database is locked|recovery",
    re.I,
)
_ADVICE = {
    "statement timeout": "Raise the timeout: end the address in ?options=-c%20statement_timeout%3D0, or change "
    "the timeout of this user.",
    "after year 10K|before year 1": 'Leave such rows out with --query "SELECT … FROM … WHERE isfinite(…)".',
    "password|authentication|denied for user|role .* does not exist": "Check user and password: write "
    "USER:${VAR}@ before the host, and set the environment variable VAR to the password.",
    "resolve|translate host|name or service|nodename|getaddrinfo": "Check the host.",
    "refused|timeout|timed out|unreachable": "Check host and port, and whether the server runs.",
    "database .* does not exist|unknown database": "Check the database's name, after the last slash.",
    "permission denied|denied to user": "Grant the permission to this user.",
}
_OPEN = ("sslmode", "options", "application_name", "connect_timeout", "target_session_attrs")
"""Parameters of an address that hold no secret."""


def is_database(scheme: str) -> bool:
    """Whether SQLAlchemy, or an installed package, has a dialect for addresses of this scheme.

    Parameters
    ----------
    scheme : str
        Such as "postgresql" or "postgresql+psycopg".
    """
    name = scheme.split("+")[0].lower()
    points = entry_points(group="sqlalchemy.dialects")
    return name in DIALECTS or any(point.name.split(".")[0] == name for point in points)


def engine_of(address: str, setting: str, environ: Mapping[str, str] = os.environ) -> "Engine":
    """Return an engine that is not connected yet. ``${VAR}`` is expanded here.

    Parameters
    ----------
    address : str
    setting : str
        Name of the setting, for messages.
    environ : mapping
        The environment variables.

    Raises
    ------
    SourceError
        The address is not one of a database, or its driver is not installed.
    SettingsError
        A variable in the address is not set.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError
    from sqlalchemy.pool import NullPool

    url = url_of(address, setting, environ)
    is_psycopg = url.drivername == "postgresql+psycopg"
    timeouts = {"connect_timeout": 10, "keepalives_idle": 60} if is_psycopg else {}
    try:
        return create_engine(url, poolclass=NullPool, connect_args=timeouts, hide_parameters=True)
    except ImportError as error:
        install = (
            "pip install 'tidecast[postgres]'"
            if is_psycopg
            else "pip install it, or name another driver: SCHEME+DRIVER://"
        )
        raise SourceError(
            f"{setting} needs the driver {error.name or url.drivername}, which is not installed. "
            f"To install it: {install}."
        ) from None
    except ArgumentError as error:
        raise SourceError(f"{setting} must be a database's address, got {address}: {ended(error)} Check it.") from None


def url_of(address: str, setting: str, environ: Mapping[str, str]) -> "URL":
    """Return the parts of an address, with variables expanded and the driver that Tidecast installs.

    Parameters
    ----------
    address : str
        With variables such as ``${PASSWORD}``.
    setting : str
        Name of the setting that holds it, for messages.
    environ : mapping
        Where variables are looked up.

    Raises
    ------
    SourceError
        The address is not one of a database.
    SettingsError
        A variable in the address is not set.
    """
    url = _expanded(address, setting, environ)
    return url.set(drivername=_DRIVERS[url.drivername]) if url.drivername in _DRIVERS else url


def _expanded(address: str, setting: str, environ: Mapping[str, str]) -> "URL":
    """Return the parts of an address, each expanded by itself: a password may hold any character, also "@" and "/"."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # the scheme or the port is a variable
        try:
            return make_url(expand(address, environ))
        except (ArgumentError, ValueError):
            example = "postgresql://USER:${VAR}@HOST:5432/DATABASE"
            raise SourceError(f"{setting} must be a database's address like {example}, got {address}.") from None
    names = ("username", "password", "host", "database")
    parts: dict[str, Any] = {
        name: expand(str(value), environ) for name in names if (value := getattr(url, name)) is not None
    }
    query = {
        name: expand(value, environ) if isinstance(value, str) else tuple(expand(part, environ) for part in value)
        for name, value in url.query.items()
    }
    return url.set(**parts, query=query)


def refuse_missing_file(engine: "Engine", setting: str) -> None:
    """Refuse an SQLite file that does not exist: SQLite would create it, without tables.

    Parameters
    ----------
    engine : Engine
    setting : str
        Name of the setting that holds the address, shown in messages.

    Raises
    ------
    SourceError
        There is no such file.
    """
    path = engine.url.database
    if engine.dialect.name == "sqlite" and path and path != ":memory:" and not Path(path).exists():
        raise SourceError(f"{setting} must be an existing database, but there is no file {path}. Check the path.")


def may_pass(error: BaseException) -> bool:
    """Whether a failure may be temporary: a restarting server, a broken connection, a lock.

    Parameters
    ----------
    error : BaseException
    """
    from sqlalchemy.exc import DBAPIError

    if not isinstance(error, DBAPIError):
        return False
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if error.connection_invalidated or state[:2] in ("08", "40") or state in ("57P01", "57P02", "57P03", "53300"):
        return True
    return (
        not state
        and type(error).__name__ in ("OperationalError", "InterfaceError")
        and bool(_MAY_PASS.search(str(error.orig)))
    )


def message_of(error: Exception, engine: "Engine") -> str:
    """Return the database's message in one line, without secrets, and advice where there is some.

    Parameters
    ----------
    error : Exception
    engine : Engine
        The one that raised it; secrets in its address are hidden.
    """
    from sqlalchemy.exc import DBAPIError

    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = " ".join(str(cause).split()).removesuffix(".") or type(cause).__name__
    hidden = [value for name, value in engine.url.query.items() if name not in _OPEN]
    for secret in (engine.url.password, *hidden):
        if isinstance(secret, str) and secret:
            said = said.replace(secret, "…")
    advice = next((text for pattern, text in _ADVICE.items() if re.search(pattern, said, re.I)), "")
    return f"{ended(said)} {advice}".strip()


def columns_of(connection: "Connection", table: str, address: str) -> dict[str, object]:
    """Return the columns of a table or view and their types; "schema.table" is looked up in that schema.

    Parameters
    ----------
    connection : Connection
    table : str
        As users write it.
    address : str
        Without secrets, shown in messages.

    Raises
    ------
    SourceError
        The table does not exist; the near match is named.
    """
    from sqlalchemy import inspect

    found = inspect(connection)
    schema, name = split_table(table)
    if found.has_table(name, schema):
        return {str(column["name"]): column["type"] for column in found.get_columns(name, schema)}
    names = tables_of(connection, schema)
    near = get_close_matches(table.lower(), {other.lower(): other for other in names}, n=1, cutoff=0.5)
    match = next((other for other in names if near and other.lower() == near[0]), None)
    hint = f"Did you mean {match!r}?" if match else "A table of another schema is written SCHEMA.TABLE."
    there = f"only {shorten(names)}" if names else f"and nothing else in {'that schema' if schema else 'its own'}"
    if not names and (schemas := [name for name in found.get_schema_names() if name != "information_schema"]):
        hint = f"It has the schemas {shorten(schemas)}. Write names that have dots in double quotes."
    raise SourceError(f"The table must exist, but {address} has no {table!r}, {there}. {hint}")


def tables_of(connection: "Connection", schema: str | None = None) -> list[str]:
    """Return the tables and views of a schema (None: the default one), as users write them.

    Parameters
    ----------
    connection : Connection
    schema : str, optional
    """
    from sqlalchemy import inspect

    found = inspect(connection)
    before = f"{_written(schema)}." if schema else ""
    return [before + _written(name) for name in (*found.get_table_names(schema), *found.get_view_names(schema))]


def split_table(table: str) -> tuple[str | None, str]:
    """Return schema (None if there is none) and name. In double quotes, a dot is part of the name.

    Parameters
    ----------
    table : str
        As users write it.
    """
    quoted = re.fullmatch(r'(?:"((?:[^"]|"")+)"|([^".]+))\.(?:"((?:[^"]|"")+)"|([^".]+))|"((?:[^"]|"")+)"', table)
    if quoted is None:
        schema, _, name = table.rpartition(".")
        return schema or None, name
    parts = [part.replace('""', '"') for part in quoted.groups() if part is not None]
    return (parts[0] if len(parts) > 1 else None), parts[-1]


def _written(name: str) -> str:
    """Return a name as it is written before or after a dot."""
    return '"' + name.replace('"', '""') + '"' if re.search('[."]', name) else name
