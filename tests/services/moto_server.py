"""Moto's mock of S3 (and of SQS), over HTTP in its own process: quick, and checks no signature."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from tests.services.processes import Process, ServiceFailed, free_port, listens
from tests.services.requirements import missing
from tests.services.s3_account import S3Account

_STARTS = 3


class MotoServer:
    """A mock of S3 on 127.0.0.1 and a free port; a context manager.

    Example:
        >>> with MotoServer() as server, server.account.bucket() as bucket:
        ...     server.account.client().put_object(Bucket=bucket, Key="a", Body=b"b")
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
            missing("the Python package moto[server] is not installed")
        self._process: Process | None = None
        self._folder: Path | None = None
        self.account = S3Account("", "testing", "testing")

    def __enter__(self) -> MotoServer:
        self._folder = Path(tempfile.mkdtemp(prefix="faas-moto-"))
        try:
            for tries_left in reversed(range(_STARTS)):
                try:
                    self._start(self._folder, free_port())
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

    def _start(self, folder: Path, port: int) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._process = Process(command, folder / "log")
        try:
            self._process.wait_until(lambda: listens(port))
        except BaseException:
            self._process.stop()
            raise
        self.account = S3Account(f"http://127.0.0.1:{port}", "testing", "testing")

    def _remove(self) -> None:
        if self._process is not None:
            self._process.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
