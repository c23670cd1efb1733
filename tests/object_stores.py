"""An object store in memory: a real S3 protocol on loopback."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.error import URLError
from urllib.request import Request, urlopen

SERVER = "import sys; from moto.server import main; main(sys.argv[1:])"


@contextmanager
def started_store() -> Iterator[str]:
    """The address of a store, which refuses to create what is there (If-None-Match)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            with suppress(URLError, ConnectionError):
                urlopen(f"http://127.0.0.1:{port}").close()
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def new_bucket(server: str, name: str, setenv: Callable[[str, str], None]) -> str:
    """Make a bucket, name its store in the environment, and return the address of tables in it."""
    urlopen(Request(f"{server}/{name}", method="PUT")).close()
    for variable, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any",
    }.items():  # fmt: skip
        setenv(variable, value)
    return f"s3://{name}/tables"
