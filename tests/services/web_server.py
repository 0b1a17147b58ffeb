"""An ASGI application served over real HTTP by uvicorn, in a thread of the test."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Any

import uvicorn

from tests.services.certificates import Certificates
from tests.services.processes import ServiceFailed

_TIMEOUT_S = 30.0


class WebServer:
    """Serves an application on 127.0.0.1; a context manager.

    Args:
        app: the ASGI application.
        dated: whether its answers tell the time, as servers do.
        certificates: makes it speak TLS.

    Example:
        >>> with WebServer(app) as server:
        ...     httpx.get(f"{server.url}/v1/health")
    """

    def __init__(self, app: Any, *, dated: bool = True, certificates: Certificates | None = None) -> None:
        # Bound here, so that the port is known, and nobody else's, before the server runs.
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        scheme = "http" if certificates is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._socket.getsockname()[1]}"
        self._up = threading.Event()
        configuration = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            date_header=dated,
            ssl_certfile=None if certificates is None else certificates.certificate,
            ssl_keyfile=None if certificates is None else certificates.key,
        )
        self._server = _AnnouncedServer(configuration, self._up)
        self._thread = threading.Thread(target=self._run, name="web server", daemon=True)

    def __enter__(self) -> WebServer:
        self._thread.start()
        if not self._up.wait(_TIMEOUT_S) or not self._server.started:
            self._stop()
            raise ServiceFailed("the web server did not start; its log is in the test's output")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._up.set()  # or down; either way there is nothing more to wait for

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(_TIMEOUT_S)
        self._socket.close()


class _AnnouncedServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, up: threading.Event) -> None:
        super().__init__(config)
        self._announcement = up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announcement.set()
