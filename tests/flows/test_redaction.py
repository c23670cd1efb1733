"""What counts as a secret, and what is shown in its place."""

import base64
import html
import json
import logging
import sys
from urllib.parse import quote, quote_plus

import pytest

from tidecast.flows import redaction
from tidecast.flows.config.secrets import expand, refuse_password
from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SettingsError, TidecastError
from tidecast.flows.redaction import looks_secret, redact, secrets_in
from tidecast.flows.safe_output import cleaned, fails_cleanly, logs, output

VALUE = "pl&nted/s€cret <9>?"


@pytest.fixture(autouse=True)
def nothing_learned(monkeypatch):
    monkeypatch.setattr(redaction, "_learned", {})
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize(
    "address",
    [
        "https://h/p.csv?key=planted",
        "https://h/p.csv?api-key=planted",
        "https://h/p.csv?a=1&apiKey=planted",
        "https://h/p.csv?APIKEY=planted",
        "https://h/p.csv?api%2Dkey=planted",
        "https://h/p.csv?access_token=planted",
        "https://h/p.csv?X-Amz-Signature=planted",
        "https://h/p.csv?X-Amz-Credential=planted",
        "https://h/p.csv?sv=2020&sig=planted",
        "https://h/p.csv?subscription-key=planted",
        "https://h/p.csv?auth=planted",
        "https://h/p.csv#access_token=planted",
        "https://planted@h/p.csv",
        "https://planted:@h/p.csv",
        "https://me:planted@h/p.csv",
        "https://me:pla/nted@h/p.csv",
        "https://me:pl@planted@h/p.csv",
        "postgresql://me:planted@h/db",
        "postgresql://me@h/db?password=planted",
        "mssql+pyodbc:///?odbc_connect=Driver;PWD=planted",
        "host=h password=planted",
        "s3://AKIAIOSFODNN7EXAMPLE:planted@bucket/x",
        "s3://bucket/AKIAIOSFODNN7EXAMPLE.csv",
        "postgresql://me:${PREFIX}planted@h/db",
    ],
)
def test_a_literal_secret_in_an_address_is_refused_without_repeating_it_and_hidden_wherever_it_is_said(address):
    with pytest.raises(SettingsError, match="must not hold a password, token or key") as error:
        refuse_password(address, "source", "flag")
    for said in (str(error.value), redact(address), redact(f"Max retries with url: {address} (caused by …)")):
        assert "planted" not in said
        assert "AKIA" not in said


@pytest.mark.parametrize(
    "address",
    [
        "prices.csv",
        "/data/me:you@there.csv",
        "https://h/p.csv?symbol=EURUSD&since={since}",
        "https://h:8080/prices@2x.csv",
        "https://h/p.csv?key=${KEY}",
        "https://${TOKEN}@h/p.csv",
        "https://h/p.csv?keyword=a&monkey=b&author=me&design=x&passage=2&tokens=5",
        "postgresql://me@h/db",
        "postgresql://me:${PGPASSWORD}@h/db?sslmode=require&sslkey=/etc/key.pem",
        "postgresql://me:${PGPASSWORD}@h/db?application_name=me@work",
        "abfss://container@account.dfs.core.windows.net/prices",
        "sqlite:////data/prices.db",
        "yahoo://AAPL,MSFT",
        "SELECT * FROM a JOIN b ON a.key=b.key WHERE a.token='x' AND a.n>5",
    ],
)
def test_text_that_is_not_a_secret_is_neither_refused_nor_hidden(address):
    refuse_password(address, "source", "flag")
    assert secrets_in(address) == []
    assert redact(address) == address


