"""Write a prefect.yaml with a panel's deployments, for `prefect deploy`."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.scheduling.deployments import PanelDeployment, deployments_of
from tidecast.flows.scheduling.prefect_env import FOR_RUNS

HEAD = """\
# Written by `tidecast schedule --write`; write it again when the panel's calendar or hours have changed.
# 1. prefect work-pool create {pool} --type process     (once)
# 2. prefect deploy --all --prefect-file {file}
# 3. prefect worker start --pool {pool}
"""


def write_prefect_yaml(
    file: Path, home: StateFolder, settings: Settings, origins: Mapping[str, str], pool: str
) -> Path:
    """Write the deployments of a panel to a file, and return its path.

    Parameters
    ----------
    file : Path
        Replaced, if it is there.
    home : StateFolder
    settings : Settings
    origins : mapping of str to str
        Where the settings came from, as `load_settings` returns it.
    pool : str
        The work pool.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    named = {name for name in origins.values() if name.startswith("TIDECAST_")} | {"TIDECAST_SOURCE"}
    environ = {name: os.environ[name] for name in sorted(named) if name in os.environ}
    planned = deployments_of(home, settings, datetime.now(UTC).date())
    file.write_text(prefect_yaml(planned, home, environ, Path.cwd(), pool, file), encoding="utf-8")
    return file.absolute()


def prefect_yaml(
    planned: Sequence[PanelDeployment], home: StateFolder, environ: Mapping[str, str], cwd: Path, pool: str, file: Path
) -> str:
    """Return the text of a prefect.yaml.

    Parameters
    ----------
    planned : sequence of PanelDeployment
    home : StateFolder
    environ : mapping of str to str
        Settings that came from the environment, by variable: a worker has another environment. No secrets.
    cwd : Path
        Where runs look for pyproject.toml and mlflow.yml.
    pool : str
        The work pool, of the type "process".
    file : Path
        Where the text will be, for its first lines.
    """
    variables = {"TIDECAST_HOME": str(home.path), **environ, **FOR_RUNS}
    job = {"working_dir": str(cwd), "env": variables}
    content = {
        "name": "tidecast",
        "pull": [],
        "deployments": [_entry(one, {"name": pool, "job_variables": job}) for one in planned],
    }
    head = HEAD.format(pool=pool, file=file.name)
    return head + yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


def _entry(planned: PanelDeployment, work_pool: dict[str, Any]) -> dict[str, Any]:
    times = planned.times
    when = {"cron": times.cron} if times.cron is not None else {"rrule": times.rrule}
    return {
        "name": planned.name,
        "description": planned.description,
        "tags": list(planned.tags),
        "entrypoint": planned.entrypoint,
        "parameters": {},
        "schedules": [{**when, "timezone": times.zone, "active": True}],
        "work_pool": work_pool,
    }


class _Plain(yaml.SafeDumper):
    """Without references (&id001), which nobody can read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
