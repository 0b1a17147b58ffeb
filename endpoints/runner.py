"""Runs functions, one at a time, in a child interpreter: `python runner.py <3 descriptors> <lent packages> <list>`.

Standard library and dill only, Python 3.8 or newer, one file: it runs in whatever interpreter a site
names, where nothing of ours is installed. A frame on either pipe is two lengths, a JSON header and
raw bytes. The worker sends ``setup`` once, ``function`` before a function's first task, and ``task``;
the runner answers ``hello`` once, and ``started`` and ``ended`` for each task. After every task it
writes the setup's marker to stdout and stderr, so that the worker, which reads those later, knows
which task printed what. To wake the worker costs more than a short task, so it does not wait for
answers at first, but for the bell: a byte that says that the runner is out of work, or that many
answers wait. dill is imported when first needed: it takes longer than all the rest.
"""

# pathlib takes longer to import than a runner has:
# ruff: noqa: PTH100, PTH103, PTH105, PTH108, PTH118, PTH120, PTH123, PTH208
from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal's own functions make enums, which costs more than the rest
import _thread
import base64
import contextlib
import ctypes
import errno
import faulthandler
import fcntl
import importlib.util
import io
import json
import os
import pickle
import signal
import struct
import sys
import time
import types
from typing import Any, Callable, Dict, List, NoReturn, Optional, Tuple