@pytest.mark.parametrize(
    "address", ["https://h/p?q=${VAR}", "https://${VAR}@h/p", "https://h/${VAR}/p", "db://u:${VAR}@h/d"]
)
def test_the_value_of_a_variable_is_hidden_however_it_is_written(address):
    expand(address, {"VAR": VALUE})
    ways = [
        VALUE,
        quote(VALUE),
        quote(VALUE, safe=""),
        quote(VALUE, safe="").lower(),
        quote_plus(VALUE),
        html.escape(VALUE),
        json.dumps(VALUE),
        json.dumps(VALUE, ensure_ascii=False),
        base64.b64encode(VALUE.encode()).decode(),
        base64.b64encode(f":{VALUE}".encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
    ]
    for way in ways:
        said = redact(f"before {way} after")
        assert said.startswith("before ")
        assert said.endswith(" after")
        assert "${VAR}" in said
        assert way not in said


def test_hosts_files_and_databases_are_not_secrets_unless_their_variable_says_so():
    for name, value, address in (
        ("DIR", "folder", "${DIR}/prices.csv"),
        ("HOST", "intern", "https://${HOST}/prices.csv"),
        ("NAME", "stocks", "postgresql://me@h/${NAME}"),
        ("BASE", "https://open.example:8000", "${BASE}/prices.csv"),
        ("SCHEME", "https", "${SCHEME}://open.example"),
    ):
        expand(address, {name: value})
        assert redact(f"in {value}") == f"in {value}"
    expand("${BASE}/prices.csv?q=${K}", {"BASE": "https://open.example", "K": "hidden-key"})
    assert redact("hidden-key") == "${K}"
    expand("postgresql://me@h/${DB_PASSWORD}", {"DB_PASSWORD": "hidden-name"})
    assert redact("hidden-name") == "${DB_PASSWORD}"


def test_of_an_address_in_a_variable_its_secrets_and_the_basic_form_are_hidden():
    expand("${MLFLOW_TRACKING_URI}", {"MLFLOW_TRACKING_URI": "http://me:p%40ssword@h:5000"})
    basic = base64.b64encode(b"me:p@ssword").decode()
    for said in ("p%40ssword", "p@ssword", basic, "http://me:p%40ssword@h:5000/api"):
        assert said not in redact(f"API request to {said} failed")
    assert redact("http://h:5000/#/experiments/1") == "http://h:5000/#/experiments/1"


def test_variables_that_look_secret_are_hidden_though_no_address_names_them(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "tracked-word")
    monkeypatch.setenv("SOME_URL", "https://me:urlword@host/x")
    monkeypatch.setenv("SSH_AUTH_SOCK", sys.executable)  # a path
    monkeypatch.setenv("USE_AUTH", "false")  # a switch
    monkeypatch.setenv("LONG_TOKEN", "x" * 5000)
    said = redact(f"wJalrXUtnFEMI tracked-word urlword {sys.executable} Authorization: Basic bWU6eA==")
    assert redact(f"false {'x' * 5000}") == "false ${LONG_TOKEN}"
    assert said == f"${{AWS_SECRET_ACCESS_KEY}} ${{MLFLOW_TRACKING_PASSWORD}} … {sys.executable} Authorization: Basic …"


@pytest.mark.parametrize("name", ["PWD", "keyboard", "series_id", "monkey", "TOKENIZERS_PARALLELISM", "author", ""])
def test_ordinary_names_do_not_look_secret(name):
    assert name == "PWD" or not looks_secret(name)
    assert redact(str(sys.path)) == str(sys.path)


# ------------------------------------------------------------------ ways out
def test_our_own_errors_hold_no_secret_from_the_start():
    expand("https://h/?q=${VAR}", {"VAR": "planted-value"})
    assert str(TidecastError("MLflow answered: planted-value, http://u:other@h")) == (
        "MLflow answered: ${VAR}, http://u:…@h"
    )


def test_logs_of_any_library_and_their_tracebacks_hold_no_secret(caplog):
    expand("https://h/?q=${VAR}", {"VAR": "planted-value"})
    logs()
    log = logging.getLogger("some.library")
    log.warning("request to %s", "https://h/?q=planted-value")
    try:
        try:
            raise OSError("planted-value")
        except OSError as error:
            raise RuntimeError("http://u:planted-value@h") from error
    except RuntimeError:
        log.exception("it failed")
    formatted = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert "Traceback" in formatted
    assert "planted-value" not in formatted


def test_what_is_printed_holds_no_secret(capsys):
    expand("https://h/?q=${VAR}", {"VAR": "planted-value"})
    with output():
        print("a planted-value")
        print("b planted-value", file=sys.stderr)
    printed = capsys.readouterr()
    assert printed.out == "a ${VAR}\n"
    assert printed.err == "b ${VAR}\n"


class Odd(Exception):
    """An error whose text is not in its arguments."""

    def __init__(self, response):
        super().__init__()
        self.response = response

    def __str__(self):
        return f"odd: {self.response}"


@pytest.mark.parametrize(
    "make", [ValueError, OSError, Odd, lambda value: Odd({"url": value}), lambda v: KeyError((v,))]
)
def test_an_error_that_leaves_a_flow_holds_no_secret_nor_do_those_behind_it(make):
    expand("https://h/?q=${VAR}", {"VAR": "planted-value"})

    @fails_cleanly
    def flow(as_of: int = 1) -> None:
        try:
            raise make("planted-value")
        except Exception as error:
            raise make("https://h/?q=planted-value") from error

    with pytest.raises(Exception, match=r"\$\{VAR\}") as caught:
        flow()
    error = caught.value
    assert error.__cause__ is not None
    for found in (error, error.__cause__):
        assert "planted-value" not in f"{found!s} {found!r} {found.__cause__} {found.__context__}"


def test_an_error_without_a_secret_stays_itself():
    error = ValueError("plain")
    assert cleaned(error) is error


@pytest.mark.parametrize("name", ["table", "query", "time", "rules_schema", "covariates", "publish_table"])
def test_a_secret_in_a_setting_that_is_no_address_was_once_stored(name):
    with pytest.raises(SettingsError, match=f"{name} must not hold a password") as caught:
        Settings(**{name: "https://me:planted-value@h/x"})
    assert "planted" not in str(caught.value)


def test_a_password_in_the_sql_of_a_query_is_refused_and_a_comparison_is_not():
    with pytest.raises(SettingsError, match="query must not hold a password"):
        Settings(query="SELECT * FROM dblink('host=h password=planted-value', 'SELECT 1') AS t(a int)")
    Settings(query="SELECT * FROM a JOIN b ON token=b.token WHERE key=5 AND name = 'key'")
