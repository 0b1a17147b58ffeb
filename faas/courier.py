"""Carries an executor's tasks to the service: one thread that sends whatever has gathered while it was away."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

import msgspec

from faas import codec
from faas.batch import REQUEST_BYTES, REQUEST_TASKS
from faas.collector import Collector
from faas.crew import Crew
from faas.errors import FaasError, NotFound, TooLarge
from faas.futures import TaskFuture
from faas.link import Link
from faas.models import INLINE_ARGUMENT_BYTES, CancelRequest, CancelResponse, Submission, SubmitRequest, SubmitResponse
from faas.outcomes import refusal_error
from faas.persistence import persist
from faas.uploads import upload

_UPLOADERS = 4
_LARGE_WAITING = 8
_EXIT_PATIENCE_S = 30.0
_CANCEL_TASKS = 5_000
_SEND_PATIENCE_S = 10.0


class Parcel(NamedTuple):
    """A task ready to be sent: its future, and its encoded submission."""

    future: TaskFuture
    body: bytes
    dependencies: list[str]


class Courier:
    """Sends tasks, cancels them, and has a :class:`Collector` fetch their results.

    No lock is taken for a task: whoever takes its id out of ``_unsent`` decides what becomes of it there.

    Args:
        link: to the service.
        group_id: the group of all tasks.
        patience_s: how long the service may be away before submissions fail.
        at_end: called once everything has ended after :meth:`close`.
    """

    def __init__(self, link: Link, group_id: str, patience_s: float, at_end: Callable[[], None] | None = None) -> None:
        self._link = link
        self._group_id = group_id
        self._patience_s = patience_s
        self._at_end = at_end
        self._process = os.getpid()
        self._queue: SimpleQueue[list[Parcel]] = SimpleQueue()
        self._unsent: dict[str, TaskFuture] = {}
        self._held: dict[str, list[Parcel]] = {}
        """Tasks whose arguments are still on their way up, and the tasks that must not be sent before them."""
        self._holding = threading.Lock()
        self._sending = threading.Lock()
        self._closed = False
        self._abandoned = threading.Event()
        self._sender: threading.Thread | None = None
        self._starting = threading.Lock()
        self._crew = Crew("faas-upload", _UPLOADERS)
        self._large = threading.BoundedSemaphore(_LARGE_WAITING)
        self.collector = Collector(link, group_id, patience_s, self._end)
        _couriers.add(self)

    def admit(self, future: TaskFuture, submission: Submission) -> Parcel | None:
        """Take a task in charge: it can be cancelled from now on, and is to be given to :meth:`send`.

        Large arguments go up as an object first, in the background; this waits while many are on their way already.

        Returns:
            What to send; None if that will happen by itself, after the upload.

        Raises:
            RuntimeError: after :meth:`close`, or in a forked process.
        """
        if len(submission.payload) <= INLINE_ARGUMENT_BYTES:
            self._register(future)
            return Parcel(future, codec.encode(submission), submission.dependencies)
        self._large.acquire()
        try:
            self._register(future)
        except BaseException:
            self._large.release()
            raise
        with self._holding:
            self._held[future.task_id] = []
        self._crew.do(lambda: self._upload(future, submission))
        return None

    def send(self, parcels: list[Parcel]) -> None:
        """Queue tasks."""
        if self._held:
            with self._holding:
                parcels = [parcel for parcel in parcels if not self._hold(parcel)]
        self._queue.put(parcels)

    def _register(self, future: TaskFuture) -> None:
        if self._process != os.getpid():
            raise RuntimeError("This Executor was made before the process forked. Make a new one here.")
        self._unsent[future.task_id] = future
        if self._closed:  # asked only now, so that the sending thread cannot have missed this task
            self._unsent.pop(future.task_id, None)
            self._queue.put([])
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.collector.expect(future)
        if self._sender is None:
            self._start()

    def _start(self) -> None:
        with self._starting:
            if self._sender is None:
                self._sender = threading.Thread(target=self._deliver, name="faas-send", daemon=True)
                self._sender.start()

    def _upload(self, future: TaskFuture, submission: Submission) -> None:
        try:
            if future.task_id in self._unsent:  # else cancelled meanwhile
                persist(lambda: upload(self._link, submission), self._patience_s, self._abandoned)
                submission.payload = b""
                self._queue.put([Parcel(future, codec.encode(submission), submission.dependencies)])
        except Exception as error:  # every future must end, whatever went wrong
            self._unsent.pop(future.task_id, None)
            self._queue.put([])
            self.collector.fail(future, error)
        finally:
            self._large.release()
            with self._holding:
                self._release(future.task_id)

    def _hold(self, parcel: Parcel) -> bool:
        """Keep a task back while one it depends on is not queued: the service must hear of that one first."""
        for dependency in parcel.dependencies:
            if dependency in self._held:
                self._held[dependency].append(parcel)
                self._held.setdefault(parcel.future.task_id, [])
                return True
        return False

    def _release(self, task_id: str) -> None:
        """A task has been queued: those kept back for it follow."""
        for parcel in self._held.pop(task_id, ()):
            if not self._hold(parcel):
                self._queue.put([parcel])
                self._release(parcel.future.task_id)

    # The sending thread

    def _deliver(self) -> None:
        while not (self._closed and not self._unsent):
            parcels = self._gather()
            with self._sending:
                # From here on cancelling goes through the service.
                mine = [parcel for parcel in parcels if self._unsent.pop(parcel.future.task_id, None) is not None]
                del parcels
                if mine:
                    self._submit(mine)
                del mine  # not to keep arguments and results alive while waiting

    def _gather(self) -> list[Parcel]:
        """What is queued, up to about one request; waits for the first. An empty list only ends the waiting."""
        parcels = list(self._queue.get())
        size = sum(len(parcel.body) for parcel in parcels)
        while parcels and len(parcels) < REQUEST_TASKS and size < REQUEST_BYTES:
            try:
                more = self._queue.get_nowait()
            except Empty:
                break
            parcels += more
            size += sum(len(parcel.body) for parcel in more)
        return parcels

    def _submit(self, parcels: list[Parcel]) -> None:
        request = SubmitRequest(group_id=self._group_id, tasks=[msgspec.Raw(parcel.body) for parcel in parcels])
        try:
            response = persist(
                lambda: self._link.request("POST", "/v1/tasks", request, response=SubmitResponse),
                self._patience_s,
                self._abandoned,
            )
        except TooLarge as error:
            if len(parcels) > 1:
                middle = len(parcels) // 2
                self._submit(parcels[:middle])
                self._submit(parcels[middle:])
                return
            self.collector.fail(parcels[0].future, error)
        except Exception as error:  # every future must end, whatever went wrong
            for parcel in parcels:
                self.collector.fail(parcel.future, error)
        else:
            for refusal in response.refused:
                if 0 <= refusal.index < len(parcels):
                    self.collector.fail(parcels[refusal.index].future, refusal_error(refusal))

    # Cancelling

    def cancel(self, future: TaskFuture) -> bool:
        """Cancel a task that no site runs yet; a task not yet sent never will be."""
        self.cancel_all([future])
        return future.cancelled()

    def cancel_later(self, future: TaskFuture) -> None:
        """The same in the background, errors ignored."""

        def attempt() -> None:
            with contextlib.suppress(FaasError):  # nobody is there to be told; the task's end will come by itself
                self.cancel_all([future])

        self._crew.do(attempt)

    def cancel_all(self, futures: list[TaskFuture]) -> None:
        """Cancel those of these tasks that do not run yet, in as few requests as possible."""
        sent = []
        for future in futures:
            if self._unsent.pop(future.task_id, None) is not None:
                self.collector.end_cancelled(future)
            elif not future.done():
                future.cancelling = True
                sent.append(future)
        if not sent:
            return
        # A request on its way must arrive first: the service cannot cancel what it has not seen.
        if self._sending.acquire(timeout=_SEND_PATIENCE_S):
            self._sending.release()
        for start in range(0, len(sent), _CANCEL_TASKS):
            asked = {future.task_id: future for future in sent[start : start + _CANCEL_TASKS]}
            request = CancelRequest(task_ids=list(asked), running=False)
            try:
                response = self._link.request("POST", "/v1/tasks/cancel", request, response=CancelResponse)
            except NotFound:
                continue
            for task_id in response.cancelled:
                if task_id in asked:
                    self.collector.end_cancelled(asked[task_id])

    # The end

    def close(self, *, wait: bool, cancel: bool) -> None:
        """Take no more tasks; see ``concurrent.futures.Executor.shutdown``."""
        self._closed = True
        if cancel:
            self.cancel_all(self.collector.outstanding())
        self._queue.put([])
        self.collector.close()
        if wait:
            self.collector.wait()
            self._queue.put([])

    def _end(self) -> None:
        self._queue.put([])
        self._crew.dismiss()
        if self._at_end is not None:
            self._at_end()

    def flush(self, deadline: float) -> int:
        """Wait until everything is sent, or until a moment of ``time.monotonic``; how many tasks are not."""
        if self._process != os.getpid():
            return 0
        while self._unsent or self._sending.locked():
            if time.monotonic() >= deadline or self._sender is None or not self._sender.is_alive():
                break
            time.sleep(0.01)  # the interpreter is ending: nobody is left to wake anyone
        self._abandoned.set()
        return len(self._unsent)


_couriers: weakref.WeakSet[Courier] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    """Send what is queued before the interpreter ends; results stay in the service, so nobody waits for those."""
    deadline = time.monotonic() + _EXIT_PATIENCE_S
    unsent = sum(courier.flush(deadline) for courier in list(_couriers))
    if unsent:
        print(
            f"faas: {unsent} submitted tasks never reached the service. "
            "Leave an Executor's with block, or call shutdown(), before the program ends.",
            file=sys.stderr,
        )