PREFIX = struct.Struct("<IQ")
CHANNEL_CLOSED = 87
"""Exit code that says: the function closed the pipes to the worker."""
LARGE_RESULT_BYTES = 1024 * 1024
MOST_SILENT_BYTES = 16 * 1024
"""Answers the worker need not look at yet; well below what a pipe holds."""
LONGEST_TRACEBACK = 24_000
LARGEST_EXCEPTION_BYTES = 256 * 1024
LARGE_PART_BYTES = 64 * 1024
"""Parts of a value from this size on are not copied into the pickle's own frames."""
FEW_PARTS = 64
LONGEST_LIST = 16_000
MEASURED_NS = 50_000_000
"""Peak memory is measured of tasks that take longer than this."""
_WATCHED_SIGNALS = [
    int(number)  # an enum member takes longer to look up
    for number in (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGABRT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGPIPE,
        signal.SIGALRM,
        signal.SIGTERM,
        signal.SIGCHLD,
        signal.SIGCONT,
        signal.SIGTSTP,
        signal.SIGVTALRM,
        signal.SIGPROF,
        signal.SIGXCPU,
    )
]
WHERE_SIGNAL = int(getattr(signal, "SIGRTMAX", 3)) - 3
"""Asks a runner that is about to be killed where it is; 0 where there are no such signals."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

Function = Callable[..., Any]
_scan_json: Function = vars(json.JSONDecoder())["scan_once"]  # json.loads with less ado


class Unloadable(Exception):
    """Code or arguments that cannot be unpacked, or a result that cannot be packed."""


def move_high(descriptor: int) -> int:
    """Move a descriptor out of the way of code that closes or reuses low numbers; close on exec."""
    for lowest in (900, 200, 100, 20):
        try:
            moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
        except OSError:
            continue
        os.close(descriptor)
        return moved
    return descriptor


class Channel:
    """Frames to and from the worker, over pipes that nothing else uses."""

    def __init__(self, commands: int, answers: int, bell: int) -> None:
        self._commands = commands
        self._answers = answers
        self._bell = bell
        self.forked = False
        """Whether this process is a child that a function forked."""
        self._silent_bytes = 0
        self._received = b""
        self._position = 0
        self._unsent = b""

    def close(self) -> None:
        """Leave the pipes to the parent process; for forked children."""
        self.forked = True
        for descriptor in (self._commands, self._answers, self._bell):
            os.close(descriptor)

    def answer(self, header: bytes, body: bytes = b"") -> None:
        """Queue a frame; `flush` sends it, with the next one where there is one."""
        self._unsent += PREFIX.pack(len(header), len(body)) + header + body

    def flush(self) -> None:
        """Send what is queued; the worker may take its time to look."""
        unsent = self._unsent
        self._unsent = b""
        self._silent_bytes += len(unsent)
        try:
            if self._silent_bytes > MOST_SILENT_BYTES:
                self.ring()
            sent = os.write(self._answers, unsent)
            while sent < len(unsent):
                sent += os.write(self._answers, memoryview(unsent)[sent:])
        except BrokenPipeError:
            os._exit(0)
        except OSError:
            os._exit(CHANNEL_CLOSED)

    def ring(self) -> None:
        """Have the worker look now."""
        self._silent_bytes = 0
        os.write(self._bell, b"!")

    def next(self) -> Tuple[Dict[str, Any], bytes]:
        """The next frame. Ends the process when the worker has gone."""
        start = self._position + PREFIX.size
        while True:
            if len(self._received) >= start:
                header_bytes, body_bytes = PREFIX.unpack_from(self._received, self._position)
                end = start + header_bytes + body_bytes
                if len(self._received) >= end:
                    header = _scan_json(self._received[start : start + header_bytes].decode(), 0)[0]
                    body = self._received[start + header_bytes : end]
                    self._position = end
                    return header, body
                self._receive(end - len(self._received))
            else:
                self._receive(start - len(self._received))
            start = self._position + PREFIX.size

    def _receive(self, missing: int) -> None:
        if self._unsent:
            self.flush()
            self.ring()
        parts = [self._received[self._position :]]
        self._position = 0
        while missing > 0:
            try:
                part = os.read(self._commands, max(missing, 65536))
            except OSError:
                os._exit(CHANNEL_CLOSED)
            if not part:
                sys.exit(0)
            parts.append(part)
            missing -= len(part)
        self._received = b"".join(parts)


class PeakMemory:
    """The most memory that one task had resident: Linux can be told to measure anew.

    Of processes that the task started only the largest counts, and only if it is larger than every earlier one.
    """

    def __init__(self) -> None:
        self._of_children = 0

    def take(self) -> int:
        """Bytes since this was asked last; that includes the short tasks for which nobody asks."""
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        try:
            with open("/proc/self/status", "rb") as file:
                peak = int(file.read().partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024
            with open("/proc/self/clear_refs", "wb", buffering=0) as file:
                file.write(b"5")
        except (OSError, ValueError, IndexError):  # no Linux, or not allowed in this container: the peak so far
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        of_children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
        if of_children > self._of_children:
            self._of_children = of_children
            peak = max(peak, of_children)
        return peak


class Surroundings:
    """What a function may change in its process, and how to put it back for the next one."""

    def __init__(self, scratch: str, marker: bytes, path: List[str]) -> None:
        self.scratch = scratch
        self._marker = marker
        sys.path[:0] = path
        self._path = list(sys.path)
        self._saved = [move_high(os.open(os.devnull, os.O_RDONLY)), move_high(os.dup(1)), move_high(os.dup(2))]
        self._library = ctypes.CDLL(None)
        self._open_scratch()
        self._environ = os.environ
        self._variables: Dict[bytes, bytes] = vars(os.environ)["_data"]
        self._initial_variables = dict(self._variables)
        self._umask = os.umask(0o022)
        os.umask(self._umask)
        self._handlers = list(map(_signal.getsignal, _WATCHED_SIGNALS))
        self._blocked = _signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._recursion_limit = sys.getrecursionlimit()
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._threads = _thread._count()

    def restore(self) -> str:
        """Put everything back, and end this task's output.

        Returns:
            Why this process should not run another task; empty if it may.
        """
        reasons = []
        _signal.setitimer(signal.ITIMER_REAL, 0)
        if list(map(_signal.getsignal, _WATCHED_SIGNALS)) != self._handlers:
            for number, handler in zip(_WATCHED_SIGNALS, self._handlers):  # noqa: B905 (Python 3.8 has no strict)
                if handler is not None:
                    signal.signal(number, handler)
        if _signal.pthread_sigmask(signal.SIG_BLOCK, ()) != self._blocked:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        os.umask(self._umask)
        sys.setrecursionlimit(self._recursion_limit)
        if _thread._count() > self._threads and self._threads_left():
            reasons.append("left threads running")
        if self._processes_left():
            reasons.append("left processes running")
        # Only now, because what was about to end may have had something to print.
        if not self._restore_streams():
            reasons.append("closed its standard output")
        if os.environ is not self._environ or self._variables != self._initial_variables:
            os.environ = self._environ  # noqa: B003 (the function replaced it)
            for key in [key for key in self._variables if key not in self._initial_variables]:
                del os.environ[os.fsdecode(key)]
            for key, value in self._initial_variables.items():
                if self._variables.get(key) != value:
                    os.environ[os.fsdecode(key)] = os.fsdecode(value)
        if sys.path != self._path:
            sys.path[:] = self._path
        if not self._restore_directory():
            reasons.append("left files that cannot be removed")
        return " and ".join(reasons)

    def _restore_streams(self) -> bool:
        usable = True
        _, output, errors = self._streams
        if sys.stdout is not output or sys.stderr is not errors:
            for replacement in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    replacement.flush()
            sys.stdin, sys.stdout, sys.stderr = self._streams
        try:
            output.flush()
            errors.flush()
        except Exception:  # The function closed them.
            usable = False
        self._library.fflush(None)
        nothing, saved_output, saved_errors = self._saved
        os.dup2(nothing, 0)
        os.dup2(saved_output, 1)
        os.dup2(saved_errors, 2)
        os.write(saved_output, self._marker)
        os.write(saved_errors, self._marker)
        return usable

    def _open_scratch(self) -> None:
        """Go to the empty scratch directory, and date it so that any change to it shows at once."""
        self._directory = move_high(os.open(self.scratch, os.O_RDONLY | os.O_DIRECTORY))
        os.fchdir(self._directory)
        os.utime(self.scratch, ns=(0, 0))

    def _restore_directory(self) -> bool:
        state = os.fstat(self._directory)
        if state.st_mtime == 0 and state.st_nlink > 0:
            os.fchdir(self._directory)
            return True
        import shutil

        os.close(self._directory)
        os.makedirs(self.scratch, exist_ok=True)
        for entry in list(os.scandir(self.scratch)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)
        self._open_scratch()
        return not os.listdir(self.scratch)

    def _threads_left(self) -> bool:
        """Whether a thread survives that is not some library's idle helper. Not Python's (BLAS) do not count."""
        import threading

        deadline = time.monotonic() + 0.05
        # An executor that was dropped without shutdown ends its threads a moment later.
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        left = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
        if all(type(thread).__name__ == "TMonitor" for thread in left):  # tqdm's progress monitor
            self._threads = _thread._count()
            return False
        return True

    def _processes_left(self) -> bool:
        """Whether a child lives on. As subreaper, orphaned grandchildren are this process's children too."""
        pause_s = 0.0005
        while True:
            # The C function, because the usual answer (there are none) is an exception in Python's.
            waited: int = self._library.waitpid(-1, None, os.WNOHANG)
            if waited < 0:
                return False
            if waited == 0:
                # One that is ending gets a moment; one that has ended is only waited for.
                if pause_s > 0.04:
                    return True
                time.sleep(pause_s)
                pause_s *= 2


