"""Faults of disks, folders and hand-written files: one clear sentence each, and nothing half-written."""

import errno
import os
import sqlite3
from datetime import date
from types import SimpleNamespace

import polars as pl
import pytest

from tidecast.flows.cli.failing import one_line, one_line_errors
from tidecast.flows.config.mlflow_yml import load_mlflow_config
from tidecast.flows.config.panel_file import remembered
from tidecast.flows.config.providers import provided_settings
from tidecast.flows.config.state_folder import StateFolder, find_state_folder, hold
from tidecast.flows.errors import SettingsError, WarehouseError
from tidecast.flows.os_errors import message_of_sqlite
from tidecast.flows.scheduling.launch import prefect_api
from tidecast.flows.warehouse.warehouse import Warehouse

DAY = date(2024, 1, 2)
PRICES = pl.DataFrame({"series_id": ["A"], "time": [DAY], "close": [1.0], "known_at": [DAY], "as_of": [DAY]})


class PanicException(BaseException):
    """As deltalake's: not an Exception."""


@pytest.mark.parametrize(
    "fault",
    [
        PanicException("called `Result::unwrap()` on an `Err` value: No space left on device (os error 28)"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_full_disk_is_one_clear_error_and_leaves_the_tables_as_they_were(tmp_path, monkeypatch, fault):
    warehouse = Warehouse(str(tmp_path / "warehouse"))
    warehouse.store_prices(PRICES)
    version = warehouse.version("prices")

    def full(*arguments, **named):
        raise fault

    monkeypatch.setattr("tidecast.flows.warehouse.delta_writer.DeltaTable.merge", full)
    with pytest.raises(
        WarehouseError, match=r"writing prices failed: .*Make room, then run again. Nothing is half-written\.$"
    ):
        warehouse.store_prices(PRICES.with_columns(series_id=pl.lit("B")))
    assert (warehouse.version("prices"), warehouse.prices().height) == (version, 1)


def test_a_full_disk_was_once_an_internal_server_error_of_prefect(tmp_path, monkeypatch):
    free = 0
    monkeypatch.setattr("tidecast.flows.os_errors.shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    home = StateFolder(tmp_path / "home")
    with pytest.raises(OSError, match="No space left") as caught, prefect_api(home):
        pass
    assert one_line(caught.value).startswith(f"{home.path}: the disk must have 16 MB of room, but is full.")
    assert not home.path.exists()


def test_a_database_on_a_read_only_disk_is_not_to_be_replaced_by_a_copy(tmp_path):
    file = tmp_path / "some.db"
    sqlite3.connect(file).execute("CREATE TABLE t (a)")
    with pytest.raises(sqlite3.Error) as caught:
        sqlite3.connect(f"file:{file}?mode=ro", uri=True).execute("INSERT INTO t VALUES (1)")
    assert "must be writable, but is read-only" in str(message_of_sqlite(caught.value))
    with pytest.raises(sqlite3.Error) as caught:
        sqlite3.connect(file).execute("SELECT nothing FROM nowhere")
    assert message_of_sqlite(caught.value) is None


def test_a_panic_on_opening_a_table_is_one_clear_error(tmp_path, monkeypatch):
    def panic(*arguments, **named):
        raise PanicException("attempt to read past the end")

    monkeypatch.setattr("tidecast.flows.warehouse.delta_reader.DeltaTable.is_deltatable", panic)
    with pytest.raises(WarehouseError, match=r"reading .* failed: attempt to read past the end"):
        Warehouse(str(tmp_path)).prices()


def test_a_table_that_may_not_be_read_was_once_said_in_the_words_and_colours_of_a_library(tmp_path, monkeypatch):
    for said, words in {
        "\x1b[31m↳\x1b[0m Unable to walk dir (os error 13)": r"you must have permission to read .*",
        "\x1b[31m↳\x1b[0m Bad log": "↳ Bad log",
    }.items():

        def fail(*arguments, said=said):
            raise OSError(said)

        monkeypatch.setattr("tidecast.flows.warehouse.delta_reader.DeltaTable.is_deltatable", fail)
        with pytest.raises(WarehouseError, match=f"reading prices failed: {words}\\. ") as caught:
            Warehouse(str(tmp_path)).version("prices")
        assert str(caught.value).isprintable()


def test_a_panel_json_that_may_not_be_read_is_not_to_be_removed(tmp_path):
    (tmp_path / "panel.json").mkdir()
    with pytest.raises(SettingsError, match=r"^panel\.json must be a readable file\. .*Is a directory\.$"):
        remembered(StateFolder(tmp_path))


def test_a_panic_that_nothing_expected_ends_the_command_like_any_failure(capsys):
    with pytest.raises(SystemExit) as end, one_line_errors(debug=False):
        raise PanicException("index out of bounds")
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("tidecast: PanicException: index out of bounds.")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "the disk must have 16 MB of room, but is full. Make room, then run again."),
        (errno.EROFS, "the file system must be writable, but is read-only. Choose another folder."),
        (errno.EACCES, "you must have permission to read and write there, but do not."),
        (errno.ENAMETOOLONG, "the path must be short enough for this system, but is too long."),
        (errno.ELOOP, "a symbolic link in it leads back to itself. Remove the link."),
        (errno.ENOTDIR, "Not a directory."),
    ],
)
def test_a_fault_of_the_system_is_a_sentence_that_begins_with_the_path(code, words):
    said = one_line(OSError(code, os.strerror(code), "/data/prices.csv"))
    assert said.startswith("/data/prices.csv: ")
    assert words in said


def test_a_path_that_cannot_be_a_state_folder_is_refused_with_the_reason(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for given, words in {
        "/".join(["a" * 100] * 12): "must have at most 440 bytes, because SQLite cannot open longer ones, got 1,",
        "b" * 300: "the path must be short enough for this system",
        "loop": "a symbolic link in it leads back to itself",
        "a\0b": "must be the path of a folder",
        "~nobody-of-that-name/x": "home directory",
    }.items():
        with pytest.raises(SettingsError, match=words):
            find_state_folder(given, {}, tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="No such file or directory"):
        find_state_folder("gone", {}, tmp_path)


def test_the_longest_path_of_a_state_folder_holds_an_mlflow_store(tmp_path):
    import sqlite3

    from tidecast.flows.config.state_folder import LONGEST

    folder = tmp_path
    while LONGEST - len(str(folder)) > 200:
        folder = folder / ("c" * 99)
    home = StateFolder(folder / ("d" * (LONGEST - len(str(folder)) - 1))).make()
    assert len(str(find_state_folder(str(home.path), {}, tmp_path).path)) == LONGEST
    with sqlite3.connect(home.mlflow_db.with_suffix(".draft")) as database:
        database.execute("CREATE TABLE t (a)")
    database.close()


def denied(*arguments, **named):
    raise PermissionError(errno.EACCES, "Permission denied", "/x/lock")


def test_a_folder_that_may_not_be_read_or_locked_is_one_clear_error(tmp_path, monkeypatch):
    home = StateFolder(tmp_path / "home").make()
    with monkeypatch.context() as patch:  # root may read and write everything
        patch.setattr("tidecast.flows.config.state_folder.FileLock.acquire", denied)
        with pytest.raises(SettingsError, match="must be writable: Permission denied"), hold(home, "x"):
            pass
    with monkeypatch.context() as patch:
        patch.setattr("tidecast.flows.config.state_folder.os.access", lambda *arguments: False)
        with pytest.raises(SettingsError, match="must be readable, but permission is denied"):
            find_state_folder(str(home.path), {}, tmp_path)


BROKEN_YAML = {
    "refers to itself": "server: &s\n  mlflow_tracking_uri: *s\n",
    "a list that refers to itself": "&a [*a]",
    "grows beyond measure": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)),
    "is nested without end": "[" * 5000,
    "is a list": "- server\n- tracking\n",
    "is a word": "server",
    "is binary": "\x00\x01\x02",
    "has a date that is none": "server: 2024-99-99",
    "has keys that are numbers": "1: 2\nserver:\n  3: 4\n",
    "has a key that is empty": "? \n: 1\n",
    "has sections that are lists": "server: [1, 2]\n",
}


