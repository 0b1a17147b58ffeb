"""Routes: objects on their way up and down, by grants; the service sees their names and sizes, not their bytes."""

from __future__ import annotations

import asyncio

from faas import parts
from faas.errors import Conflict, InvalidRequest, NotFound
from faas.models import CompleteUpload, CreateObject, Grant, Nothing, ObjectInfo, ObjectPage, Upload, WantParts
from registry import objects, uploads
from registry.objects import StoredObject
from router.api.routes import Call, Routes
from router.grants import grant, grant_part
from router.service import Service
from router.store import MAX_UPLOAD_BYTES
from router.store.protocol import check_size

routes = Routes("objects")

_GRANTS_AT_ONCE = 32
"""Grants that the answer to a new upload brings; each takes a millisecond of signing."""
_MOST_GRANTS = 200


@routes.add("POST", "/objects", "client", "submit", "ticket", body=CreateObject, answer=Upload)
async def create_object(call: Call[CreateObject]) -> Upload:
    """Leave to upload one object of this size; it is deleted in a day unless something comes to refer to it.

    Up to 64 MiB it goes up as one PUT; a larger one in parts, see the answer, and is then completed. With a worker's
    ticket, it is to hold the result of the attempt that the ticket is for.
    """
    check_size(call.body.size_bytes, MAX_UPLOAD_BYTES)
    service = call.service
    stored = await service.database.write(uploads.begin, call.principal, call.body)
    each_bytes = parts.part_bytes(call.body.size_bytes)
    if not each_bytes:
        put = await grant(service.store, stored, "PUT", size_bytes=call.body.size_bytes)
        return Upload(object_id=stored.object_id, size_bytes=call.body.size_bytes, grants=[put])
    upload_id = await service.store.begin_upload(stored.key)
    await service.database.write(uploads.begun, stored.object_id, upload_id)
    first = range(1, 1 + min(_GRANTS_AT_ONCE, parts.count(call.body.size_bytes, each_bytes)))
    return await _upload(service, stored, upload_id, list(first), {})


@routes.add("GET", "/objects/{object_id}/upload", "client", "submit", "ticket", answer=Upload)
async def show_upload(call: Call[None]) -> Upload:
    """How far an upload is: which parts the store has."""
    service = call.service
    stored = await service.database.glance(uploads.under_way, call.principal, call.path("object_id"))
    if not stored.upload_id:
        size_bytes = stored.size_bytes or 0
        if parts.part_bytes(size_bytes):
            raise Conflict(f"The upload of object {stored.object_id} is complete.", field="object_id")
        put = await grant(service.store, stored, "PUT", size_bytes=size_bytes)
        return Upload(object_id=stored.object_id, size_bytes=size_bytes, grants=[put])
    present = await service.store.stored_parts(stored.key, stored.upload_id)
    return await _upload(service, stored, stored.upload_id, [], present)


@routes.add("POST", "/objects/{object_id}/parts", "client", "submit", "ticket", body=WantParts, answer=Upload)
async def want_parts(call: Call[WantParts]) -> Upload:
    """Leave to upload parts, also again: 200 at a time."""
    stored = await call.service.database.glance(uploads.under_way, call.principal, call.path("object_id"))
    if not stored.upload_id:
        raise Conflict(f"Object {stored.object_id} is not on its way up in parts.", field="object_id")
    if len(call.body.numbers) > _MOST_GRANTS:
        raise InvalidRequest(f"{len(call.body.numbers)} parts at once.", fix="Ask for 200 at most.", field="numbers")
    return await _upload(call.service, stored, stored.upload_id, call.body.numbers, {})


