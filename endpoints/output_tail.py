"""What each task printed, cut from a stream that all tasks of a runner share: its end kept, all of it to a file."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from typing import IO

from endpoints.output_file import OutputFile, as_text

logger = logging.getLogger(__name__)

TAIL_BYTES = 4096
"""How much of a task's stdout and of its stderr is kept for the report."""
_READ_BYTES = 256 * 1024

OpenFile = Callable[[int], "OutputFile | None"]
"""Given how many tasks are before it whose output was not taken yet, the file of a task; None for none."""


def no_file(ahead: int) -> None:
    """Keep no file."""


class OutputTail:
    """One stream of a runner; tasks are told apart by the marker the runner writes after each."""

    def __init__(self, stream: IO[bytes], marker: bytes) -> None:
        self.descriptor = stream.fileno()
        self._stream = stream
        self._marker = marker
        self._rest = b""
        self._tail = b""
        self._finished: deque[bytes] = deque()
        self._file: OutputFile | None = None
        self._open_file: OpenFile = no_file
        self._without_file = False
        self.open = True
        os.set_blocking(self.descriptor, False)

    def keep(self, open_file: OpenFile) -> None:
        """From the next task on, write what comes to these files."""
        self._open_file = open_file

    def drain(self) -> None:
        """Read what is there, without waiting."""
        while self.open:
            try:
                data = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.open = False
                return
            *finished, last = (self._rest + data).split(self._marker)
            for part in finished:
                if part:
                    self._take_in(part)
                self._finish()
            kept = _beginning_of(self._marker, last)
            self._rest = last[len(last) - kept :]
            if len(last) > kept:
                self._take_in(last[: len(last) - kept])
            if len(data) < 4096:
                return

    def _take_in(self, part: bytes) -> None:
        """Of the task that runs now."""
        self._tail = (self._tail + part)[-TAIL_BYTES:] if len(part) < TAIL_BYTES else part[-TAIL_BYTES:]
        if self._without_file:
            return
        try:
            if self._file is None:
                self._file = self._open_file(len(self._finished))
                self._without_file = self._file is None
            if self._file is not None:
                self._file.write(part)
        except OSError as error:  # a full disk is no reason for the task to fail
            self._close_file()
            self._without_file = True
            logger.warning("the output of a task is not kept in a file: %s", error)

    def _finish(self) -> None:
        """The task is over."""
        self._finished.append(self._tail)
        self._tail = b""
        self._without_file = False
        if self._file is not None:
            self._close_file()

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def take(self) -> str:
        """The tail of the next task that ended; call it once for each, in order."""
        if not self._finished:
            self.drain()
        if not self._finished:
            # The function redirected the stream for good, and the marker went elsewhere.
            return self.take_unfinished()
        data = self._finished.popleft()
        return as_text(data) if data else ""

    def take_unfinished(self) -> str:
        """The tail of a task that did not end by itself."""
        self.drain()
        if self._rest:
            rest, self._rest = self._rest, b""
            self._take_in(rest)
        self._finish()
        return as_text(self._finished.pop())

    def close(self) -> None:
        """Close the stream."""
        self.open = False
        self._stream.close()
        self._close_file()


def _beginning_of(marker: bytes, data: bytes) -> int:
    """How many bytes at the end of the data may be the beginning of a marker whose rest is still to come."""
    start = data.rfind(marker[:1], max(0, len(data) - len(marker) + 1))
    return len(data) - start if start >= 0 and marker.startswith(data[start:]) else 0
