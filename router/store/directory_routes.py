"""The routes that serve a directory store's bytes: PUT, GET and HEAD through signed URLs."""

from __future__ import annotations

import errno
import os
import re
import time
from email.utils import formatdate

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from faas.errors import InvalidRequest, NotFound, RequestRefused, TooLarge
from faas.models import Problem
from router.store.directory import DirectoryStore
from router.store.files import Upload
from router.store.partials import PartialPart
from router.store.protocol import MAX_OBJECT_BYTES

PATH = "/v1/store/{key:path}"
BLOCK_BYTES = 1024 * 1024
"""Bodies up to this size take one trip to a thread; larger ones one for each block."""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def store_routes(store: DirectoryStore) -> list[Route]:
    """Return the routes under ``/v1/store/``; a signed URL is all the leave they ask for.

    Args:
        store: whose bytes they serve.

    Example:
        >>> app.router.routes.extend(store_routes(store))
    """

    async def put(request: Request) -> Response:
        try:
            return await _put(store, request)
        except RequestRefused as refusal:
            return _refusal(refusal)
        except OSError as error:
            if error.errno in _NO_ROOM:
                detail = "The store has no room left; nothing was kept of this upload."
                return _problem(507, "Insufficient storage", detail, "Ask the service's operator for more disk space.")
            raise

    async def get(request: Request) -> Response:
        try:
            return await _get(store, request)
        except RequestRefused as refusal:
            return _refusal(refusal)

    return [Route(PATH, put, methods=["PUT"]), Route(PATH, get, methods=["GET", "HEAD"])]


async def _put(store: DirectoryStore, request: Request) -> Response:
    key: str = request.path_params["key"]
    pinned = store.signer.check(key, "PUT", request.query_params, time.time())
    announced = request.headers.get("content-length")
    limit = MAX_OBJECT_BYTES if pinned is None else pinned
    if announced is not None and announced.isdigit():
        _check_length(int(announced), pinned, limit)
    block = bytearray()
    upload: Upload | PartialPart | None = None
    length = 0
    headers: dict[str, str] = {}
    try:
        if "part" in request.query_params:
            upload = await store.in_thread(store.partials.part, key, request.query_params["part"])
        async for piece in request.stream():
            length += len(piece)
            if length > limit:
                _check_length(length, pinned, limit)
            block += piece
            if len(block) >= BLOCK_BYTES:
                if upload is None:
                    upload = await store.in_thread(Upload, store.files, key)
                await store.in_thread(upload.append, block)
                block = bytearray()
        _check_length(length, pinned, limit)
        if upload is None:
            await store.in_thread(store.files.write, key, block)
        else:
            tag = await store.in_thread(_finish, upload, block)
            headers = {"etag": tag} if tag else {}
    except ClientDisconnect:
        return Response(status_code=400)  # to nobody
    finally:
        if upload is not None:
            await store.in_thread(upload.close)
    return Response(status_code=200, headers=headers)


def _finish(upload: Upload | PartialPart, block: bytearray) -> str | None:
    upload.append(block)
    return upload.finish()


def _check_length(length: int, pinned: int | None, limit: int) -> None:
    if length > limit:
        fix = f"Send {limit:,} bytes at most." if pinned is None else f"Send the {pinned:,} bytes asked leave for."
        raise TooLarge(f"The upload has {length:,} bytes or more.", fix=fix)
    if pinned is not None and length < pinned:
        raise InvalidRequest(f"The upload has {length:,} bytes.", fix=f"Send the {pinned:,} bytes asked leave for.")


async def _get(store: DirectoryStore, request: Request) -> Response:
    key: str = request.path_params["key"]
    store.signer.check(key, request.method, request.query_params, time.time())
    found = await store.in_thread(_open, store, key, request.headers.get("range"), request.method == "HEAD")
    if isinstance(found, Response):
        return found
    raise NotFound(f"There is no object {key!r}.", fix="It was never uploaded, or its retention time has passed.")


def _open(store: DirectoryStore, key: str, wanted: str | None, head: bool) -> Response | None:
    """Open an object and read the range if it is small: one trip to a thread for most requests."""
    descriptor = store.files.open(key)
    if descriptor is None:
        return None
    keep_open = False
    try:
        status = os.fstat(descriptor)
        size = status.st_size
        start, end, partial = _parse_range(wanted, size)
        if start >= end and partial:
            detail = f"The range {wanted!r} lies outside the object's {size:,} bytes."
            response = _problem(416, "Range not satisfiable", detail, "Ask for bytes inside it.")
            response.headers["content-range"] = f"bytes */{size}"
            return response
        headers = {
            "accept-ranges": "bytes",
            "content-type": "application/octet-stream",
            "content-length": str(end - start),
            "last-modified": formatdate(status.st_mtime, usegmt=True),
            "etag": f'"{status.st_mtime_ns:x}-{size:x}"',
            "cache-control": "private, no-store",
            # A browser that is shown a result must not take it for a page.
            "x-content-type-options": "nosniff",
        }
        if partial:
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        code = 206 if partial else 200
        if head:
            return Response(status_code=code, headers=headers)
        if end - start <= BLOCK_BYTES:
            # Objects never change in place, so this is all of it.
            return Response(os.pread(descriptor, end - start, start), code, headers)
        keep_open = True
        return _FileRange(store, descriptor, start, end, code, headers)
    finally:
        if not keep_open:
            os.close(descriptor)


def _parse_range(wanted: str | None, size: int) -> tuple[int, int, bool]:
    """Return start, end and whether it is a part; several ranges at once may be, and are, answered with the whole."""
    match = _RANGE.fullmatch(wanted.strip()) if wanted else None
    if match is None or match.group(1) == match.group(2) == "":
        return 0, size, False
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size, True
    if last and int(last) < int(first):
        return 0, size, False
    return int(first), min(size, int(last) + 1) if last else size, True


class _FileRange(Response):
    """Sends a range of an open file in blocks, and closes the file however sending ends."""

    def __init__(
        self, store: DirectoryStore, descriptor: int, start: int, end: int, code: int, headers: dict[str, str]
    ) -> None:
        self._store, self._descriptor, self._start, self._end = store, descriptor, start, end
        self.status_code = code
        self.background = None
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            position = self._start
            while position < self._end:
                wanted = min(BLOCK_BYTES, self._end - position)
                block = await self._store.in_thread(os.pread, self._descriptor, wanted, position)
                if not block:
                    raise OSError(errno.EIO, "an object became shorter while it was read")
                position += len(block)
                await send({"type": "http.response.body", "body": block, "more_body": position < self._end})
        finally:
            os.close(self._descriptor)


def _refusal(refusal: RequestRefused) -> Response:
    return _problem(refusal.status, refusal.title, refusal.detail, refusal.fix, refusal.field)


def _problem(status: int, title: str, detail: str, fix: str, field: str = "") -> Response:
    body = msgspec.json.encode(Problem(title=title, status=status, detail=detail, fix=fix, field=field))
    return Response(body, status, media_type="application/problem+json")