class ReferenceUnpickler(pickle.Unpickler):
    """Unpickles arguments, putting values in the place of references to tasks and objects."""

    def __init__(self, body: bytes, resolve: Function) -> None:
        super().__init__(io.BytesIO(body))
        self._resolve = resolve

    def find_class(self, module: str, name: str) -> Any:
        if module == "faas.references" and name == "resolve":
            return self._resolve
        return super().find_class(module, name)


class ObjectRef:
    """An object in a function's hands, where its parameter is annotated so; in a result it is the same reference."""

    def __init__(self, object_id: str, size_bytes: int, sha256: str, content: str, name: str) -> None:
        self.object_id = object_id
        self.size_bytes = size_bytes
        self.sha256 = sha256
        self.content = content
        """``bytes`` as they are, or a packed ``value``."""
        self.name = name

    def __repr__(self) -> str:
        return "ObjectRef(%r, %d bytes)" % (self.object_id, self.size_bytes)

    def __eq__(self, other: object) -> bool:
        return getattr(other, "object_id", None) == self.object_id

    def __hash__(self) -> int:
        return hash(self.object_id)

    @property
    def path(self) -> Any:
        """The site's copy, as a ``pathlib.Path``; not to be written."""
        import pathlib

        return pathlib.Path(copies.path(self.object_id))

    def open(self) -> Any:
        """The site's copy, opened to read bytes."""
        return open(copies.path(self.object_id), "rb")

    def read(self) -> bytes:
        """Its bytes as they are stored: a value's are packed."""
        return copies.packed(self.object_id)

    def get(self) -> Any:
        """What was put: the bytes, or the value."""
        return copies.read(self.object_id, self.content)

    def download(self, path: Any) -> Any:
        """Copy it to a file, or into a directory under its own name; returns the file's path."""
        import pathlib
        import shutil

        target = pathlib.Path(path)
        if target.is_dir():
            target = target / (self.name or self.object_id)
        return shutil.copyfile(copies.path(self.object_id), target)

    def __copy__(self) -> "ObjectRef":
        return self

    def __deepcopy__(self, _: Any) -> "ObjectRef":
        return self

    def __reduce__(self) -> Tuple[Function, Tuple[Any, ...]]:
        return borrowed_name.resolve(self.object_id), (
            "object",
            self.object_id,
            self.size_bytes,
            self.sha256,
            self.content,
            self.name,
        )


class BorrowedName:
    """References are pickled as calls of ``faas.references.resolve``, also where there is no faas.

    Only while something is packed is there a module of that name then: a function that looks for faas finds none.
    """

    def __init__(self) -> None:
        self.referred: List[str] = []
        """Ids of the objects referred to by what was pickled."""
        self._lent: List[types.ModuleType] = []

    def resolve(self, object_id: str) -> Function:
        """The function of that name, faas's own where this environment has it; the object is noted."""
        self.referred.append(object_id)
        try:
            module = sys.modules.get("faas.references") or importlib.import_module("faas.references")
            found: Function = module.resolve
        except Exception:  # there is none, or it is not ours
            for name in ("faas", "faas.references"):
                if name not in sys.modules:
                    lent = sys.modules[name] = types.ModuleType(name)
                    self._lent.append(lent)
            sys.modules["faas.references"].__dict__["resolve"] = found = restored
        return found

    def give_back(self) -> List[str]:
        """Packing is over; returns the ids of the objects it referred to, each once."""
        referred = list(dict.fromkeys(self.referred))
        self.referred.clear()
        while self._lent:
            lent = self._lent.pop()
            if sys.modules.get(lent.__name__) is lent:
                del sys.modules[lent.__name__]
        return referred


borrowed_name = BorrowedName()


def restored(kind: str, identifier: str, *details: Any) -> Any:
    """What the name stands for here: what a function pickles itself and unpickles again."""
    if kind != "object":
        raise Unloadable("a reference to a %s has no place here" % kind)
    return ObjectRef(identifier, *details)


