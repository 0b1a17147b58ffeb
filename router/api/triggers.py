"""Routes: triggers, and what stores and watchers deliver to them."""

from __future__ import annotations

import asyncio
import getpass
from concurrent.futures import Future
from pathlib import Path
from typing import get_args

from faas.errors import InvalidRequest, PermissionDenied
from faas.models import (
    CreateTrigger,
    Dataset,
    EventState,
    Nothing,
    SourceKind,
    Taken,
    Trigger,
    TriggerEvent,
    TriggerSettings,
    TriggerTrial,
    UploadEvents,
)
from faas.watching.directory import present_files
from registry import trigger_events, triggers
from registry.identities import Principal
from registry.triggers import Known
from router.api.routes import Call, Routes
from router.triggers import listing, matching
from router.triggers.directories import uploads
from router.triggers.intake import DECISIONS

routes = Routes("triggers")

_SAMPLE = 10


@routes.add("POST", "/triggers", "client", body=CreateTrigger, answer=Trigger)
async def create_trigger(call: Call[CreateTrigger]) -> Trigger:
    """Create a trigger; the answer tells the path that stores post to, which is not shown again."""
    kind = _checked(call.principal, call.body)
    await _check_bucket(call, kind)
    made = await call.service.database.write(triggers.create, call.principal, kind, call.body)
    call.service.triggers.look()
    return made


@routes.add("GET", "/triggers", "client", answer=list[Trigger])
async def list_triggers(call: Call[None]) -> list[Trigger]:
    """The caller's triggers."""
    return await call.service.database.read(triggers.shown, call.principal)


@routes.add("POST", "/triggers/trial", "client", body=CreateTrigger, answer=TriggerTrial)
async def try_trigger(call: Call[CreateTrigger]) -> TriggerTrial:
    """What a trigger would take of what is there already, and what that would cost; nothing is created."""
    kind = _checked(call.principal, call.body)
    return await _trial(call, kind, call.body)


@routes.add("GET", "/triggers/{trigger}", "client", answer=Trigger)
async def show_trigger(call: Call[None]) -> Trigger:
    """One of the caller's triggers, by id or name."""
    return await _shown(call)


@routes.add("DELETE", "/triggers/{trigger}", "client", answer=Nothing)
async def delete_trigger(call: Call[None]) -> Nothing:
    """Delete a trigger and its ledger; its tasks go on."""
    trigger = await _found(call)
    await call.service.database.write(triggers.delete, trigger.trigger_id)
    call.service.triggers.look()
    return Nothing()


@routes.add("POST", "/triggers/{trigger}/pause", "client", body=Nothing, answer=Trigger)
async def pause_trigger(call: Call[Nothing]) -> Trigger:
    """Let nothing become a task until the trigger is resumed; what comes waits."""
    trigger = await _found(call)
    await call.service.database.write(triggers.pause, trigger.trigger_id, f"paused by {call.principal.identity}")
    call.service.triggers.look()
    return await _shown(call)


@routes.add("POST", "/triggers/{trigger}/resume", "client", body=Nothing, answer=Trigger)
async def resume_trigger(call: Call[Nothing]) -> Trigger:
    """Go on, with what waits first."""
    trigger = await _found(call)
    await call.service.database.write(triggers.resume, trigger.trigger_id)
    call.service.triggers.look()
    return await _shown(call)


@routes.add("POST", "/triggers/{trigger}/trial", "client", body=Nothing, answer=TriggerTrial)
async def try_existing(call: Call[Nothing]) -> TriggerTrial:
    """The same for a trigger that there is."""
    trigger = await _found(call)
    wanted = CreateTrigger(
        name=trigger.name, source=trigger.source, function=trigger.function, settings=trigger.settings
    )
    return await _trial(call, trigger.kind, wanted)


@routes.add("POST", "/triggers/{trigger}/replay", "client", body=Nothing, answer=Trigger)
async def replay_trigger(call: Call[Nothing]) -> Trigger:
    """Try dead letters again."""
    trigger = await _found(call)
    service = call.service
    deliveries = await service.database.write(trigger_events.replay, trigger.trigger_id, DECISIONS)
    for body in deliveries:
        await _durable(service.triggers.intake.deliver(trigger, body))
    return await _shown(call)


@routes.add(
    "GET",
    "/triggers/{trigger}/events",
    "client",
    answer=list[TriggerEvent],
    query={"state": "only events in this state", "limit": "at most this many, 100 unless told"},
)
async def list_events(call: Call[None]) -> list[TriggerEvent]:
    """What became of uploads, the newest first."""
    state = call.text("state")
    if state and state not in get_args(EventState):
        raise InvalidRequest(
            f"{state[:40]!r} is no state.", fix=f"There are {', '.join(get_args(EventState))}.", field="state"
        )
    trigger = await _found(call)
    limit = int(call.number("limit", 100, 1, 1000))
    return await call.service.database.read(trigger_events.listed, trigger.trigger_id, state, limit)


