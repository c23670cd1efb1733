"""What is installed: extras, the source archive's list, import cost, and the image."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement

from tidecast.flows.cli.main import tidecast

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
MOST_MODULES = {"tidecast": 120, "tidecast.flows.cli.main": 450}
"""Modules that an import may load, the interpreter's own included: 62 and 282 when this was written."""


def test_every_extra_stands_in_the_docs_and_has_content_except_plot():
    extras = PROJECT["optional-dependencies"]
    assert {"postgres", "web", "s3", "dask", "plot", "bench", "docs", "dev"} <= set(extras)
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert [name for name in extras if f"`{name}`" not in page] == []
    assert [name for name, needs in extras.items() if not needs] == ["plot"]
    assert any(text.startswith("matplotlib") for text in PROJECT["dependencies"]), "what makes an empty plot honest"


@pytest.mark.parametrize("module", MOST_MODULES)
def test_an_import_stays_small(module, tmp_path):
    script = f"import sys, {module}; print(len(sys.modules)); print(*{{name.split('.')[0] for name in sys.modules}})"
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    count, names = said.splitlines()
    assert int(count) <= MOST_MODULES[module]
    assert not {"numpy", "polars", "pandas", "torch", "prefect", "mlflow"} & set(names.split())


def installed() -> dict[str, Distribution]:
    """The libraries that the base installation needs, directly or not, by name."""
    found: dict[str, Distribution] = {}
    wanted, seen = [Requirement(text) for text in PROJECT["dependencies"]], set()
    while wanted:
        one = wanted.pop()
        if (key := (one.name.lower(), frozenset(one.extras))) in seen:
            continue
        seen.add(key)
        try:
            library = distribution(one.name)
        except PackageNotFoundError:  # an optional part of a library, which the constraints leave out
            continue
        found[library.name.lower()] = library
        needs = [Requirement(text) for text in library.requires or []]
        extras = [{"extra": extra} for extra in (one.extras or {""})]
        wanted += [need for need in needs if need.marker is None or any(map(need.marker.evaluate, extras))]
    return found


def test_the_sizes_of_the_libraries_are_those_in_the_docs():
    """The table stood there, and nothing held it."""
    table = (
        (ROOT / "docs" / "install.md").read_text(encoding="utf-8").partition("| library | MB |")[2].partition("\n\n")[0]
    )
    listed = {name: float(size) for name, size in re.findall(r"^\| (.+) \| (\d+) \|$", table, re.MULTILINE)}
    found = {
        name: sum(file.size or 0 for file in one.files or [] if file.suffix != ".pyc") / 1e6
        for name, one in installed().items()
    }
    if not found["torch"] or any(name.startswith("nvidia") for name in found):
        pytest.skip("files have no sizes here, or torch has CUDA, which the table leaves out")
    assert sum(found.values()) == pytest.approx(sum(listed.values()), rel=0.1), "python -m benchmarks.install measures"
    for name in set(listed) & set(found):
        assert found[name] == pytest.approx(listed[name], rel=0.2), name


def test_what_the_image_copies_is_there_and_passes_its_dockerignore():
    sources = [
        name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    ]
    assert len(sources) == 9
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in sources:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored
    assert {(ROOT / "tidecast" / name).readlink().as_posix() for name in ("features", "flows", "forecasting")} == {
        "../features", "../flows", "../forecasting",
    }  # fmt: skip


def test_the_image_runs_commands_that_exist_as_a_user_without_rights():
    assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    entry, command = (re.search(rf'^{word} \["(\w+)"\]$', last, re.MULTILINE)[1] for word in ("ENTRYPOINT", "CMD"))
    assert entry in PROJECT["scripts"]
    health = re.search(r'HEALTHCHECK .*"tidecast (\w+) ', last)[1]
    assert {command, health} <= set(tidecast.commands)
    pinned = re.search(r"sed -n '(.+?)' constraints.txt", DOCKERFILE)[1]
    torch = subprocess.run(
        ["sed", "-n", pinned, str(ROOT / "constraints.txt")], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+", torch.stdout.strip())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit_in_the_docs(tmp_path):
    page = (ROOT / "docs" / "how_to" / "cron_and_systemd.md").read_text(encoding="utf-8")
    unit = re.search(r"```ini\n(.*?)```", page, re.DOTALL)[1]
    command = re.search(r"^ExecStart=(\S+) (\w+)$", unit, re.MULTILINE)
    assert command[2] in tidecast.commands
    (tmp_path / "tidecast.service").write_text(unit.replace(command[1], sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "tidecast.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_commands_in_the_pages_on_docker_are_understood():
    page = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
    lines = "\n".join(re.findall(r"```console\n(.*?)```", page, re.DOTALL)).replace("\\\n", " ").splitlines()
    runs = [shlex.split(line) for line in lines if line.startswith("docker run ")]
    assert len(runs) >= 3
    for words in runs:
        command = words[words.index("tidecast-panel") + 1 :]
        found = tidecast.commands[command[0]] if command else tidecast.commands["schedule"]
        assert isinstance(found, click.Command)
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in command if word.startswith("--")} <= options