restored.__module__, restored.__qualname__, restored.__name__ = "faas.references", "resolve", "resolve"


class Copies:
    """What came with the task that runs: values in memory, and copies of objects and files."""

    def __init__(self) -> None:
        self.values: Dict[str, bytes] = {}
        self.files: Dict[str, str] = {}

    def path(self, name: str) -> str:
        """Where the copy of an object, or a file, is."""
        if name not in self.files:
            raise Unloadable("%s did not come with the task" % name)
        return self.files[name]

    def packed(self, name: str) -> bytes:
        """The bytes of an object or of a task's result."""
        if name in self.values:
            return self.values[name]
        with open(self.path(name), "rb") as file:
            return file.read()

    def read(self, name: str, content: str, resolve: Optional[Function] = None) -> Any:
        """What an object holds."""
        data = self.packed(name)
        return data if content == "bytes" else unpack(data, resolve or restored, sys.modules["__main__"])


copies = Copies()


class References:
    """Puts in the place of each reference what the parameter asks for, in whose argument it is.

    Whose that is, tell the markers before the arguments. An object becomes its value; a path where the parameter is
    annotated ``Path``; itself where it is annotated ``ObjectRef``. Files become paths.
    """

    def __init__(self, function: "LoadedFunction", outputs: "Optional[OutputFiles]") -> None:
        self._function = function
        self._outputs = outputs
        self._wanted = ""
        self.marked = False
        """Whether there were markers: each argument then is a pair of one and the argument."""

    def resolve(self, kind: str, identifier: Any, *details: Any) -> Any:
        """Called in the unpickled bytes' own order."""
        if kind == "argument":
            self.marked = True
            self._wanted = self._function.wanted(identifier)
            return None
        if kind == "task":
            return self._checked("task", identifier, "value")
        if kind == "object":
            if self._wanted == "ObjectRef":
                return ObjectRef(identifier, *details)
            return self._checked("object", identifier, str(details[2]))
        import pathlib

        if kind == "file":
            if identifier not in copies.files:
                raise Unloadable("they refer to the file %s, which did not come with the task" % identifier)
            return pathlib.Path(copies.files[identifier])
        if kind == "output" and self._outputs is not None:
            return pathlib.Path(self._outputs.unfinished(identifier))
        raise Unloadable(
            "they refer to the %s %s, which this version of the endpoint does not know" % (kind, identifier)
        )

    def _checked(self, kind: str, identifier: str, content: str) -> Any:
        if identifier not in copies.values and identifier not in copies.files:
            raise Unloadable("they refer to %s %s, whose value did not come with the task" % (kind, identifier))
        if kind == "object" and self._wanted == "Path":
            import pathlib

            return pathlib.Path(copies.path(identifier))
        return copies.read(identifier, content, self.resolve)


class OutputFiles:
    """Files that a task writes: beside their names, renamed when it has succeeded."""

    def __init__(self, places: Dict[str, str], attempt: str) -> None:
        self._places = places
        self._attempt = attempt
        self._asked: List[str] = []

    def unfinished(self, name: str) -> str:
        """Where the function is to write; the directory is made.

        Raises:
            Unloadable: the site gave no place for it, or it leads elsewhere meanwhile.
        """
        place = self._places.get(name)
        if place is None:
            raise Unloadable("they name the output %s, for which the site gave no place" % name)
        directory = os.path.dirname(place)
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise Unloadable("the directory of %s cannot be made at the site: %s" % (name, error)) from None
        if os.path.realpath(directory) != directory:
            raise Unloadable("the directory of %s leads elsewhere by a symbolic link" % name)
        if name not in self._asked:
            self._asked.append(name)
        return unfinished_output(place, self._attempt)

    def publish(self) -> None:
        """Give them their names.

        Raises:
            OSError: one is not there, or cannot be renamed; the message names it.
        """
        pairs = [(name, unfinished_output(self._places[name], self._attempt)) for name in self._asked]
        for name, unfinished in pairs:
            if not os.path.lexists(unfinished):
                raise OSError("The function returned without having written %s." % name)
        for name, unfinished in pairs:
            try:
                os.replace(unfinished, self._places[name])
            except OSError as error:
                raise OSError("What the function wrote could not be named %s: %s" % (name, error)) from None

    def discard(self) -> None:
        """Remove what there is of them."""
        for name in self._asked:
            remove_output(unfinished_output(self._places[name], self._attempt))


def unfinished_output(place: str, attempt: str) -> str:
    """Where an attempt writes an output: beside its place, with the same ending, for that tells what a file is."""
    directory, name = os.path.split(place)
    return os.path.join(directory, ".partial-%s-%s" % (attempt, name))


