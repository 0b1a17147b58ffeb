"""A real HTTP proxy (tinyproxy) that cuts connections on which nothing happens, as those of sites do."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from tests.services.processes import Process, free_port, listens
from tests.services.requirements import require

_CONFIGURATION = """\
Port {port}
Listen 127.0.0.1
Timeout {timeout_s}
Allow 127.0.0.1
MaxClients 100
LogLevel Info
"""


class Tinyproxy:
    """The proxy, on a free port; a context manager.

    Args:
        directory: for its configuration and log.
        timeout_s: after how long without a byte it cuts a connection.
    """

    def __init__(self, directory: Path, *, timeout_s: int = 30) -> None:
        self._program = require("tinyproxy", "tinyproxy-bin")
        self._port = free_port()
        self._file = directory / "tinyproxy.conf"
        self._file.write_text(_CONFIGURATION.format(port=self._port, timeout_s=timeout_s))
        self._log = directory / "tinyproxy.log"
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Tinyproxy:
        self._process = Process([self._program, "-d", "-c", self._file], self._log)
        self._process.wait_until(lambda: listens(self._port))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()

    def log(self) -> str:
        """What it wrote: each request's first line, and each connection it cut."""
        return self._log.read_text(errors="replace")

    def cuts(self) -> int:
        """How many connections it has cut."""
        return self.log().count("Idle Timeout")