@pytest.mark.parametrize("what", BROKEN_YAML)
def test_an_mlflow_yml_that_is_not_a_configuration_is_one_clear_error(tmp_path, what):
    (tmp_path / "mlflow.yml").write_text(BROKEN_YAML[what])
    with pytest.raises(SettingsError, match=r"mlflow\.yml"):
        load_mlflow_config(tmp_path, {})


def test_an_mlflow_yml_that_is_empty_or_only_comments_says_nothing(tmp_path):
    for text in ("", "# nothing\n", "---\n", "server:\n"):
        (tmp_path / "mlflow.yml").write_text(text)
        assert load_mlflow_config(tmp_path, {})[0] == load_mlflow_config(tmp_path / "none", {})[0]


@pytest.mark.parametrize("name", ["mlflow.yml", "pyproject.toml"])
def test_a_folder_or_a_loop_in_the_place_of_a_file_is_one_clear_error(tmp_path, name):
    def read():
        load_mlflow_config(tmp_path, {})
        provided_settings([], {}, {}, tmp_path / "pyproject.toml")

    (tmp_path / name).symlink_to(tmp_path / name)
    with pytest.raises(SettingsError, match=f"{name} must be a readable file.*leads back to itself"):
        read()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(SettingsError, match=f"{name} must be a readable file.*Is a directory"):
        read()


@pytest.mark.parametrize("text", ["[tool.tidecast", "a = " + "[" * 5000, "\x00", "tool = 1", "[tool]\ntidecast = []"])
def test_a_pyproject_that_is_not_toml_or_has_no_table_is_one_clear_error(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"pyproject\.toml"):
        provided_settings([], {}, {}, tmp_path / "pyproject.toml")
