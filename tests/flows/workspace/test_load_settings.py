"""Each setting has one value, and it is known where from; what a panel is, is remembered."""

import json
from datetime import date

import pytest

from tidecast.flows.config.panel_file import remember
from tidecast.flows.config.secrets import expand
from tidecast.flows.config.settings import Settings
from tidecast.flows.config.state_folder import find_state_folder
from tidecast.flows.errors import SettingsError
from tidecast.flows.warehouse.warehouse import Warehouse
from tidecast.flows.workspace.load_settings import load_settings, settings_of_call


@pytest.fixture
def load(tmp_path):
    """load_settings in a folder of its own: load(flags, environ)."""
    home = find_state_folder(None, {}, tmp_path).make()

    def load_here(flags=None, environ=None):
        return load_settings(home, flags or {}, environ or {}, tmp_path)

    load_here.home, load_here.cwd = home, tmp_path
    return load_here


def pyproject(load, text):
    (load.cwd / "pyproject.toml").write_text(text)


def publish(load):
    Warehouse(load.home.warehouse_uri).put_run({"as_of": date(2024, 1, 2), "status": "published"})


def test_without_anything_given_the_bundled_rates_and_all_from_default(load):
    settings, origins = load()
    assert settings == Settings()
    assert settings.source == "ecb"
    assert set(origins.values()) == {"default"}


def test_flag_wins_over_environment_over_pyproject_over_default(load):
    pyproject(load, "[tool.tidecast]\nhorizon = 2\nlookback = 30\nn_jobs = 1\n[tool.tidecast.gate]\nlevel = 0.02\n")
    settings, origins = load({"horizon": 4, "n_jobs": None}, {"TIDECAST_HORIZON": "3", "TIDECAST_LOOKBACK": "40"})
    assert (settings.horizon, settings.lookback, settings.n_jobs, settings.gate.level) == (4, 40, 1, 0.02)
    assert origins["horizon"] == "flag"
    assert origins["lookback"] == "TIDECAST_LOOKBACK"
    assert origins["n_jobs"] == "pyproject.toml"
    assert origins["gate.level"] == "pyproject.toml"
    assert origins["gate.every"] == origins["cron"] == "default"


def test_a_setting_may_be_given_by_its_former_name(load):
    """`reread_sessions` was called `look_back`, one letter away from `lookback`."""
    pyproject(load, "[tool.tidecast]\nlook_back = 7\n")
    assert load()[0].reread_sessions == 7
    assert load({}, {"TIDECAST_LOOK_BACK": "9"})[0].reread_sessions == 9
    load.home.panel_file.write_text('{"horizon": 3, "look_back": 4}')
    assert load()[0].horizon == 3
    pyproject(load, "[tool.tidecast.gate]\ncentre_limit = 1.01\n")
    assert load()[0].gate.median_limit == 1.01
    assert load({}, {"TIDECAST_GATE_CENTRE_LIMIT": "1.02"})[0].gate.median_limit == 1.02


