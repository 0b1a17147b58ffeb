"""The S3 store: objects in a bucket of S3 or a compatible store; bytes go by presigned URL, past the service."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from faas.errors import ConfigurationError, Conflict, InvalidRequest, NotFound, ServiceUnavailable
from router.store.presigning import Presigner
from router.store.protocol import SignedURL, StoredObject, Verb, check_key, check_size
from router.store.s3_problems import explain

THREADS = 16
_ABSENT = ("NoSuchKey", "NotFound", "404")
_NO_UPLOAD = ("NoSuchUpload", *_ABSENT)
_UNFIT_PARTS = ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML", "InvalidRequest")
_DELETED_AT_ONCE = 1000
"""Keys in one DeleteObjects request, at most."""
_PARAMETERS = ("endpoint_url", "region", "addressing", "profile")

T = TypeVar("T")


class S3Store:
    """A store in one bucket.

    Args:
        session: boto3's session; its keys sign.
        client: its S3 client.
        bucket: the bucket; ``check`` tells if it is there.
        prefix: goes before every key, without slashes around it; empty for none.

    Example:
        >>> store = open_s3_store("s3://results/production")
    """

    carried = False

    def __init__(self, session: Any, client: Any, bucket: str, prefix: str = "") -> None:
        self.name = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = client
        self._bucket = bucket
        self._before = f"{prefix}/" if prefix else ""
        self._presigner = Presigner(client, session.get_credentials(), bucket)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")

    async def grant(self, key: str, verb: Verb, *, expires_s: float, size_bytes: int | None = None) -> SignedURL:
        name = self._before + check_key(key)
        check_size(size_bytes)
        return await self._signed(name, verb, expires_s, size_bytes if verb == "PUT" else None)

    async def grant_name(self, name: str, verb: Verb, *, expires_s: float) -> SignedURL:
        """Mint a URL for an object that is not this store's own: its name may be anything, and is taken as it is."""
        return await self._signed(name, verb, expires_s, None)

    async def find_name(self, name: str) -> tuple[int, str] | None:
        """The length and the ETag of an object that is not this store's own; None if there is none."""
        return await self._in_thread(self._details, name)

    def pages_after(self, prefix: str, after: str) -> Iterator[list[dict[str, Any]]]:
        """Objects that are not this store's own, a page at a time as S3 tells of them; blocks.

        Args:
            prefix: of their names, taken as it is.
            after: the name to go on behind; empty for the first.
        """
        options = {"StartAfter": after} if after else {}
        paginator = self._client.get_paginator("list_objects_v2")
        for page in paginator.paginate(Bucket=self._bucket, Prefix=prefix, **options):
            yield page.get("Contents", [])

    async def begin_upload(self, key: str) -> str:
        return await self._in_thread(self._begin, check_key(key))

    async def grant_part(
        self, key: str, upload_id: str, number: int, *, offset: int, size_bytes: int, expires_s: float
    ) -> SignedURL:
        name = self._before + check_key(key)
        check_size(size_bytes)
        query = urlencode({"partNumber": number, "uploadId": upload_id})
        return await self._signed(name, "PUT", expires_s, size_bytes, query)

    async def stored_parts(self, key: str, upload_id: str) -> dict[int, str]:
        parts = await self._in_thread(self._parts, check_key(key), upload_id)
        if parts is None:
            raise NotFound(f"There is no upload of {key!r} in the store {self.name}.")
        return parts

    async def complete_upload(self, key: str, upload_id: str, parts: Mapping[int, str]) -> None:
        refusal = await self._in_thread(self._complete, check_key(key), upload_id, parts)
        if refusal is not None:
            raise refusal

    async def abort_upload(self, key: str, upload_id: str) -> None:
        await self._in_thread(self._abort, check_key(key), upload_id)

    async def write(self, key: str, data: bytes) -> None:
        await self._in_thread(self._put, check_key(key), data)

    async def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        data = await self._in_thread(self._get, check_key(key), offset, length)
        if data is None:
            raise NotFound(f"There is no object {key!r} in the store {self.name}.")
        return data

    async def size(self, key: str) -> int | None:
        return await self._in_thread(self._head, check_key(key))

    async def delete(self, keys: Iterable[str]) -> None:
        names = [self._before + check_key(key) for key in keys]
        for start in range(0, len(names), _DELETED_AT_ONCE):
            await self._in_thread(self._delete, names[start : start + _DELETED_AT_ONCE])

    async def list(self, prefix: str = "") -> AsyncIterator[StoredObject]:
        pages = self._pages(prefix)
        while (page := await self._in_thread(next, pages, None)) is not None:
            for found in page:
                yield found

    async def check(self) -> None:
        await self._checked(self._check)

    async def check_reading(self) -> None:
        """The same for a bucket that is only to be read, perhaps; nothing is written to it.

        Raises:
            ConfigurationError: it cannot be used; the message says what is wrong and how to mend it.
        """
        await self._checked(self._look)

    async def _checked(self, call: Callable[[], None]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except (BotoCoreError, ClientError) as error:
            endpoint = self._client.meta.endpoint_url
            raise ConfigurationError(explain(error, self.name, self._bucket, endpoint)) from error

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        except (BotoCoreError, ClientError) as error:
            endpoint = self._client.meta.endpoint_url
            raise ServiceUnavailable(explain(error, self.name, self._bucket, endpoint)) from error

    async def _signed(
        self, name: str, verb: Verb, expires_s: float, size_bytes: int | None, query: str = ""
    ) -> SignedURL:
        if self._presigner.may_block():
            return await self._in_thread(self._sign, name, verb, expires_s, size_bytes, query)
        return self._sign(name, verb, expires_s, size_bytes, query)

    def _sign(self, name: str, verb: Verb, expires_s: float, size_bytes: int | None, query: str) -> SignedURL:
        now = time.time()
        try:
            return self._presigner.sign(name, verb, now, expires_s, size_bytes, query)
        except BotoCoreError as error:
            raise ServiceUnavailable(explain(error, self.name, self._bucket, self._client.meta.endpoint_url)) from error

    def _begin(self, key: str) -> str:
        upload_id: str = self._client.create_multipart_upload(Bucket=self._bucket, Key=self._before + key)["UploadId"]
        return upload_id

    def _parts(self, key: str, upload_id: str) -> dict[int, str] | None:
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=self._bucket, Key=self._before + key, UploadId=upload_id
        )
        try:
            return {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", ())}
        except ClientError as error:
            if _code(error) in _NO_UPLOAD:
                return None
            raise

    def _complete(self, key: str, upload_id: str, parts: Mapping[int, str]) -> Exception | None:
        listed = [{"PartNumber": number, "ETag": tag} for number, tag in sorted(parts.items())]
        try:
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._before + key,
                UploadId=upload_id,
                MultipartUpload={"Parts": listed},
            )
        except ClientError as error:
            if _code(error) in _NO_UPLOAD:
                return NotFound(f"There is no upload of {key!r} in the store {self.name}.")
            if _code(error) in _UNFIT_PARTS:
                return Conflict(
                    f"The store {self.name} cannot make {key!r} of these parts: {_code(error)}.",
                    fix="Upload the missing parts again, then complete.",
                    field="parts",
                )
            raise
        return None

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._before + key, UploadId=upload_id)
        except ClientError as error:
            if _code(error) not in _NO_UPLOAD:
                raise

    def _put(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._before + key, Body=data)

    def _get(self, key: str, offset: int, length: int | None) -> bytes | None:
        if length == 0:
            return None if self._head(key) is None else b""
        last = "" if length is None else str(offset + length - 1)
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._before + key, Range=f"bytes={offset}-{last}"
            )
            with contextlib.closing(answer["Body"]) as body:
                data: bytes = body.read()
                return data
        except ClientError as error:
            if _code(error) == "InvalidRange":  # it ends before the range begins
                return b""
            if _code(error) in _ABSENT:
                return None
            raise

    def _head(self, key: str) -> int | None:
        try:
            length: int = self._client.head_object(Bucket=self._bucket, Key=self._before + key)["ContentLength"]
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise
        return length

    def _details(self, name: str) -> tuple[int, str] | None:
        try:
            found = self._client.head_object(Bucket=self._bucket, Key=name)
        except ClientError as error:
            if _code(error) in _ABSENT:
                return None
            raise
        return found["ContentLength"], str(found.get("ETag", "")).strip('"')

    def _delete(self, names: Sequence[str]) -> None:
        objects = {"Objects": [{"Key": name} for name in names], "Quiet": True}
        answer = self._client.delete_objects(Bucket=self._bucket, Delete=objects)
        errors = [error for error in answer.get("Errors", ()) if error.get("Code") not in _ABSENT]
        if errors:
            raise ServiceUnavailable(
                f"{self.name} did not delete {len(errors)} of {len(names)} objects; the first is "
                f"{errors[0].get('Key')}: {errors[0].get('Code')} {errors[0].get('Message', '')}".rstrip()
            )

    def _pages(self, prefix: str) -> Iterator[Sequence[StoredObject]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._before + prefix
        )
        for page in pages:
            yield [
                StoredObject(found["Key"][len(self._before) :], found["Size"], found["LastModified"].timestamp())
                for found in page.get("Contents", ())
            ]

    def _look(self) -> None:
        # Not HeadBucket: its refusals have no body, so they do not tell a wrong key from a missing right.
        self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._before, MaxKeys=1)

    def _check(self) -> None:
        self._look()
        key, data = f"check-{secrets.token_hex(8)}", secrets.token_bytes(16)
        self._put(key, data)
        try:
            if self._get(key, 0, None) != data:
                raise ConfigurationError(f"The store {self.name} gave back other bytes than it was given.")
        finally:
            self._delete([self._before + key])


