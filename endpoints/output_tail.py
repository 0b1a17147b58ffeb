"""The end of what each task printed, cut from a stream that all tasks of a runner share."""

from __future__ import annotations

import os
from collections import deque
from typing import IO

TAIL_BYTES = 4096
"""How much of a task's stdout and of its stderr is kept."""
_READ_BYTES = 256 * 1024


class OutputTail:
    """The end of what each task wrote to one stream; tasks are told apart by the runner's marker."""

    def __init__(self, stream: IO[bytes], marker: bytes) -> None:
        self.descriptor = stream.fileno()
        self._stream = stream
        self._marker = marker
        self._tail = b""
        self._finished: deque[bytes] = deque()
        self.open = True
        os.set_blocking(self.descriptor, False)

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
            *finished, tail = (self._tail + data).split(self._marker)
            self._finished.extend(finished)
            # A marker may be cut in two: keep enough to recognise it.
            self._tail = tail[-TAIL_BYTES - len(self._marker) :]
            if len(data) < 4096:
                return

    def take(self) -> str:
        """The tail of the next task that ended; call it once for each, in order."""
        if not self._finished:
            self.drain()
        if self._finished:
            return _as_text(self._finished.popleft())
        # The function redirected the stream for good, and the marker went elsewhere.
        return self.take_unfinished()

    def take_unfinished(self) -> str:
        """The tail of a task that did not end by itself."""
        self.drain()
        tail, self._tail = self._tail, b""
        return _as_text(tail)

    def close(self) -> None:
        """Close the stream."""
        self.open = False
        self._stream.close()


def _as_text(data: bytes) -> str:
    if not data:
        return ""
    return data[-TAIL_BYTES:].lstrip(bytes(range(0x80, 0xC0))).decode(errors="replace")