def test_text_from_the_environment_becomes_what_the_setting_is(load):
    environ = {
        "TIDECAST_QUANTILES": "0.9, 0.1",
        "TIDECAST_MODELS": "gru,rnn",
        "TIDECAST_POSITIVE": "false",
        "TIDECAST_GATE_LEVEL": "0.05",
        "TIDECAST_GATE_EVERY": "21",
    }
    settings, _ = load({}, environ)
    assert settings.quantiles == (0.1, 0.5, 0.9)
    assert settings.models == ("GRU", "RNN")
    assert settings.positive is False
    assert (settings.gate.level, settings.gate.every) == (0.05, 21)


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        ({"horizont": 3}, {}, "'horizont' in the flags is not a setting. Did you mean 'horizon'"),
        (
            {},
            {"TIDECAST_LOOKBAK": "3"},
            r"TIDECAST_LOOKBAK in the environment is not a setting. Did you mean TIDECAST_LOOKBACK\?",
        ),
        ({}, {"TIDECAST_GATE_LEVL": "3"}, r"TIDECAST_GATE_LEVL .* Did you mean TIDECAST_GATE_LEVEL\?"),
        ({"horizon": 0}, {}, "horizon must be at least 1, got 0"),
        ({"horizon": "soon"}, {}, r"^horizon must be a whole number, got 'soon' \(from the command line\)\.$"),
        ({}, {"TIDECAST_HORIZON": "abc"}, r"^horizon must be a whole number, got 'abc' \(from TIDECAST_HORIZON\)\.$"),
        ({}, {"TIDECAST_HORIZON": "2.5"}, "^horizon must be a whole number, got '2.5'"),
        ({}, {"TIDECAST_POSITIVE": "maybe"}, "^positive must be true or false, got 'maybe'"),
        ({}, {"TIDECAST_LAYOUT": "tall"}, "^layout must be auto, long or wide, got 'tall'"),
        ({}, {"TIDECAST_QUANTILES": "0.1,high"}, "^quantiles must be a list of numbers between 0 and 1, got"),
        ({}, {"TIDECAST_GATE_LEVEL": "low"}, r"^gate.level must be a number, got 'low' \(from TIDECAST_GATE_LEVEL\)"),
        ({}, {"TIDECAST_GATE_LEVEL": "nan"}, "^gate.level must be a number, got 'nan'"),
        ({"source": 3}, {}, "^source must be text, got 3"),
        ({"quantiles": (0.1, 1.2)}, {}, "quantiles must lie between 0 and 1"),
        ({"models": "GRU,CNN"}, {}, "models must be one or more of RNN, LSTM, GRU, .*, average, got GRU, CNN"),
        ({"models": "average"}, {}, "models must name what to average besides average, got average alone"),
        ({"calendar": "XNYSE"}, {}, "calendar must be .*Did you mean .XNYS"),
        ({"cron": "daily"}, {}, "cron must have five fields"),
        ({"time_zone": "Europe/Berlln"}, {}, "time_zone must be a known zone"),
        ({"gate.level": 3}, {}, "gate: level must be"),
        ({"gate.every": 2.5}, {}, "^gate.every must be a whole number, got 2.5"),
        ({}, {"TIDECAST_GATE_EVERY": "soon"}, "^gate.every must be a whole number, got 'soon'"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(load, flags, environ, message):
    with pytest.raises(SettingsError, match=message):
        load(flags, environ)


def test_a_misspelt_or_unreadable_pyproject_is_one_clear_error(load):
    pyproject(load, "[tool.tidecast.gate]\nlevels = 0.1\n")
    with pytest.raises(SettingsError, match=r"'gate.levels' in \[tool.tidecast\] .*Did you mean 'gate.level'"):
        load()
    pyproject(load, "[tool.tidecast\n")
    with pytest.raises(SettingsError, match="must be readable TOML"):
        load()


def test_a_value_where_pyproject_must_have_a_table_is_one_clear_error(load):
    for text, name in [
        ("tool = 3", "tool"),
        ("[tool]\ntidecast = 3\n", "tidecast"),
        ("[tool.tidecast]\ngate = 3\n", "gate"),
        ("[[tool.tidecast]]\nhorizon = 3\n", "tidecast"),
    ]:
        pyproject(load, text)
        with pytest.raises(SettingsError, match=f"^{name} in .*pyproject.toml must be a table"):
            load()


def test_a_relative_path_starts_where_the_command_was_called(load):
    settings, _ = load({"source": "data/prices.csv"})
    assert settings.source == str(load.cwd / "data" / "prices.csv")


def test_the_second_day_needs_no_settings(load):
    first, _ = load({"source": "p.csv", "series_id": "Name", "horizon": 3, "quantiles": "0.1,0.9", "calendar": "XNYS"})
    remember(load.home, first)
    second, origins = load()
    assert second == first
    assert second.digest == first.digest
    assert origins["source"] == origins["quantiles"] == "remembered"
    assert origins["lookback"] == "default"


def test_repeating_what_is_remembered_is_not_a_contradiction(load):
    remember(load.home, load({"source": "p.csv", "quantiles": "0.1,0.9"})[0])
    settings, origins = load({"source": "p.csv", "quantiles": [0.9, 0.5, 0.1]})
    assert origins["source"] == "flag"
    assert settings.quantiles == (0.1, 0.5, 0.9)


@pytest.mark.parametrize("where", ["flag", "environment", "pyproject"])
def test_a_run_that_contradicts_what_is_remembered_says_what_differs(load, where):
    remember(load.home, load({"source": "p.csv", "horizon": 5})[0])
    publish(load)
    flags, environ = {}, {}
    if where == "flag":
        flags = {"horizon": 7}
    elif where == "environment":
        environ = {"TIDECAST_HORIZON": "7"}
    else:
        pyproject(load, "[tool.tidecast]\nhorizon = 7\n")
    with pytest.raises(SettingsError, match=r"holds another panel: horizon is 7 \(.*\), was 5\. .*--home"):
        load(flags, environ)


def test_settings_of_a_call_are_checked_too_and_what_they_do_not_name_the_panel_says(load):
    remember(load.home, load({"source": "p.csv", "horizon": 7, "calendar": "XNYS"})[0])
    other = Settings(source="other.csv")
    assert settings_of_call(load.home, other) == other  # nothing is published yet
    publish(load)
    with pytest.raises(SettingsError, match=r"holds another panel: source is 'other.csv' \(the flow's settings\), was"):
        settings_of_call(load.home, other)
    found = settings_of_call(load.home, Settings(max_epochs=3))
    assert (found.horizon, found.calendar, found.max_epochs) == (7, "XNYS", 3)
    assert found.source == load({})[0].source


def test_until_something_is_published_what_is_remembered_may_be_given_anew(load):
    first = {"source": "p.csv", "series_id": "Name", "calendar": "XNYS", "layout": "wide"}
    remember(load.home, load(first)[0])
    settings, origins = load({"horizon": 2, "target": "Open"})
    assert (settings.horizon, settings.target, settings.calendar) == (2, "Open", "XNYS")
    assert (settings.layout, origins["layout"]) == ("auto", "default"), "the columns are looked at anew"


def test_another_source_given_before_anything_is_published_is_another_panel(load):
    remember(load.home, load({"source": "p.csv", "series_id": "Name", "calendar": "XNYS", "horizon": 3})[0])
    settings, origins = load({"source": "ecb"})
    assert settings == Settings()
    assert origins["calendar"] == "default"


def test_what_is_not_part_of_a_panel_may_change_from_day_to_day(load):
    remember(load.home, load()[0])
    assert load({"lookback": 32, "retrain_every": 5})[0].lookback == 32


@pytest.mark.parametrize("setting", ["source", "warehouse"])
@pytest.mark.parametrize(
    "address",
    [
        "postgres://me:sesame@host/prices",
        "postgres://me:ses/ame@host/prices",
        "https://host/prices.csv?token=sesame",
        "s3://bucket/x?a=1&Signature=sesame",
    ],
)
def test_a_password_is_refused_wherever_it_comes_from_and_never_repeated(load, setting, address):
    for attempt in (
        lambda: load({setting: address}),
        lambda: load({}, {f"TIDECAST_{setting.upper()}": address}),
        lambda: Settings(**{setting: address}),
    ):
        with pytest.raises(SettingsError, match="must not hold a password") as error:
            attempt()
        assert "ses" not in str(error.value)


def test_a_variable_stays_unexpanded_until_connecting(load):
    address = "postgres://me:${PGPASSWORD}@host/prices"
    settings, _ = load({"source": address}, {"PGPASSWORD": "sesame"})
    assert settings.source == address
    remember(load.home, settings)
    assert "sesame" not in load.home.panel_file.read_text()
    assert expand(address, {"PGPASSWORD": "sesame"}) == "postgres://me:sesame@host/prices"
    with pytest.raises(SettingsError, match="needs the environment variable PGPASSWORD"):
        expand(address, {})


def test_a_broken_memory_is_one_clear_error(load):
    load.home.panel_file.write_text("{")
    with pytest.raises(SettingsError, match=r"panel\.json must be as tidecast wrote it"):
        load()


def test_the_memory_is_readable_json_of_what_the_panel_is(load):
    remember(load.home, load({"horizon": 2})[0])
    kept = json.loads(load.home.panel_file.read_text())
    assert kept["horizon"] == 2
    assert "lookback" not in kept
