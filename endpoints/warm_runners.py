"""Keeps runners from chunk to chunk, so that their interpreters start and import once; ends them with the worker."""

from __future__ import annotations

import atexit
import multiprocessing.util
import os
from collections import OrderedDict

from endpoints import processes
from endpoints.interpreter import Interpreter, lend, own
from endpoints.runner_process import RunnerKey, RunnerProcess
from endpoints.scratch import Scratch
from endpoints.whereabouts import whereabouts

WARM_RUNNERS = 3
"""Runners kept for later chunks by one worker process."""


class WarmRunners:
    """The runners of one worker process; all end with it."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.where = whereabouts()
        self._scratch = Scratch()
        self._runners: OrderedDict[RunnerKey, RunnerProcess] = OrderedDict()
        self._listed: set[Interpreter] = set()
        """Interpreters whose packages are known to the agent."""
        processes.adopt_orphans()
        # Under multiprocessing a process ends without atexit.
        multiprocessing.util.Finalize(None, self.stop, exitpriority=100)
        atexit.register(self.stop)

    def take(self, key: RunnerKey) -> RunnerProcess:
        """A warm runner, or a new one; the one used least recently makes room.

        Raises:
            RunnerUnavailable: a new one cannot be started.
        """
        runner = self._runners.get(key)
        if runner is not None:
            if runner.alive:
                self._runners.move_to_end(key)
                return runner
            self.discard(runner)
        while len(self._runners) >= WARM_RUNNERS:
            self._runners.popitem(last=False)[1].end()
        lent = lend(self._scratch.directory / "lent") if key.interpreter.foreign else own()
        runner = RunnerProcess(key, self._scratch.make(), lent, list_packages=key.interpreter not in self._listed)
        self._listed.add(key.interpreter)
        self._runners[key] = runner
        return runner

    def discard(self, runner: RunnerProcess) -> int:
        """Kill a runner that is not to be used again; returns how many processes it left."""
        self._runners.pop(runner.key, None)
        return runner.kill()

    def stop(self) -> None:
        """End all runners; in a forked copy of this process they are not ours to end."""
        if self.process != os.getpid():
            return
        while self._runners:
            self._runners.popitem()[1].end()
        self._scratch.remove()
        self.process = -1
