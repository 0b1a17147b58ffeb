"""The directory store: objects as files, their bytes served by the service itself through signed URLs."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from faas.errors import ConfigurationError, NotFound
from router.store.files import Files
from router.store.protocol import SignedURL, StoredObject, Verb, check_key, check_size
from router.store.signing import URLSigner

THREADS = 16
"""Writes wait for the disk most of their time; those that wait together share its flush."""
_PAGE = 500

T = TypeVar("T")


class DirectoryStore:
    """A store in one directory of a local disk.

    Mount ``directory_routes.store_routes(store)`` in the service, else its URLs lead nowhere.

    Args:
        root: the directory; made if absent.
        secret: signs URLs; replicas that share the directory share the secret.
        service_url: put before each signed URL; empty for URLs relative to the service's address.

    Example:
        >>> store = DirectoryStore(Path("/var/lib/faas/objects"), secret=load_secret(Path("/var/lib/faas/secret")))
    """

    carried = True

    def __init__(self, root: Path, *, secret: bytes, service_url: str = "") -> None:
        self.root = root
        self.files = Files(root)
        self.signer = URLSigner(secret)
        self._service_url = service_url.rstrip("/")
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    async def grant(self, key: str, verb: Verb, *, expires_s: float, size_bytes: int | None = None) -> SignedURL:
        check_key(key)
        check_size(size_bytes)
        expires_at = int(time.time() + expires_s)
        path = self.signer.sign(key, verb, expires_at, size_bytes if verb == "PUT" else None)
        return SignedURL(self._service_url + path, {}, float(expires_at))

    async def abort_upload(self, key: str, upload_id: str) -> None:
        check_key(key)  # uploads in parts are not made here

    async def write(self, key: str, data: bytes) -> None:
        await self.in_thread(self.files.write, key, data)

    async def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        data = await self.in_thread(self._read, key, offset, length)
        if data is None:
            raise NotFound(f"There is no object {key!r} in the store {self.root}.")
        return data

    def _read(self, key: str, offset: int, length: int | None) -> bytes | None:
        descriptor = self.files.open(key)
        if descriptor is None:
            return None
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            file.seek(offset)
            if length is None:
                return file.read()
            # One call to the kernel returns at most 2 GiB.
            parts: list[bytes] = []
            while length > 0 and (part := file.read(length)):
                parts.append(part)
                length -= len(part)
            return b"".join(parts) if len(parts) != 1 else parts[0]

    async def size(self, key: str) -> int | None:
        return await self.in_thread(self.files.size, key)

    async def delete(self, keys: Iterable[str]) -> None:
        await self.in_thread(self.files.delete, list(keys))

    async def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        objects = self.files.list(prefix)
        while page := await self.in_thread(lambda: list(islice(objects, _PAGE))):
            for found in page:
                yield found

    async def check(self) -> None:
        try:
            await self.in_thread(self._check)
        except OSError as error:
            raise ConfigurationError(
                f"The store directory {self.root} cannot be used: {error.strerror} ({error.filename or self.root}). "
                "Name a directory on a local disk that the service may write, as FAAS_STORE=file:///path."
            ) from error

    def _check(self) -> None:
        self.files.prepare()
        key, data = f"check-{secrets.token_hex(8)}", secrets.token_bytes(16)
        self.files.write(key, data)
        try:
            if self._read(key, 0, None) != data:
                raise ConfigurationError(f"The store directory {self.root} gave back other bytes than it was given.")
        finally:
            self.files.delete([key])

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        """Run a blocking call in the store's own threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
