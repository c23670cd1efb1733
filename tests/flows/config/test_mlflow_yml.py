"""Names and addresses for MLflow: where each comes from, and that no secret is ever shown."""

import logging
import os
import warnings
from pathlib import Path

import pytest
import yaml

from tidecast.flows.config.mlflow_yml import MlflowConfig, load_mlflow_config
from tidecast.flows.config.state_folder import StateFolder
from tidecast.flows.errors import SettingsError
from tidecast.flows.tracking.addresses import MlflowAddresses, quietly

ROOT = Path(__file__).parents[3]


def written(folder: Path, text: str) -> Path:
    (folder / "mlflow.yml").write_text(text, encoding="utf-8")
    return folder


def test_the_file_at_the_top_says_what_the_code_assumes_without_it():
    assert yaml.safe_load((ROOT / "mlflow.yml").read_text(encoding="utf-8")) == MlflowConfig().model_dump()


def test_every_key_of_the_file_is_explained_above_it():
    lines = (ROOT / "mlflow.yml").read_text(encoding="utf-8").splitlines()
    keys = [number for number, line in enumerate(lines) if line.strip() and not line.strip().startswith("#")]
    values = [number for number in keys if not lines[number].rstrip().endswith(":")]
    assert [lines[number] for number in values if "#" not in lines[number - 1]] == ["  port: 5000"]


def test_without_a_file_everything_is_in_the_state_folder(tmp_path):
    config, origins = load_mlflow_config(tmp_path, {})
    assert config == MlflowConfig()
    assert set(origins.values()) == {"default"}
    where = MlflowAddresses(StateFolder(tmp_path), config, {})
    assert where.tracking_uri == where.registry_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert where.artifact_location == (tmp_path / "mlartifacts").as_uri()


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    text = "server:\n  mlflow_tracking_uri: http://file:1\n  mlflow_registry_uri: http://file:2\nui:\n  port: 6000\n"
    environ = {"MLFLOW_TRACKING_URI": "http://environment:3", "MLFLOW_REGISTRY_URI": ""}
    config, origins = load_mlflow_config(written(tmp_path, text), environ)
    where = MlflowAddresses(StateFolder(tmp_path), config, environ)
    assert (where.tracking_uri, where.registry_uri) == ("http://environment:3", "http://file:2")
    assert where.artifact_location is None  # the server's own choice
    assert where.ui_command is None
    assert where.ui_url == "http://environment:3"
    assert config.ui.port == 6000
    assert origins["server.mlflow_tracking_uri"] == "environment (MLFLOW_TRACKING_URI)"
    assert origins["server.mlflow_registry_uri"] == origins["ui.port"] == "mlflow.yml"
    assert origins["ui.host"] == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server:\n  tracking_uri: x\n", "server.tracking_uri is not a key.*Did you mean 'mlflow_tracking_uri'"),
        ("trackin:\n  a: 1\n", "trackin is not a key of mlflow.yml. Did you mean 'tracking'"),
        ("ui:\n  zzz: 1\n", "Known here: host, port"),
        ("ui:\n  port: '5000'\n", "ui.port: input should be a valid integer, found '5000'"),
        ("ui:\n  port: 70000\n", "ui.port: input should be less than or equal to 65535"),
        ("tracking:\n  experiment:\n    name: ''\n", "tracking.experiment.name: string should have at least 1"),
        ("- a list\n", "must hold sections"),
        ("a: [1\n", "must be valid YAML"),
    ],
)
def test_what_cannot_be_is_one_clear_line(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message) as caught:
        load_mlflow_config(written(tmp_path, text), {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing\n", "server:\nui:\n", "tracking:\n  experiment:\n"])
def test_a_file_whose_lines_are_all_commented_out_changes_nothing(tmp_path, text):
    assert load_mlflow_config(written(tmp_path, text), {})[0] == MlflowConfig()


def test_a_password_in_the_file_is_refused_and_not_repeated(tmp_path):
    text = "server:\n  mlflow_tracking_uri: postgresql://me:hunter2@host/db\n"
    with pytest.raises(SettingsError, match="must not hold a password") as caught:
        load_mlflow_config(written(tmp_path, text), {})
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_put_in_on_connecting_and_shown_nowhere(tmp_path):
    text = "server:\n  mlflow_tracking_uri: postgresql://me:${PGPASSWORD}@host/db\n"
    environ = {"PGPASSWORD": "hunter2"}
    config, origins = load_mlflow_config(written(tmp_path, text), environ)
    where = MlflowAddresses(StateFolder(tmp_path), config, environ)
    assert where.tracking_uri == "postgresql+psycopg://me:hunter2@host/db"
    odd = MlflowAddresses(StateFolder(tmp_path), config, {"PGPASSWORD": "a/b@c"})
    assert odd.tracking_uri == "postgresql+psycopg://me:a%2Fb%40c@host/db"
    assert where.ui_environ["MLFLOW_BACKEND_STORE_URI"] == where.tracking_uri
    shown = [repr(config), str(origins), where.shown, str(where.ui_command), where.ui_url]
    assert not any("hunter2" in text for text in shown)
    with pytest.raises(SettingsError, match="PGPASSWORD"):
        _ = MlflowAddresses(StateFolder(tmp_path), config, {}).tracking_uri


def test_a_servers_address_is_shown_without_the_password_in_it(tmp_path):
    environ = {"MLFLOW_TRACKING_URI": "https://me:hunter2@mlflow.example/team/"}
    where = MlflowAddresses(StateFolder(tmp_path), load_mlflow_config(tmp_path, environ)[0], environ)
    assert where.ui_url == "https://mlflow.example/team"


def test_a_database_of_ones_own_keeps_files_in_the_state_folder(tmp_path):
    environ = {"MLFLOW_TRACKING_URI": "postgresql://host/db"}
    where = MlflowAddresses(StateFolder(tmp_path), load_mlflow_config(tmp_path, environ)[0], environ)
    assert where.artifact_location == (tmp_path / "mlartifacts").as_uri()
    assert where.ui_command is not None


def test_a_password_in_mlflows_own_variable_is_not_copied(tmp_path):
    environ = {"MLFLOW_TRACKING_URI": "postgresql://me:hunter2@host/db"}
    config, _ = load_mlflow_config(tmp_path, environ)
    where = MlflowAddresses(StateFolder(tmp_path), config, environ)
    assert where.tracking_uri == "postgresql+psycopg://me:hunter2@host/db"
    assert where.shown == "${MLFLOW_TRACKING_URI}"
    assert "hunter2" not in repr(where.config)


def test_a_state_folder_keeps_its_mark(tmp_path):
    first, again = (MlflowAddresses(StateFolder(tmp_path), MlflowConfig(), {}).panel for _ in range(2))
    assert first == again
    (tmp_path / "other").mkdir()
    assert MlflowAddresses(StateFolder(tmp_path / "other"), MlflowConfig(), {}).panel != first


def test_quiet_puts_everything_back_even_after_an_error(monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "mine")
    before, level = dict(os.environ), logging.getLogger("alembic").level

    def noisy():
        assert os.environ["MLFLOW_TRACKING_URI"] == "x"
        warnings.warn("nobody wants to know", stacklevel=1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), quietly({"MLFLOW_TRACKING_URI": "x"}):
        noisy()
    assert dict(os.environ) == before
    assert logging.getLogger("alembic").level == level
