"""Prices from the web, from a local server that misbehaves in every way a server can."""

import base64
import gzip
import io
import json
import threading
import zipfile
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from tidecast.flows.config.settings import Settings
from tidecast.flows.errors import SourceError
from tidecast.flows.io import retrying
from tidecast.flows.sources import open_source, web

CSV = b"series_id,time,close\nA,2024-01-02,1.5\nA,2024-01-03,n/a\nA,2024-01-03,2\nA,2024-01-03,2\n"


def zipped(*names, body=CSV):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, body)
    return packed.getvalue()


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        status, body, headers, length = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if status == "slow":
            server.go_on.wait(5)
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server: server.say(status, body, headers, length) queues answers; the last one stays."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.answers, made.asked, made.slept, made.go_on = [], [], [], threading.Event()
    made.address = f"http://127.0.0.1:{made.server_port}/prices.csv"

    def say(status=200, body=CSV, headers=(), length=...):
        made.answers.append((status, body, dict(headers), len(body) if length is ... else length))

    made.say = say
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(web, "PAUSE", 0.0)
    monkeypatch.setattr(retrying.time, "sleep", lambda seconds: made.slept.append(seconds) if seconds else None)
    yield made
    made.go_on.set()
    made.shutdown()
    thread.join()
    made.server_close()


def fetch(server, since=None, **settings):
    return open_source(Settings(**{"source": server.address, **settings})).fetch(since)


def test_a_csv_comes_as_text_with_its_duplicates(server):
    server.say()
    rows = fetch(server).rows
    assert rows["close"].to_list() == ["1.5", "n/a", "2", "2"]


@pytest.mark.parametrize(
    ("body", "length"),
    [(zipped("x.csv"), None), (gzip.compress(CSV), None), (b"\xef\xbb\xbf" + CSV, None)],
    ids=["zip", "gzip", "with a byte order mark"],
)
def test_a_packed_csv_is_unpacked(server, body, length):
    server.say(body=body)
    assert fetch(server).rows.height == 4


@pytest.mark.parametrize(
    "data",
    [
        [{"series_id": "A", "time": "2024-01-02", "close": 1}, {"series_id": "A", "time": "2024-01-03", "close": 2.5}],
        {"series_id": ["A", "A"], "time": ["2024-01-02", "2024-01-03"], "close": [1, 2.5]},
        {"status": "ok", "data": [{"series_id": "A", "time": "2024-01-02", "close": 1.0},
                                  {"series_id": "A", "time": "2024-01-03", "close": 2.5}]},
    ],
    ids=["records", "columns", "one level down"],
)  # fmt: skip
def test_json_is_read_by_records_and_by_columns(server, data):
    server.say(body=json.dumps(data).encode())
    assert fetch(server).rows.rows() == [("A", "2024-01-02", 1.0), ("A", "2024-01-03", 2.5)]


def test_json_of_mixed_values_loses_none(server):
    server.say(body=b'[{"series_id": "A", "time": "2024-01-02", "close": "N/A"}, {"series_id": 1, "close": 2}]')
    assert fetch(server).rows.rows() == [("A", "2024-01-02", "N/A"), ("1", None, "2")]


def test_the_day_asked_from_is_filled_in_and_so_is_a_variable_which_no_message_shows(server, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("KEY", "s3cret")
    server.say(500)
    server.say()
    source = server.address + "?from={since}&key=${KEY}"
    fetch(server, date(2024, 1, 2), source=source)
    fetch(server, source=source)
    assert server.asked[1:] == ["/prices.csv?from=2024-01-02&key=s3cret", "/prices.csv?from=1900-01-01&key=s3cret"]
    server.answers[:] = [(404, b"", {}, 0)]
    with pytest.raises(SourceError, match=r"key=\$\{KEY\} must answer with a table, got: 404 Not Found") as error:
        fetch(server, source=source)
    assert "s3cret" not in str(error.value) + caplog.text


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_an_error_that_may_pass_is_asked_again_each_time_later(server, status):
    for _ in range(3):
        server.say(status)
    server.say()
    assert fetch(server).rows.height == 4
    assert len(server.asked) == 4
    assert all(0.5 * 2**n <= wait <= 2**n for n, wait in enumerate(server.slept))


def test_a_server_that_asks_to_be_left_alone_is(server):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    server.say(429, headers={"Retry-After": "17"})
    server.say(503, headers={"Retry-After": later})
    server.say()
    assert fetch(server).rows.height == 4
    assert server.slept[0] == 17
    assert 35 < server.slept[1] <= 40
    server.answers[:] = [(429, b"", {"Retry-After": "3600"}, 0)]
    with pytest.raises(SourceError, match="got: 429 Too Many Requests"):
        fetch(server)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("body", "length"),
    [(CSV[:30], len(CSV)), (zipped("x.csv")[:50], None), (gzip.compress(CSV)[:40], None), (b'[{"series_id": "A', None)],
    ids=["csv", "zip", "gzip", "json"],
)
def test_a_body_that_is_cut_in_half_is_asked_for_again(server, body, length):
    server.say(body=body, length=length)
    server.say()
    assert fetch(server).rows.height == 4
    assert len(server.asked) == 2


