"""Makes chunks as an agent does, runs them with `run_chunk`, and unpacks what comes back."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from endpoints.chunk import Chunk, ChunkReport, ChunkTask, TaskReport
from endpoints.worker import run_chunk
from faas.models import AttemptKey, Failure, FunctionCode
from faas.packing import function_id, pack_arguments, pack_function, unpack_value

OWNER = str(uuid.uuid4())


@dataclass
class ChunkMaker:
    """A run directory, and a chunk that grows with `add`."""

    run_directory: Path
    interpreter: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    environment: str = "default"
    output_bytes: int = 1024 * 1024
    owner: str = OWNER
    chunk_id: str = "chunk-1"
    tasks: list[ChunkTask] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("code", "journal", "recalled", "results"):
            (self.run_directory / name).mkdir(parents=True, exist_ok=True)

    @property
    def output(self) -> Path:
        return self.run_directory / "output"

    def register(self, function: Callable[..., Any], modules: tuple[Any, ...] = ()) -> str:
        packed = pack_function(function, modules)
        return self.register_code(packed.name, packed.serializer, packed.code, packed.modules, packed.python_version)

    def register_code(
        self, name: str, serializer: str, code: bytes, modules: bytes = b"", python_version: str = "3.11.7"
    ) -> str:
        identifier = function_id(self.owner, serializer, code, modules)
        stored = FunctionCode(
            function_id=identifier,
            owner_id=self.owner,
            name=name,
            serializer=serializer,
            code=code,
            modules=modules,
            python_version=python_version,
        )
        (self.run_directory / "code" / identifier).write_bytes(msgspec.msgpack.encode(stored))
        return identifier

    def add(self, function: Callable[..., Any] | str, *args: Any, timeout_s: float | None = None, **kwargs: Any) -> int:
        return self.add_packed(function, pack_arguments(args, kwargs).payload, timeout_s=timeout_s)

    def add_source(self, source: str, *args: Any, timeout_s: float | None = None) -> int:
        """Add a call of the function ``f`` in a text, as another client might have written it."""
        return self.add(self.register_code("f", "st", f"st\nf:{source}".encode()), *args, timeout_s=timeout_s)

    def add_packed(self, function: Callable[..., Any] | str, payload: bytes, **fields: Any) -> int:
        identifier = function if isinstance(function, str) else self.register(function)
        index = len(self.tasks)
        self.tasks.append(
            ChunkTask(
                attempt=AttemptKey(index + 1, 1),
                task_id=str(uuid.uuid4()),
                function_id=identifier,
                payload=payload,
                **fields,
            )
        )
        return index

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(
            Chunk(
                chunk_id=self.chunk_id,
                owner_id=self.owner,
                tasks=self.tasks,
                run_directory=str(self.run_directory),
                interpreter=self.interpreter,
                environment=self.environment,
                setup=self.setup,
                variables=self.variables,
                output_directory=str(self.output),
                output_bytes=self.output_bytes,
            )
        )

    def run(self) -> ChunkReport:
        report = msgspec.msgpack.decode(run_chunk(self.encode()), type=ChunkReport)
        assert [task.attempt for task in report.tasks] == [task.attempt for task in self.tasks]
        return report


def value(report: TaskReport) -> Any:
    """The value of a task that succeeded."""
    assert report.state == "succeeded", report.message
    return unpack_value(Path(report.result_file).read_bytes() if report.result_file else report.result)


def failure(report: TaskReport) -> Failure:
    """Why a task failed."""
    assert report.state == "failed", report
    decoded = msgspec.msgpack.decode(report.result, type=Failure)
    assert decoded.kind == report.kind
    assert decoded.message == report.message
    return decoded