def remove_output(path: str) -> None:
    """Remove an unfinished output, a directory perhaps, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError:
        import shutil

        shutil.rmtree(path, ignore_errors=True)


def byte_code_mark() -> bytes:
    """What follows a pickle (and is ignored by unpickling) that holds byte code: the Python that runs it."""
    return b"\npython %d.%d" % sys.version_info[:2]


def check_byte_code(body: bytes) -> None:
    """Refuse byte code of another Python: run all the same, it would crash the process.

    Raises:
        Unloadable: the message names both versions.
    """
    start = body.rfind(b"\npython ", len(body) - 20) if b"_create_code" in body else -1
    if start >= 0 and body[start:] != byte_code_mark():
        raise Unloadable(
            "they hold functions or classes by value, as byte code that only Python %s runs, and this is Python %s."
            " Put them into a module that is registered with modules=[...], or use the same minor version"
            % (body[start + 8 :].decode(errors="replace"), python_version())
        )


def load_dill(main: types.ModuleType) -> Any:
    """The dill module, told what ``__main__`` is: a function's own namespace, not this program."""
    import dill

    dill._dill._main_module = main
    return dill


def unpack(packed: bytes, resolve: Function, main: types.ModuleType) -> Any:
    """A packed value; see the packing contract: 3 bytes name the format."""
    form, body = packed[:3], packed[3:]
    if form == b"pk\n":
        if b"dill" in body:
            check_byte_code(body)
            dill = load_dill(main)

            class DillUnpickler(dill.Unpickler):  # type: ignore[name-defined]
                def find_class(self, module: str, name: str) -> Any:
                    if module == "faas.references" and name == "resolve":
                        return resolve
                    return super().find_class(module, name)

            return DillUnpickler(io.BytesIO(body)).load()
        if b"faas.references" in body:
            return ReferenceUnpickler(body, resolve).load()
        return pickle.loads(body)
    if form == b"11\n":
        return json.loads(body.decode())
    if form == b"00\n":
        return load_dill(main).loads(base64.b64decode(body))
    raise Unloadable("they are in an unknown format, %r" % form)


def pack(value: Any, as_json: bool, main: types.ModuleType) -> bytes:
    """Pack a value: JSON if asked for and possible, pickle, or dill for what only it can."""
    if as_json:
        try:
            return b"11\n" + json.dumps(value, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError):
            pass
    try:
        packed = pickle.dumps(value, protocol=5)
        if b"__main__" not in packed:
            return b"pk\n" + packed
    except Exception:
        packed = b""
    try:
        by_value: bytes = load_dill(main).dumps(value, protocol=5)
        return b"pk\n" + by_value + (byte_code_mark() if b"_create_code" in by_value else b"")
    except ImportError:
        if packed:
            return b"pk\n" + packed
        raise


class LargeParts:
    """What a pickler writes to: a file, so that a large value is not in memory twice."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.names_main = False
        """Whether a class of ``__main__`` is named, which only dill packs by value."""

    def write(self, part: Any) -> int:
        """Called by the pickler; large parts of a value come by themselves and as they are."""
        view = memoryview(part).cast("B")
        if len(view) < LARGE_PART_BYTES and b"__main__" in bytes(view):
            self.names_main = True
        done = 0
        while done < len(view):
            done += self._file.write(view[done:])
        return done


def bulk_bytes(value: Any) -> int:
    """How large a value is that consists of bytes, or an array, or a few of them; 0 for any other."""
    kind = type(value)
    if kind in (list, tuple, dict):
        if len(value) > FEW_PARTS:
            return 0
        return sum(map(_size_of_part, value.values() if kind is dict else value))
    return _size_of_part(value)


def _size_of_part(value: Any) -> int:
    if type(value) in (bytes, bytearray):
        return len(value)
    size = getattr(value, "nbytes", 0)
    return size if type(size) is int else 0


def pack_to_file(value: Any, path: str) -> bool:
    """Pickle a large value into a file.

    Returns:
        Whether that is all there is to it; else there is no file, and the value must be packed otherwise.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path + ".partial"
    fits = False
    with open(partial, "wb", buffering=0) as file:
        parts = LargeParts(file)
        file.write(b"pk\n")
        try:
            pickle.Pickler(parts, protocol=5).dump(value)
            fits = not parts.names_main
        except OSError:
            os.unlink(partial)
            raise
        except Exception:
            pass  # dill may know how, and says what is wrong if it does not
    if fits:
        os.replace(partial, path)
    else:
        os.unlink(partial)
    return fits


def pack_exception(error: BaseException, main: types.ModuleType) -> bytes:
    """An exception packed, or nothing when it would not unpack again (custom ``__init__``, open files…)."""
    try:
        packed = pack(error, False, main)
        if len(packed) > LARGEST_EXCEPTION_BYTES or not isinstance(unpack(packed, _refuse, main), BaseException):
            return b""
        return packed
    except BaseException:
        return b""
    finally:
        if borrowed_name.referred:
            borrowed_name.give_back()


def _refuse(*_: Any) -> NoReturn:
    raise Unloadable("a reference has no place here")


def describe(error: BaseException) -> str:
    """The last line of a traceback."""
    name = type(error).__qualname__
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    return "%s: %s" % (name, text) if text else name


