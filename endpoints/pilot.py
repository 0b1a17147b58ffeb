"""Starts one of Parsl's programs (interchange, worker pool) so that it finds this package and nothing by accident.

Run as a script, ``python …/endpoints/pilot.py MODULE [ARGUMENT…]``: unlike ``python -m`` it keeps the
current directory, which may hold anything, off ``sys.path``, and unlike ``PYTHONPATH`` it leaves no
mark on the environment that users' functions see.
"""

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

_NOT_NEEDED = (
    # Writes the process's title over its environment, and with it the mark by which leftovers are found.
    "setproctitle",
    # Parsl imports these for other executors, providers and its monitoring if it can: half of a start, half the memory.
    "boto3",
    "globus_compute_sdk",
    "sqlalchemy",
)
_LOOK_S = 2.0
ANSWER_S = 60.0
"""How long a pilot waits for a word that the interchange owes it."""


def main() -> None:
    """Run the module named first on the command line as ``__main__``."""
    # In place of this script's own directory, which would make our modules top-level ones.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    for name in _NOT_NEEDED:
        sys.modules[name] = None  # type: ignore[assignment]
    module = sys.argv.pop(1)
    if module.endswith(".interchange"):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    else:
        _end_without_answer()
        if sys.platform == "linux":  # elsewhere a process with threads cannot be copied safely
            _copy_workers()
    for argument in sys.argv:
        if argument.startswith("--block_id="):
            block_id = os.environ["FAAS_BLOCK"] = argument.partition("=")[2]
            threading.Thread(target=_end_when_let_go, args=(Path.cwd() / "let-go" / block_id,), daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _copy_workers() -> None:
    """Have workers start as copies of the pilot, which has imported all they need.

    Parsl's own way is a fresh interpreter for each, and one more beside them: a second and a half of a core each
    time, while the pilot counts as registered. Only the main thread makes copies, before there are others that could
    hold a lock meanwhile; a worker that is replaced later starts afresh.
    """
    from multiprocessing.context import ForkProcess, SpawnContext, SpawnProcess

    import parsl.executors.high_throughput.probe as probe
    import parsl.multiprocessing

    import endpoints.worker  # noqa: F401

    class CopyingContext(SpawnContext):
        def Process(self, *arguments: Any, **named: Any) -> Any:  # type: ignore[override]  # noqa: N802
            main = threading.current_thread() is threading.main_thread()
            return (ForkProcess if main else SpawnProcess)(*arguments, **named)

    parsl.multiprocessing.SpawnContext = CopyingContext()
    # The pilot looks for the interchange under the name that it registers with next. A copy may keep that first
    # connection, and two of one name the interchange does not serve.
    find = probe.probe_addresses
    probe.probe_addresses = lambda *arguments, identity=None, **named: find(*arguments, **named)


def _end_without_answer() -> None:
    """End a pilot that waits for the interchange in vain.

    Parsl's pilot looks for the interchange, and then waits for its word without a limit: if it ends between the two,
    the pilot would stay for its whole walltime, and count as one that is about to have workers.
    """
    import zmq
    from parsl import curvezmq

    class Answered(zmq.Socket[bytes]):
        def recv(self, *arguments: Any, **named: Any) -> Any:
            # At all other times there is a message already, or the pilot would not ask for it.
            if not self.poll(int(ANSWER_S * 1000)):
                print(f"The interchange has not answered for {ANSWER_S:g} s: the pilot ends.", file=sys.stderr)
                sys.stderr.flush()
                os.killpg(0, signal.SIGTERM)
            return super().recv(*arguments, **named)

    plain = curvezmq.ClientContext.socket

    def socket(context: Any, kind: int, *arguments: Any, **named: Any) -> Any:
        if kind == zmq.DEALER:
            named["socket_class"] = Answered
        return plain(context, kind, *arguments, **named)

    curvezmq.ClientContext.socket = socket


def _end_with(parent: int) -> None:
    """End the interchange when its agent is gone: its pilots notice, so that no batch job outlives the agent for long.

    Not by PR_SET_PDEATHSIG, which goes by the thread that started this process; that one ends at once.
    """
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _end_when_let_go(mark: Path) -> None:
    """End a pilot whose job the scheduler holds for dead, though it lives on: nobody else will."""
    while not mark.exists():
        time.sleep(_LOOK_S)
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    main()