def test_a_server_that_does_not_answer_in_time_is_asked_again(server, monkeypatch):
    monkeypatch.setattr(web.httpx, "Timeout", lambda *a, **k: 0.2)
    server.say("slow")
    server.say()
    assert fetch(server).rows.height == 4


def test_what_stays_broken_is_given_up(server):
    server.say(500)
    with pytest.raises(SourceError, match="must answer with a table, got: 500 Internal Server Error"):
        fetch(server)
    assert len(server.asked) == retrying.ATTEMPTS


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"", r"got: 404 Not Found\. Check the address"),
        (403, b"", r"got: 403 Forbidden\. Check the key or password"),
        (200, b"<!doctype html><p>Log in", r"got a page .* begins '<!doctype html>.*whether it needs a login"),
        (200, b"", "got nothing"),
        (200, b"series_id,time,close\n", "must have at least one row"),
        (200, b"[]", "must have at least one row"),
        (200, b'{"a": 1}', "must be a JSON list of objects"),
        (200, b'[1, 2} and more', "got something else"),
        (200, zipped("a.csv", "b.csv"), "must be a zip with one table .* found 2 files"),
        (200, b"a,b\n1,2\n", r"prices\.csv must have a column 'time'"),
    ],
)  # fmt: skip
def test_what_will_not_pass_is_one_clear_error_at_once(server, status, body, message):
    server.say(status, body)
    with pytest.raises(SourceError, match=message) as error:
        fetch(server)
    assert "\n" not in str(error.value)
    assert len(server.asked) == 1


def test_a_body_without_end_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(web, "LARGEST", 50)
    server.say()
    with pytest.raises(SourceError, match="must have at most 50 bytes, found more"):
        fetch(server)


def test_a_zip_that_unpacks_into_more_than_is_taken_is_refused(server, monkeypatch):
    monkeypatch.setattr(web, "LARGEST", 1000)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", b"0" * 10_000)
    server.say(body=packed.getvalue())
    with pytest.raises(SourceError, match="must be a zip with one table of at most 1,000 bytes"):
        fetch(server)


def test_a_host_is_asked_once_a_second(server, monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 1.0)
    web._last_asked.clear()
    server.say()
    fetch(server)
    fetch(server)
    assert len(server.slept) == 1
    assert 0.5 < server.slept[0] <= 1


def test_a_host_that_is_not_there_is_one_clear_error(server):
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1:1/p\.csv must answer with a table, got: .*refused"):
        fetch(server, source="http://127.0.0.1:1/p.csv")


def test_the_ecbs_file_is_a_zipped_wide_csv_and_a_missing_quote_is_not_a_row(server, monkeypatch):
    body = b"Date,USD,JPY,CYP,\n2024-01-03,1.1,150.2,N/A,\n2024-01-02,1.2,N/A,N/A,\n"
    server.say(body=zipped("eurofxref-hist.csv", body=body))
    monkeypatch.setattr(web, "ECB", server.address)
    fetched = fetch(server, source="ecb-web")
    assert fetched.layout == "wide"
    assert sorted(fetched.rows.rows()) == [
        ("JPY", "2024-01-03", "150.2"), ("USD", "2024-01-02", "1.2"), ("USD", "2024-01-03", "1.1"),
    ]  # fmt: skip


def test_a_certificate_that_is_not_trusted_is_not_asked_again():
    assert not web._is_transient(httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]"))
    assert not web._is_transient(httpx.ConnectError("[Errno -2] Name or service not known"))
    assert web._is_transient(httpx.ConnectError("[Errno -3] Temporary failure in name resolution"))


def test_a_page_that_repeats_the_password_was_once_cut_off_in_the_middle_of_it(server, monkeypatch):
    monkeypatch.setenv("KEY", "planted-by-someone")
    basic = base64.b64encode(b"me:planted-by-someone").decode()
    for body in ("<html>Wrong key: please check planted-by-someone", f"<html>Wrong: Basic {basic}"):
        server.answers.clear()
        server.say(200, body.encode())
        with pytest.raises(SourceError, match="got a page") as error:
            fetch(server, source=server.address.replace("://", "://me:${KEY}@"))
        assert "plan" not in str(error.value)
        assert basic[:8] not in str(error.value)
