"""What leased tasks refer to: leave to fetch and to store exactly that, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from faas.errors import NotFound
from faas.models import Grant, Input, LeasedTask
from registry import locations, object_uses, objects, results
from registry.database import Transaction
from registry.endpoints import Site, site
from registry.leases import Granted
from registry.locations import Registered
from registry.objects import StoredObject
from registry.results import Parent
from router.buckets import Buckets, InBucket
from router.grants import grant_each
from router.hints import Hints
from router.store import Store


@dataclass(frozen=True)
class References:
    """What some tasks refer to, as the registry knows it."""

    parents: dict[int, list[Parent]] = field(default_factory=dict)
    """By sequence."""
    objects: dict[str, StoredObject] = field(default_factory=dict)
    of_task: dict[int, list[str]] = field(default_factory=dict)
    """By sequence, the objects that its arguments refer to, by way of its parents' results too."""
    files: dict[int, list[InBucket]] = field(default_factory=dict)
    """By sequence, the files to read that its site must fetch."""
    outputs: dict[int, list[InBucket]] = field(default_factory=dict)


NOTHING = References()


def look_up(transaction: Transaction, endpoint_id: str, granted: list[Granted]) -> References:
    """Find what tasks granted to an endpoint refer to."""
    dependent = [task.key.sequence for task in granted if task.depends]
    referring = [task for task in granted if task.objects or task.argument_object or task.files or task.outputs]
    if not dependent and not referring:
        return NOTHING
    parents = results.parents_of(transaction, dependent)
    of_task = {task.key.sequence: list(task.objects) for task in referring if task.objects}
    for sequence, named in object_uses.granted_to(transaction, dependent).items() if dependent else ():
        if named:
            of_task[sequence] = sorted(named)
    wanted = {parent.location.object_id for found in parents.values() for parent in found}
    wanted.update(task.argument_object for task in referring if task.argument_object)
    wanted.update(object_id for named in of_task.values() for object_id in named)
    located = [task for task in referring if task.files or task.outputs]
    here = site(transaction, endpoint_id) if located else None
    known = locations.registered(transaction) if located else {}
    return References(
        parents=parents,
        objects=objects.find(transaction, wanted) if wanted else {},
        of_task=of_task,
        files={task.key.sequence: _elsewhere(task, task.files, here, known, write=False) for task in located},
        outputs={task.key.sequence: _elsewhere(task, task.outputs, here, known, write=True) for task in located},
    )


def _elsewhere(
    task: Granted, names: Iterable[str], here: Site | None, known: dict[str, Registered], *, write: bool
) -> list[InBucket]:
    """Of a task's files, those that its site has not got itself and that its owner may use in a bucket."""
    found = []
    for name in names:
        try:
            location = locations.location_of(name, known)
        except NotFound:
            # The location was removed meanwhile. The site tells its task so; the rest of the lease is not to suffer.
            continue
        by_name = not name.startswith("s3://")
        if by_name and here is not None and here.mounts(location, task.owner_id, task.owner, write=write):
            continue
        backing = known.get(location)
        if backing is not None and (backing.may_write(task.owner) if write else backing.may_read(task.owner)):
            found.append(InBucket(name, backing))
    return found


class Granting:
    """Mints what goes with leased tasks."""

    def __init__(self, store: Store, buckets: Buckets, hints: Hints) -> None:
        self._store = store
        self._buckets = buckets
        self._hints = hints

    async def leased(self, granted: list[Granted], references: References) -> list[LeasedTask]:
        """Tasks as their agent gets them.

        Raises:
            ServiceUnavailable: a store does not answer.
        """
        if references is NOTHING:
            return [_leased(task) for task in granted]
        at_hand = {
            parent.location: data
            for found in references.parents.values()
            for parent in found
            if (data := self._hints.get(parent.location)) is not None
        }
        fetched = {
            parent.location.object_id
            for found in references.parents.values()
            for parent in found
            if parent.location not in at_hand
        }
        named = {object_id for listed in references.of_task.values() for object_id in listed}
        named.update(task.argument_object for task in granted if task.argument_object)
        grants = await grant_each(
            self._store, (stored for key, stored in references.objects.items() if key in fetched or key in named), "GET"
        )
        files = await self._buckets.inputs({file for listed in references.files.values() for file in listed})
        outputs = await self._buckets.grants({file for listed in references.outputs.values() for file in listed}, "PUT")
        tasks = []
        for task in granted:
            sequence = task.key.sequence
            leased = _leased(task)
            if task.argument_object:
                leased.argument_object = grants[task.argument_object]
            leased.inputs = {
                key: _input(references.objects[key], grants[key])
                for key in references.of_task.get(sequence, ())
                if key in grants
            }
            leased.inputs.update((file.name, files[file]) for file in references.files.get(sequence, ()))
            leased.output_grants = {file.name: outputs[file] for file in references.outputs.get(sequence, ())}
            parents = references.parents.get(sequence, ())
            leased.dependencies = {parent.task_id: parent.location for parent in parents}
            leased.values = {
                parent.task_id: at_hand[parent.location] for parent in parents if parent.location in at_hand
            }
            needed = {parent.location.object_id for parent in parents if parent.location not in at_hand}
            leased.dependency_grants = [grants[key] for key in sorted(needed) if key in grants]
            tasks.append(leased)
        return tasks

    async def again(self, task: Granted, references: References, names: list[str]) -> dict[str, Grant]:
        """Fresh grants for what a task refers to, of the names asked for."""
        sequence = task.key.sequence
        allowed = {*references.of_task.get(sequence, ()), *([task.argument_object] if task.argument_object else ())}
        allowed.update(parent.location.object_id for parent in references.parents.get(sequence, ()))
        wanted = set(names)
        stored = [each for key, each in references.objects.items() if key in allowed and key in wanted]
        files = {file for file in references.files.get(sequence, ()) if file.name in wanted}
        outputs = {file for file in references.outputs.get(sequence, ()) if file.name in wanted}
        grants = await grant_each(self._store, stored, "GET")
        grants.update({file.name: each for file, each in (await self._buckets.grants(files, "GET")).items()})
        grants.update({file.name: each for file, each in (await self._buckets.grants(outputs, "PUT")).items()})
        return grants


def _input(stored: StoredObject, grant: Grant) -> Input:
    return Input(
        grant=grant,
        size_bytes=-1 if stored.size_bytes is None else stored.size_bytes,
        sha256=stored.sha256,
        content=stored.content,
        name=stored.name,
    )


def _leased(task: Granted) -> LeasedTask:
    return LeasedTask(
        attempt=task.key,
        task_id=task.task_id,
        owner_id=task.owner_id,
        owner=task.owner,
        function_id=task.function_id,
        payload=task.payload,
        files=task.files,
        outputs=task.outputs,
        timeout_s=task.timeout_s,
        idempotent=task.idempotent,
        losses=task.losses,
        shape=task.shape,
        environment=task.environment,
    )
