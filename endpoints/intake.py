"""From a lease to the queue: may it run here, is its code here, are its arguments here."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from endpoints.configuration import Configuration
from endpoints.environments import Environments
from endpoints.functions import CodeRefused, FunctionCodes
from endpoints.inputs import Inputs
from endpoints.ledger import Held, Ledger
from endpoints.locations import NotHere
from endpoints.outputs import Outputs
from endpoints.policy import refusal
from endpoints.values import Values
from faas.errors import ChecksumMismatch, NotAuthenticated, PermissionDenied, RequestRefused
from faas.models import FailureKind, Grant, LeasedTask, Location

logger = logging.getLogger(__name__)


class Intake:
    """Takes leased tasks in, and queues each when nothing is missing any more.

    Args:
        configuration: who may run.
        environments: what tasks may run in.
        owner_id: whose endpoint it is.
        ledger: holds the attempts, with the queues.
        codes: function code.
        values: arguments and dependencies.
        inputs: objects and files.
        outputs: files to be written.
        failed: called for an attempt that cannot run, with kind and message.
        released: called for an attempt better run elsewhere or later, with the reason.
        troubled: called when tasks had to be released because something is wrong here.
        queued: called when attempts have come to the queues.
    """

    def __init__(
        self,
        configuration: Configuration,
        environments: Environments,
        owner_id: str,
        ledger: Ledger,
        codes: FunctionCodes,
        values: Values,
        inputs: Inputs,
        outputs: Outputs,
        *,
        failed: Callable[[Held, FailureKind, str], None],
        released: Callable[[Held, str], None],
        troubled: Callable[[BaseException], None],
        queued: Callable[[], None],
    ) -> None:
        self._configuration = configuration
        self._environments = environments
        self._owner_id = owner_id
        self._ledger = ledger
        self._codes = codes
        self._values = values
        self._inputs = inputs
        self._outputs = outputs
        self._failed = failed
        self._released = released
        self._troubled = troubled
        self._queued = queued
        self._fetching: set[asyncio.Task[None]] = set()
        self.pending: Counter[str] = Counter()
        """By shape of worker, attempts whose code or arguments are still on the way."""

    def take(self, tasks: list[LeasedTask]) -> None:
        """Take in what a lease brought."""
        without_code: dict[str, list[Held]] = {}
        for task in tasks:
            if task.attempt in self._ledger:
                continue
            held = Held(task)
            self._ledger.add(held)
            if task.values:
                held.values.update(task.values)
            if task.owner_id != self._owner_id and (reason := refusal(self._configuration, self._owner_id, task)):
                self._failed(held, "refused", reason)
            elif task.environment and task.environment not in self._environments:
                self._failed(held, "refused", f"This endpoint has no environment {task.environment!r}.")
            elif problem := self._environments.problem(held.environment):
                self._released(held, problem)
                self._troubled(RuntimeError(problem))  # the service was told; it must not go on like this
            elif _refers(task):
                self._spawn([held])
            elif (modules := self._codes.modules(task.function_id)) is not None:
                self._ledger.enqueue(held, (task.owner_id, held.environment, modules))
            else:
                without_code.setdefault(task.function_id, []).append(held)
        for waiting in without_code.values():
            self._spawn(waiting)

    def _spawn(self, waiting: list[Held]) -> None:
        self.pending.update(map(self._ledger.shape_of, waiting))
        task = asyncio.ensure_future(self._fetch(waiting))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch(self, waiting: list[Held]) -> None:
        try:
            modules = await self._codes.fetch(waiting[0].task.function_id)
            for held in waiting:
                if _refers(held.task):
                    await self._fetch_values(held)
        except RequestRefused as error:
            self._not_here(waiting, error)
        except NotHere as error:
            kind, reason = error.kind, str(error)
            self._each(waiting, lambda held: self._failed(held, kind, reason))
        except ChecksumMismatch as error:
            reason = str(error)
            self._each(waiting, lambda held: self._failed(held, "serialization", reason))
        except (CodeRefused, ValueError) as error:
            logger.error("refused: %s", error)
            reason = str(error)
            self._each(waiting, lambda held: self._failed(held, "refused", reason))
        except OSError as error:
            self._troubled(error)
            reason = f"The site could not store them: {error}"
            self._each(waiting, lambda held: self._released(held, reason))
        else:
            self._each(waiting, lambda held: self._enqueue(held, modules))
        finally:
            self.pending.subtract(map(self._ledger.shape_of, waiting))
            self._queued()

    def _not_here(self, waiting: list[Held], error: RequestRefused) -> None:
        if isinstance(error, (NotAuthenticated, PermissionDenied)) or error.status == 409:
            # The lease or a grant has run out meanwhile; a new lease brings new ones.
            self._troubled(error)
            self._each(waiting, lambda held: self._released(held, str(error)))
        else:
            message = f"Its code or arguments cannot be fetched: {error}"
            self._each(waiting, lambda held: self._failed(held, "serialization", message))

    def _each(self, waiting: list[Held], action: Callable[[Held], None]) -> None:
        for held in waiting:
            if held.task.attempt in self._ledger and not held.recalled:
                action(held)
            else:
                held.free()

    def _enqueue(self, held: Held, modules: str) -> None:
        self._ledger.enqueue(held, (held.task.owner_id, held.environment, modules))

    async def _fetch_values(self, held: Held) -> None:
        task = held.task
        wanted: list[tuple[str, Grant, Location | None]] = []
        if task.argument_object is not None:
            wanted.append(("", task.argument_object, None))
        grants = {grant.object_id: grant for grant in task.dependency_grants}
        for task_id, location in task.dependencies.items():
            if task_id in task.values:
                continue
            grant = grants.get(location.object_id)
            if grant is None:
                raise ValueError(f"The lease has no grant for the result of task {task_id}.")
            wanted.append((task_id, grant, location))
        if wanted:
            # All are waited for, whatever becomes of one: what comes late would never be given back.
            fetching = [self._fetch_value(held, *each) for each in wanted]
            for error in await asyncio.gather(*fetching, return_exceptions=True):
                if error is not None:
                    raise error
        if task.inputs or task.files:
            await self._inputs.bring(held)
        if task.outputs:
            await self._outputs.prepare(held)

    async def _fetch_value(self, held: Held, name: str, grant: Grant, location: Location | None) -> None:
        key, value = await self._values.borrow(grant, location)
        held.let_go.append(lambda: self._values.give_back(key))
        if not name:
            held.payload = value.data
            held.payload_file = str(value.path or "")
        elif value.path is not None:
            held.value_files[name] = str(value.path)
        else:
            held.values[name] = value.data

    def stop(self) -> None:
        """Fetch no more."""
        for task in self._fetching:
            task.cancel()


def _refers(task: LeasedTask) -> bool:
    """Whether something that did not come with the task must be at hand before it can run."""
    return bool(
        task.inputs or task.files or task.outputs or task.argument_object or len(task.dependencies) > len(task.values)
    )