def open_s3_store(url: str) -> S3Store:
    """Open the store named by ``s3://bucket/prefix?parameters``, see ``router.store.open_store``.

    Raises:
        ConfigurationError: the URL or the AWS settings around it are wrong.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - set(_PARAMETERS))
    if unknown or not parts.netloc or parts.fragment:
        what = f"has the unknown parameter {unknown[0]!r}" if unknown else "names no bucket"
        raise ConfigurationError(
            f"The store {url!r} {what}. Write s3://bucket/prefix, optionally with ?{'=…&'.join(_PARAMETERS)}=…"
        )
    addressing = options.get("addressing", "auto")
    if addressing not in ("auto", "path", "virtual"):
        raise ConfigurationError(f"The store {url!r} has addressing={addressing!r}; use path, virtual or auto.")
    prefix = parts.path.strip("/")
    try:
        if prefix:
            check_key(prefix)
    except InvalidRequest as error:
        raise ConfigurationError(f"The store {url!r} has a prefix that cannot be used. {error.fix}") from error
    configuration = Config(
        signature_version="s3v4",
        s3={"addressing_style": addressing},
        # Compatible stores lag behind with checksums that S3 does not require.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "max_attempts": 4},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=THREADS,
    )
    try:
        session = boto3.session.Session(profile_name=options.get("profile"), region_name=options.get("region"))
        client = session.client("s3", endpoint_url=options.get("endpoint_url"), config=configuration)
        return S3Store(session, client, parts.netloc, prefix)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"The store {url!r} cannot be opened: {error}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
