"""Environment variables for Prefect and MLflow: where their files lie, and how much they log. Set by the command only.

All values are defaults: variables that the user has set stay as they are; only NO_PROXY is extended. A Prefect profile
of the user's is used, not hidden: then `PREFECT_HOME` is not set, and runs appear where the profile says.
"""

import logging
import warnings
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from tidecast.flows.log import log

FOR_RUNS = {
    # no telemetry from any library
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # our log goes to Prefect's interface
    "PREFECT_LOGGING_EXTRA_LOGGERS": log.name,
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "GIT_PYTHON_REFRESH": "quiet",
    # an unreachable tracking server is noticed after 14 s, and the random walk published; MLflow would wait 4 minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}
"""Variables of a run's process, wherever it starts."""

_DEFAULTS = FOR_RUNS | {
    # a cold start takes half a minute on a slow machine; Prefect gives up after 20 s
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # Prefect's log does not go to our terminal
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_CHATTY = ("alembic", "mlflow", "prefect", "httpx", "httpcore", "distributed", "matplotlib", "asyncio", "uvicorn")


def additions(prefect_home: Path, environ: Mapping[str, str], user_home: Path) -> dict[str, str]:
    """Return the variables that the command adds to `environ`.

    Parameters
    ----------
    prefect_home : Path
        Prefect's folder inside the state folder.
    environ : mapping of str to str
        The environment as the user gave it.
    user_home : Path
        The user's home directory, where a Prefect profile of their own may lie.

    Returns
    -------
    dict of str to str
    """
    added = {name: value for name, value in _DEFAULTS.items() if name not in environ}
    own = any(name in environ for name in ("PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"))
    if not own and not (user_home / ".prefect" / "profiles.toml").exists():
        added["PREFECT_HOME"] = str(prefect_home)
    if "MPLCONFIGDIR" not in environ and not (user_home / ".config" / "matplotlib").exists():
        added["MPLCONFIGDIR"] = str(prefect_home.parent / "matplotlib")  # it keeps a list of fonts
    if any(name.lower() in _PROXIES for name in environ):
        added |= dict.fromkeys(("NO_PROXY", "no_proxy"), _without_proxy(environ))
    return added


def _without_proxy(environ: Mapping[str, str]) -> str:
    """The hosts that a proxy must not be asked for: the user's, and this machine, where Prefect's server starts."""
    named = [environ[name] for name in ("no_proxy", "NO_PROXY") if environ.get(name)]
    hosts = [host.strip() for text in named for host in text.split(",") if host.strip()]
    return ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))


def enter(prefect_home: Path, environ: MutableMapping[str, str], debug: bool = False) -> None:
    """Set the variables, and silence other libraries. Call it before Prefect and MLflow are imported.

    Parameters
    ----------
    prefect_home : Path
        Prefect's folder inside the state folder.
    environ : mapping
        Is changed.
    debug : bool
        Whether to leave warnings and logs of other libraries as they are.
    """
    environ.update(additions(prefect_home, environ, Path.home()))
    if debug:
        return
    environ.setdefault("PYTHONWARNINGS", "ignore")  # processes started from here
    warnings.simplefilter("ignore")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