def user_traceback(error: BaseException) -> str:
    """The traceback without frames of this file, shortened in the middle if it is very long."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:
        text = describe(error)
    if len(text) > LONGEST_TRACEBACK:
        half = LONGEST_TRACEBACK // 2
        text = "%s\n  [… %d characters left out …]\n%s" % (text[:half], len(text) - 2 * half, text[-half:])
    return text


def missing_module(error: BaseException) -> str:
    """What to do about a ModuleNotFoundError; empty for any other exception."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    return (
        " Module %r is not installed in the endpoint's environment (%s): install it there, or register the"
        " function with modules=[...] if it is your own." % (error.name, sys.executable)
    )


class Parameters:
    """What a function's parameters are annotated with, as far as references go."""

    def __init__(self, function: Function) -> None:
        import inspect

        self._by_place: List[str] = []
        self._by_name: Dict[str, str] = {}
        self._other_places = self._other_names = ""
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # written in C
            return
        for each in parameters:
            wanted = "" if each.annotation is each.empty else named_in(each.annotation)
            if each.kind == each.VAR_POSITIONAL:
                self._other_places = wanted
            elif each.kind == each.VAR_KEYWORD:
                self._other_names = wanted
            else:
                self._by_name[each.name] = wanted
                if each.kind != each.KEYWORD_ONLY:
                    self._by_place.append(wanted)

    def wanted(self, parameter: Any) -> str:
        """By place or by name."""
        if isinstance(parameter, int):
            return self._by_place[parameter] if parameter < len(self._by_place) else self._other_places
        return self._by_name.get(parameter, self._other_names)


def named_in(annotation: Any) -> str:
    """Which of ``Path`` and ``ObjectRef`` an annotation names first, at any depth; it may be a text."""
    import re

    text = annotation if isinstance(annotation, str) else repr(annotation)
    for name in re.findall(r"[A-Za-z_][\w.]*", text):
        home, _, last = name.rpartition(".")
        if last == "ObjectRef":
            return "ObjectRef"
        if last in ("Path", "PosixPath", "PurePath", "PathLike") and home.partition(".")[0] in ("", "pathlib", "os"):
            return "Path"
    return ""


def load_code(pickled: bytes, main: types.ModuleType) -> Any:
    """A function packed by dill; classes of faas, which annotations name, need not be there."""
    dill = load_dill(main)

    class CodeUnpickler(dill.Unpickler):  # type: ignore[name-defined]
        def find_class(self, module: str, name: str) -> Any:
            try:
                return super().find_class(module, name)
            except ImportError:
                if not module.startswith("faas."):
                    raise
                return ObjectRef if name == "ObjectRef" else type(name, (), {"__module__": module})

    return CodeUnpickler(io.BytesIO(pickled)).load()


class LoadedFunction:
    """One registered function: its code, and the callable with its namespace once loaded."""

    def __init__(self, header: Dict[str, Any], code: bytes) -> None:
        self.name: str = header["name"]
        self.packed_by: str = header["python"]
        self._identifier: str = header["id"]
        self._code = code
        self._callable: Optional[Function] = None
        self._parameters: Optional[Parameters] = None
        # Each function has a __main__ of its own: multiprocessing and pickle then find what it defines,
        # and what it returns is packed by value.
        self.main = types.ModuleType("__main__")
        self.main.__dict__["__builtins__"] = __builtins__

    def load(self) -> Function:
        """The callable, made on first use.

        Raises:
            Unloadable: the code is not loadable here; the message says why and what to do.
        """
        if self._callable is None:
            try:
                self._callable = self._make()
            except Exception as error:
                reason = str(error) if isinstance(error, Unloadable) else describe(error) + "." + missing_module(error)
                raise Unloadable(
                    "The code of function %s could not be loaded: %s (%s)" % (self.name, reason, self.versions())
                ) from error
        return self._callable

    def wanted(self, parameter: Any) -> str:
        """What a parameter wants for references, by its place or its name: ``Path``, ``ObjectRef`` or nothing else."""
        if self._parameters is None:
            self._parameters = Parameters(self.load())
        return self._parameters.wanted(parameter)

    def versions(self) -> str:
        """Both Pythons, for messages about packing."""
        return "packed by Python %s, loaded by Python %s" % (self.packed_by or "of unknown version", python_version())

    def _make(self) -> Function:
        strategy, rest = self._code[:3], self._code[3:]
        if strategy in (b"st\n", b"sd\n"):
            name, source = rest.decode().split(":", 1)
            filename = "<function %s %s>" % (name, self._identifier[:8])
            import linecache

            # Without a modification time the entry stays: tracebacks show the source.
            linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
            exec(compile(source, filename, "exec", dont_inherit=True), self.main.__dict__)
            made = self.main.__dict__[name]
        elif strategy == b"01\n":
            pickled = base64.b64decode(rest)
            ours = python_version().split(".")[:2]
            if b"_create_code" in pickled and self.packed_by and self.packed_by.split(".")[:2] != ours:
                raise Unloadable(
                    "it was packed as byte code, which only the same minor version of Python runs. Use an endpoint"
                    " environment with Python %s, or make it a plain module-level function without closures and"
                    " decorators, which travels as source." % ".".join(self.packed_by.split(".")[:2])
                )
            made = load_code(pickled, self.main)
        else:
            raise Unloadable("it is in an unknown format, %r" % strategy)
        if not callable(made):
            raise Unloadable("it is a %s, which cannot be called" % type(made).__name__)
        return made  # type: ignore[no-any-return]


