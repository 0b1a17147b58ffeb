"""A real PostgreSQL server for tests, with databases that live as long as one test."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import psycopg

from tests.services.processes import Process, ServiceFailed, as_user, free_port
from tests.services.requirements import require

PACKAGE = "postgresql-15"
FOLDER = Path("/usr/lib/postgresql/15/bin")
_USER = "postgres"
_STARTS = 3
_FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class PostgresServer:
    """PostgreSQL on 127.0.0.1, a free port and a temporary folder; a context manager.

    It refuses to run as root, so there it runs as the user of the Debian package.

    Args:
        durable: True keeps what was committed through a crash; False is faster.

    Example:
        >>> with PostgresServer() as server, server.database() as url:
        ...     engine = sqlalchemy.create_engine(url)
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._initdb = require("initdb", PACKAGE, also_in=[FOLDER])
        self._postgres = require("postgres", PACKAGE, also_in=[FOLDER])
        self._durable = durable
        self._password = secrets.token_hex(16)
        self._process: Process | None = None
        self._folder: Path | None = None
        self.port = 0

    def __enter__(self) -> PostgresServer:
        self._folder = Path(tempfile.mkdtemp(prefix="faas-postgres-"))
        try:
            self._initialise(self._folder)
            for tries_left in reversed(range(_STARTS)):
                self.port = free_port()
                try:
                    self.start()
                    break
                except ServiceFailed:  # somebody may have taken the port
                    if not tries_left:
                        raise
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def start(self) -> None:
        """Start the server on its data and its port; after ``kill``, for instance."""
        assert self._folder is not None
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
            "max_connections": "200",
            **({} if self._durable else _FAST),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        process = Process(
            [self._postgres, "-D", self._folder / "data", *options],
            self._folder / "log",
            stop_signal=signal.SIGINT,  # does not wait for clients
            user=_USER,
        )
        try:
            process.wait_until(self._answers)
        except BaseException:
            process.stop()
            raise
        self._process = process

    def kill(self) -> None:
        """Kill the server and all its processes, as a crash of the machine would."""
        assert self._process is not None
        self._process.kill()

    def create_database(self) -> str:
        """Create an empty database.

        Returns:
            Its SQLAlchemy URL.
        """
        name = f"test_{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE template0")
        return f"postgresql+psycopg://{_USER}:{self._password}@127.0.0.1:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is connected to it."""
        name = url.rpartition("/")[2]
        self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Create a database for the length of a ``with`` block, and give its URL."""
        url = self.create_database()
        try:
            yield url
        finally:
            self.drop_database(url)

    def _initialise(self, folder: Path) -> None:
        password = folder / "password"
        password.write_text(self._password)
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            for path in (folder, password):
                os.chown(path, user.pw_uid, user.pw_gid)
        command: list[str | Path] = [
            self._initdb,
            "-D",
            folder / "data",
            "-U",
            _USER,
            f"--pwfile={password}",
            "--auth=scram-sha-256",
        ]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(as_user(command, _USER), cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServiceFailed(f"initdb ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=_USER,
            password=self._password,
            dbname="postgres",
            autocommit=True,
            connect_timeout=10,
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement.encode())

    def _remove(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