@routes.add(
    "POST", "/objects/{object_id}/complete", "client", "submit", "ticket", body=CompleteUpload, answer=ObjectInfo
)
async def complete_upload(call: Call[CompleteUpload]) -> ObjectInfo:
    """All of an object is in the store: make it of its parts. May be repeated."""
    service = call.service
    stored = await service.database.glance(uploads.under_way, call.principal, call.path("object_id"))
    if stored.upload_id:
        await _complete(service, stored, call.body.parts)
    size_bytes = await service.store.size(stored.key)
    if size_bytes is None or size_bytes != stored.size_bytes:
        raise Conflict(
            f"The store has {'nothing' if size_bytes is None else f'{size_bytes:,} bytes'} of object "
            f"{stored.object_id}, which was announced with {stored.size_bytes:,} bytes.",
            fix="Upload it again.",
            field="object_id",
        )
    return await service.database.write(
        uploads.complete, call.principal, stored.object_id, size_bytes, call.body.sha256
    )


async def _complete(service: Service, stored: StoredObject, told: dict[int, str]) -> None:
    size_bytes = stored.size_bytes or 0
    count = parts.count(size_bytes, parts.part_bytes(size_bytes))
    try:
        present = told or await service.store.stored_parts(stored.key, stored.upload_id)
        missing = [number for number in range(1, count + 1) if number not in present]
        if missing or len(present) != count:
            named = ", ".join(map(str, missing[:5])) or str(max(present))
            raise Conflict(
                f"The upload of object {stored.object_id} has {count:,} parts; these are wrong or missing: {named}.",
                fix="Upload them, then complete again.",
                field="parts",
            )
        await service.store.complete_upload(stored.key, stored.upload_id, present)
    except NotFound:
        # Completed before, and the answer was lost? Then the object is there, which is looked at next.
        if await service.store.size(stored.key) is None:
            raise


@routes.add("GET", "/objects/{object_id}", "client", answer=Grant)
async def show_object(call: Call[None]) -> Grant:
    """Leave to download one of the caller's objects."""
    stored = await call.service.database.glance(objects.own, call.principal, call.path("object_id"))
    return await grant(call.service.store, stored, "GET")


@routes.add("GET", "/objects/{object_id}/info", "client", answer=ObjectInfo)
async def object_info(call: Call[None]) -> ObjectInfo:
    """What is known of one of the caller's objects."""
    return await call.service.database.glance(uploads.show, call.principal, call.path("object_id"))


@routes.add(
    "GET",
    "/objects",
    "client",
    answer=ObjectPage,
    query={"before": "`next_before` of the page before", "limit": "at most this many, 100 unless told"},
)
async def list_objects(call: Call[None]) -> ObjectPage:
    """The caller's own objects, the newest first."""
    limit = int(call.number("limit", 100, 1, 1000))
    return await call.service.database.read(uploads.find, call.principal, call.text("before"), limit)


@routes.add("POST", "/objects/{object_id}/keep", "client", body=Nothing, answer=ObjectInfo)
async def keep_object(call: Call[Nothing]) -> ObjectInfo:
    """Have an object stay, whether or not a task refers to it."""
    return await call.service.database.write(uploads.keep, call.principal, call.path("object_id"))


@routes.add("DELETE", "/objects/{object_id}", "client", "submit", "ticket", answer=Nothing)
async def delete_object(call: Call[None]) -> Nothing:
    """Delete an object that nothing uses, or drop its upload."""
    service = call.service
    stored = await service.database.write(uploads.delete, call.principal, call.path("object_id"))
    await service.janitor.delete([stored])
    return Nothing()


async def _upload(
    service: Service, stored: StoredObject, upload_id: str, numbers: list[int], present: dict[int, str]
) -> Upload:
    size_bytes = stored.size_bytes or 0
    each_bytes = parts.part_bytes(size_bytes)
    wanted = []
    for place, number in enumerate(numbers):
        part = parts.part(number, size_bytes, each_bytes)
        if part is None:
            raise InvalidRequest(f"There is no part {number} of this object.", field=f"numbers[{place}]")
        wanted.append(part)
    return Upload(
        object_id=stored.object_id,
        size_bytes=size_bytes,
        part_bytes=each_bytes,
        grants=await asyncio.gather(*(grant_part(service.store, stored, upload_id, part) for part in wanted)),
        stored=present,
    )