def unpack_arguments(
    header: Dict[str, Any], body: bytes, function: LoadedFunction, outputs: Optional[OutputFiles] = None
) -> Tuple[Any, Any]:
    """The (args, kwargs) of a task, with what its references stand for."""
    packed, values = body, {}
    if "payload_bytes" in header:
        packed, position = body[: header["payload_bytes"]], header["payload_bytes"]
        for name, size in header.get("values", {}).items():
            values[name] = body[position : position + size]
            position += size
    if "payload_file" in header:
        with open(header["payload_file"], "rb") as file:
            packed = file.read()
    if not packed:
        return (), {}
    references: Optional[References] = None
    if b"faas.references" in packed:
        copies.values, copies.files = values, header.get("value_files", {})
        references = References(function, outputs)
    arguments = unpack(packed, references.resolve if references else _refuse, function.main)
    if packed.startswith(b"11\n"):
        if isinstance(arguments, list):
            return arguments, {}
        if isinstance(arguments, dict) and set(arguments) <= {"args", "kwargs"}:
            return arguments.get("args", []), arguments.get("kwargs", {})
        raise Unloadable('JSON arguments must be a list, or {"args": [...], "kwargs": {...}}')
    args, kwargs = arguments
    if references and references.marked:
        return tuple(each for _, each in args), {name: each for name, (_, each) in kwargs.items()}
    return args, kwargs


def python_version() -> str:
    """This interpreter's version, ``3.11.7``."""
    return "%d.%d.%d" % sys.version_info[:3]


