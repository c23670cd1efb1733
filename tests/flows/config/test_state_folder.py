"""The state folder is found as git finds its own, and one run at a time holds it."""

import errno
import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tidecast.flows.cli.doctor import examine
from tidecast.flows.config.state_folder import find_state_folder, hold
from tidecast.flows.errors import Busy, SettingsError, SourceError
from tidecast.flows.scheduling.launch import run_day
from tidecast.flows.workspace.load_settings import load_settings

ROOT = Path(__file__).parents[3]


def test_without_a_state_folder_one_is_to_be_made_here_and_nothing_is_written_yet(tmp_path):
    home = find_state_folder(None, {}, tmp_path)
    assert home.path == tmp_path / ".tidecast"
    assert home.created
    assert list(tmp_path.iterdir()) == []


def test_made_it_ignores_itself_and_is_found_from_folders_below(tmp_path):
    home = find_state_folder(None, {}, tmp_path).make()
    assert (home.path / ".gitignore").read_text() == "*\n"
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    found = find_state_folder(None, {}, below)
    assert found.path == home.path
    assert not found.created


def test_a_folder_given_wins_over_the_environment_and_that_over_the_nearest(tmp_path):
    find_state_folder(None, {}, tmp_path).make()
    environ = {"TIDECAST_HOME": str(tmp_path / "of-environment")}
    assert find_state_folder(None, environ, tmp_path).path == tmp_path / "of-environment"
    assert find_state_folder("given", environ, tmp_path).path == tmp_path / "given"


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SettingsError, match=r"must be a folder, but .*taken is a file"):
        find_state_folder("taken", {}, tmp_path)
    (tmp_path / "folder").write_text("")
    with pytest.raises(SettingsError, match="must be writable"):
        find_state_folder("folder/inside", {}, tmp_path).make()


def test_the_second_run_reports_who_holds_the_folder_and_the_third_runs(tmp_path):
    home = find_state_folder(None, {}, tmp_path)
    with hold(home, "tidecast run"):
        with pytest.raises(Busy, match=f"held by tidecast run, process {os.getpid()} on .*, since 20"), hold(home, "x"):
            pass
        with pytest.raises(Busy, match="tidecast run"), hold(home, "x"):
            pass  # the refused one has left the holder's note alone
    with hold(home, "the third"):
        assert json.loads((home.path / "lock.json").read_text())["what"] == "the third"


@pytest.fixture
def unwritable(tmp_path, monkeypatch):
    """A state folder that is there and may not be written to; the tests may run as root, who may."""
    home = find_state_folder(None, {}, tmp_path).make()

    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(home.lock_file))

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    return find_state_folder(None, {}, tmp_path)


def test_a_folder_that_is_there_but_may_not_be_written_to_is_one_clear_error(unwritable):
    message = r"The state folder .* must be writable: Permission denied\. Choose another with --home\."
    with pytest.raises(SettingsError, match=message), hold(unwritable, "tidecast run"):
        pass


def test_doctor_lists_a_folder_that_may_not_be_written_to_as_a_problem(unwritable, monkeypatch):
    monkeypatch.chdir(unwritable.path.parent)
    problems = examine(Console(file=StringIO()), unwritable).problems
    assert [problem for problem in problems if "must be writable" in problem]


def test_an_error_inside_lets_go_of_the_folder(tmp_path):
    home = find_state_folder(None, {}, tmp_path)
    with pytest.raises(ZeroDivisionError), hold(home, "tidecast run"):
        _ = 1 / 0
    with hold(home, "tidecast run"):
        pass


def test_the_stale_note_of_a_killed_holder_neither_blocks_nor_misleads(tmp_path):
    holder = (
        "import os, pathlib, signal\n"
        "from tidecast.flows.config.state_folder import find_state_folder, hold\n"
        f"with hold(find_state_folder(None, {{}}, pathlib.Path({str(tmp_path)!r})), 'the killed one'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", holder], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    home = find_state_folder(None, {}, tmp_path)
    note = home.path / "lock.json"
    stale = note.read_text()
    assert "the killed one" in stale
    with hold(home, "tidecast run"):
        note.write_text(stale)  # as if this one had not written its own note yet
        with pytest.raises(Busy, match="held by one that has just started"), hold(home, "x"):
            pass


@pytest.mark.parametrize("flags", [{"source": "none.csv"}, {"source": "prices.csv", "target": "Close"}])
def test_a_first_run_whose_source_cannot_be_read_leaves_no_folder_behind(tmp_path, flags):
    (tmp_path / "prices.csv").write_text("series_id,time,price\nA,2024-01-02,1\n")
    home = find_state_folder(None, {}, tmp_path)
    settings, _ = load_settings(home, flags, {}, tmp_path)
    with pytest.raises(SourceError):
        run_day(home, settings, None, reissue=False)
    assert [path.name for path in tmp_path.iterdir()] == ["prices.csv"]