@routes.add("GET", "/triggers/{trigger}/datasets", "client", answer=list[Dataset])
async def list_datasets(call: Call[None]) -> list[Dataset]:
    """Datasets that are not complete, with what they lack."""
    trigger = await _found(call)
    return await call.service.database.read(trigger_events.incomplete, trigger, DECISIONS)


@routes.add("POST", "/triggers/{trigger}/events", "client", "submit", body=UploadEvents, answer=Taken)
async def take_events(call: Call[UploadEvents]) -> Taken:
    """Take in what a watcher has seen; all of it is durable when this is answered."""
    trigger = await _found(call)
    intake = call.service.triggers.intake
    events = call.body.events
    taken = Taken()
    for start in range(0, len(events), trigger_events.SLICE):
        each = await asyncio.wrap_future(intake.take(trigger, events[start : start + trigger_events.SLICE]))
        taken.new += each.new
        taken.repeats += each.repeats
        taken.passed_over += each.passed_over
    return taken


@routes.add("POST", "/triggers/{trigger_id}/deliveries/{secret}", answer=Nothing)
async def deliver(call: Call[None]) -> Nothing:
    """Take in an event message of a store; the secret in the path is the trigger's.

    Answered once it is durable. What cannot be read is kept as a dead letter, for a store would send it for ever.
    """
    service = call.service
    trigger = await service.database.glance(triggers.by_secret, call.path("trigger_id"), call.path("secret"))
    await _durable(service.triggers.intake.deliver(trigger, await call.raw()))
    return Nothing()


async def _durable(waiting: list[Future[Taken]]) -> None:
    for each in waiting:
        await asyncio.wrap_future(each)


async def _shown(call: Call[None] | Call[Nothing]) -> Trigger:
    return await call.service.database.read(triggers.show, call.principal, call.path("trigger"))


async def _found(call: Call[None] | Call[Nothing] | Call[UploadEvents]) -> Known:
    return await call.service.database.glance(triggers.find, call.principal, call.path("trigger"))


def _checked(principal: Principal, wanted: CreateTrigger) -> SourceKind:
    """What kind of source it is, having refused what cannot work or is not the caller's to have."""
    matching.check_settings(wanted.settings)
    source = wanted.source
    if wanted.settings.listing:
        listing.parse(wanted.settings.listing, "settings.listing")
    if source == "push":
        return "push"
    if source.startswith("s3:"):
        listing.parse(source, "source")
        return "s3"
    if source.startswith("sqs:"):
        if not source.startswith(("sqs:https://", "sqs:http://")):
            raise InvalidRequest(f"{source[:80]!r} is not like sqs:https://….", field="source")
    elif not source.startswith("/") or not source.isprintable():
        raise InvalidRequest(
            f"The source {source[:80]!r} is none that is known.",
            fix="Give a directory's whole path, s3://bucket/prefix, sqs:URL or push.",
            field="source",
        )
    if principal.scope != "admin" and principal.identity != getpass.getuser():
        raise PermissionDenied(
            "The service reads queues and directories with its own rights, which are not yours to use.",
            fix="Ask an administrator, or run `faas watch DIR --trigger NAME` where the files are.",
        )
    if source.startswith("sqs:"):
        return "sqs"
    if not Path(source).is_dir():
        raise InvalidRequest(f"The service's machine has no directory {source}.", field="source")
    return "directory"


async def _check_bucket(call: Call[CreateTrigger], kind: SourceKind) -> None:
    url = call.body.source if kind == "s3" else call.body.settings.listing
    if url:
        service = call.service
        await listing.bucket_of(service.database, service.buckets, call.principal.identity, url)


async def _trial(call: Call[CreateTrigger] | Call[Nothing], kind: SourceKind, wanted: CreateTrigger) -> TriggerTrial:
    service, settings = call.service, wanted.settings
    url = wanted.source if kind == "s3" else settings.listing
    if url:
        count, sample = await service.triggers.listing.count(call.principal.identity, url, settings)
    elif kind == "directory":
        count, sample = await asyncio.to_thread(_count_files, Path(wanted.source), settings)
    else:
        count, sample = 0, []
    run_s = await service.database.read(triggers.mean_run_s, call.principal, wanted.function)
    node_hours = None if run_s is None else run_s * count / 3600
    return TriggerTrial(matching=count, sample=sample, run_s=run_s, node_hours=node_hours)


def _count_files(root: Path, settings: TriggerSettings) -> tuple[int, list[str]]:
    count = 0
    sample: list[str] = []
    for upload in uploads(root, present_files(root)):
        if matching.matches(settings, upload):
            count += 1
            if len(sample) < _SAMPLE:
                sample.append(upload.key)
    return count, sample