class Runner:
    """Takes tasks from the channel and answers them."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._functions: Dict[str, LoadedFunction] = {}
        self._results = ""
        self._large_bytes = LARGE_RESULT_BYTES
        self._memory = PeakMemory()

    def serve(self) -> None:
        """Work until the worker closes the channel or this process is not fit for more."""
        header, _ = self._channel.next()
        surroundings = Surroundings(header["scratch"], header["marker"].encode(), header["path"])
        while True:
            header, body = self._channel.next()
            kind = header["is"]
            if kind == "task":
                unfit = self._attend(header, body, surroundings)
                if unfit:
                    while True:  # The worker will end this process; what it had sent goes to the next one.
                        self._channel.next()
            elif kind == "function":
                self._functions[header["id"]] = LoadedFunction(header, body)
            elif kind == "results":
                self._results = header["directory"]
                self._large_bytes = header["over_bytes"]

    def _attend(self, header: Dict[str, Any], body: bytes, surroundings: Surroundings) -> str:
        number = header["task"]
        self._channel.answer(b'{"is":"started","task":%d,"at_ns":%d}' % (number, time.time_ns()))
        self._channel.flush()
        answer: Tuple[Dict[str, Any], bytes] = ({}, b"")
        unfit = "interrupted its runner"
        try:
            answer = self._perform(header, body)
            unfit = surroundings.restore()
        except BaseException as error:
            if isinstance(error, OSError) and error.errno == errno.EBADF:
                os._exit(CHANNEL_CLOSED)
            # Else a signal handler of the function's has fired outside the function.
            if not answer[0]:
                answer = _raised(error, types.ModuleType("__main__"))
        fields, result = answer
        if fields["run_ns"] > MEASURED_NS:
            fields["peak_bytes"] = self._memory.take()
        if not unfit and len(fields) == 1:
            ended = b'{"is":"ended","task":%d,"at_ns":%d,"run_ns":%d}' % (number, time.time_ns(), fields["run_ns"])
        else:
            fields.update({"is": "ended", "task": number, "at_ns": time.time_ns(), "unfit": unfit})
            ended = json.dumps(fields).encode()
        self._channel.answer(ended, result)
        return unfit

    def _perform(self, header: Dict[str, Any], body: bytes) -> Tuple[Dict[str, Any], bytes]:
        """Load, unpack, call, pack, and name the files it wrote. Whatever goes wrong becomes an answer."""
        if "outputs" not in header:
            return self._invoke(header, body, None)
        outputs = OutputFiles(header["outputs"], header["name"])
        succeeded = False
        try:
            fields, result = self._invoke(header, body, outputs)
            if "kind" not in fields:
                try:
                    outputs.publish()
                    succeeded = True
                except OSError as error:
                    if "file" in fields:
                        os.unlink(fields["file"])
                    fields, result = dict(_failed("exception", str(error), error), run_ns=fields["run_ns"]), b""
        finally:
            if not succeeded:
                outputs.discard()
        return fields, result

    def _invoke(
        self, header: Dict[str, Any], body: bytes, outputs: Optional[OutputFiles]
    ) -> Tuple[Dict[str, Any], bytes]:
        function = self._functions[header["function"]]
        sys.modules["__main__"] = function.main
        begin = time.perf_counter_ns()
        try:
            call = function.load()
            begin = time.perf_counter_ns()
            try:
                args, kwargs = unpack_arguments(header, body, function, outputs)
            except Exception as error:
                reason = str(error) if isinstance(error, Unloadable) else describe(error) + "." + missing_module(error)
                raise Unloadable(
                    "The arguments of function %s could not be unpacked: %s (%s)"
                    % (function.name, reason, function.versions())
                ) from error
        except Unloadable as error:
            cause = error.__cause__ or error
            return _failed("serialization", str(error), cause), b""
        except BaseException as error:
            return _raised(error, function.main)
        try:
            value = call(*args, **kwargs)
        except BaseException as error:
            if self._channel.forked:
                os._exit(1)
            fields, packed = _raised(error, function.main)
            fields["run_ns"] = time.perf_counter_ns() - begin
            return fields, packed
        if self._channel.forked:
            # A child the function forked came back here: it is not the one to answer.
            os._exit(0)
        if borrowed_name.referred:
            borrowed_name.give_back()  # what the function pickled itself
        path = ""
        try:
            result = b""
            as_json = body.startswith(b"11\n")
            if not as_json and bulk_bytes(value) > self._large_bytes:
                path = os.path.join(self._results, header["name"])
                if not pack_to_file(value, path):
                    path = ""
            if not path:
                result = pack(value, as_json, function.main)
        except Exception as error:
            borrowed_name.give_back()
            message = "The result of function %s, a %s, could not be packed: %s (Python %s)" % (
                function.name,
                type(value).__qualname__,
                describe(error),
                python_version(),
            )
            return _failed("serialization", message, error), b""
        fields = {"run_ns": time.perf_counter_ns() - begin}
        if borrowed_name.referred:
            fields["objects"] = borrowed_name.give_back()
        if path:
            fields["file"] = path
            return fields, b""
        if len(result) > self._large_bytes:
            path = os.path.join(self._results, header["name"])
            try:
                with open(path + ".partial", "wb") as file:
                    file.write(result)
                os.replace(path + ".partial", path)
            except OSError as error:
                message = "The result of function %s, %.1f MB, could not be written at the site: %s" % (
                    function.name,
                    len(result) / 1e6,
                    error,
                )
                return _failed("serialization", message, error), b""
            fields["file"] = path
            return fields, b""
        return fields, result


def _raised(error: BaseException, main: types.ModuleType) -> Tuple[Dict[str, Any], bytes]:
    message = describe(error)
    if isinstance(error, SystemExit):
        message = "The function called sys.exit(%r) instead of returning." % (error.code,)
    hint = missing_module(error)
    packed = pack_exception(error, main)
    return _failed("exception", message + ("." + hint if hint else ""), error), packed


def _failed(kind: str, message: str, error: BaseException) -> Dict[str, Any]:
    return {
        "run_ns": 0,
        "kind": kind,
        "message": message,
        "type": type(error).__qualname__,
        "traceback": user_traceback(error),
    }


def installed_packages() -> str:
    """What can be imported here, ``name==version …``, by the names of the packages' metadata alone: that is quick."""
    found = {}
    for directory in reversed(sys.path):
        try:
            entries = os.listdir(directory)
        except OSError:  # an archive, or nothing at all
            continue
        for entry in entries:
            if entry.endswith((".dist-info", ".egg-info")):
                parts = entry.rpartition(".")[0].split("-")
                found[parts[0].replace("_", "-").lower()] = parts[1] if len(parts) > 1 else "unknown"
    text = " ".join("%s==%s" % package for package in sorted(found.items()))
    return text if len(text) < LONGEST_LIST else text[:LONGEST_LIST].rpartition(" ")[0] + " …"


def main() -> None:
    """Say hello, then serve."""
    commands, answers, bell = (move_high(int(argument)) for argument in sys.argv[1:4])
    if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]  # This program's folder is not for functions to import from.
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        library.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    faulthandler.enable(move_high(os.dup(2)))
    if WHERE_SIGNAL:
        faulthandler.register(WHERE_SIGNAL, file=bell, all_threads=False)
    for stream in (sys.stdout, sys.stderr):
        # Line by line, so that a crash keeps what was printed before it.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    lent, listed = sys.argv[4:6]
    sys.argv = [""]
    if lent and importlib.util.find_spec("dill") is None:
        sys.path.append(lent)
    channel = Channel(commands, answers, bell)
    os.register_at_fork(after_in_child=channel.close)
    system = os.uname()
    hello = {
        "is": "hello",
        "python": python_version(),
        "executable": sys.executable,
        "platform": "%s-%s-%s" % (system.sysname, system.release, system.machine),
        "pid": str(os.getpid()),
    }
    if listed:
        hello["packages"] = installed_packages()
    channel.answer(json.dumps(hello).encode())
    Runner(channel).serve()


if __name__ == "__main__":
    main()
