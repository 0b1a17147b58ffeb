"""What the end of a runner's process means, in words for the person whose function it ran."""

from __future__ import annotations

import signal

from endpoints.runner import CHANNEL_CLOSED

_JOB_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
"""With one of these schedulers end a job, by sending it to all of the job's processes, one after the other."""


def may_be_shared(status: int) -> bool:
    """Whether a process may have ended with its whole job, rather than alone.

    Args:
        status: exit code, or minus the signal.

    Example:
        >>> may_be_shared(-15), may_be_shared(-11), may_be_shared(1)
        (True, False, False)
    """
    return -status in _JOB_ENDS


def explain_end(status: int) -> str:
    """Say what happened.

    Args:
        status: exit code, or minus the signal.

    Returns:
        A sentence or two.

    Example:
        >>> explain_end(-11).split(".")[0]
        "The function's process was killed by signal 11 (SIGSEGV)"
    """
    if status == CHANNEL_CLOSED:
        return (
            "The function closed file descriptors it had not opened (os.closerange or the like), among them those of"
            " its runner, so that its result could not be sent."
        )
    if status >= 0:
        return (
            f"The function's process ended with exit code {status} before the function returned: it, or a library it"
            f" uses, called os._exit({status}) or exit({status})."
        )
    number = -status
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "unknown"
    hint = {
        "SIGKILL": " This endpoint did not do that: most often the machine or the batch job ran out of memory.",
        "SIGSEGV": " That is a fault in compiled code (a library, or byte code of another Python); see its stderr.",
        "SIGABRT": " That is compiled code giving up on an error of its own; see its stderr.",
    }.get(name, "")
    if may_be_shared(status):
        hint = " This endpoint did not do that, and its job went on: the function did, or somebody from outside."
    return f"The function's process was killed by signal {number} ({name}).{hint}"
