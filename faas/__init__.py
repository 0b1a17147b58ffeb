"""The federation's Python library: register functions, run them anywhere, get results back.

>>> import faas
>>> with faas.Executor() as executor:              # doctest: +SKIP
...     executor.submit(analyse, "scan_0042.h5").result()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faas.batch import Batch as Batch
    from faas.client import Client as Client
    from faas.errors import (
        ConfigurationError as ConfigurationError,
    )
    from faas.errors import (
        Conflict as Conflict,
    )
    from faas.errors import (
        DependencyFailed as DependencyFailed,
    )
    from faas.errors import (
        FaasError as FaasError,
    )
    from faas.errors import (
        InvalidRequest as InvalidRequest,
    )
    from faas.errors import (
        NotAuthenticated as NotAuthenticated,
    )
    from faas.errors import (
        NotFound as NotFound,
    )
    from faas.errors import (
        PermissionDenied as PermissionDenied,
    )
    from faas.errors import (
        RequestRefused as RequestRefused,
    )
    from faas.errors import (
        SerializationFailed as SerializationFailed,
    )
    from faas.errors import (
        ServiceUnavailable as ServiceUnavailable,
    )
    from faas.errors import (
        TaskCancelled as TaskCancelled,
    )
    from faas.errors import (
        TaskFailed as TaskFailed,
    )
    from faas.errors import (
        TaskLost as TaskLost,
    )
    from faas.errors import (
        TaskPending as TaskPending,
    )
    from faas.errors import (
        TaskTimedOut as TaskTimedOut,
    )
    from faas.errors import (
        TooLarge as TooLarge,
    )
    from faas.executor import Executor as Executor
    from faas.files import S3 as S3
    from faas.files import File as File
    from faas.files import OutputFile as OutputFile
    from faas.functions import RemoteFunction as RemoteFunction
    from faas.functions import as_completed as as_completed
    from faas.functions import function as function
    from faas.functions import gather as gather
    from faas.futures import TaskFuture as TaskFuture
    from faas.objects import ObjectRef as ObjectRef
    from faas.options import TaskOptions as TaskOptions
    from faas.packing import UnshippedModuleWarning as UnshippedModuleWarning
    from faas.references import TaskReference as TaskReference

__version__ = "0.1.0"

_HOMES = {
    "Batch": "batch",
    "Client": "client",
    "Executor": "executor",
    "File": "files",
    "ObjectRef": "objects",
    "OutputFile": "files",
    "S3": "files",
    "RemoteFunction": "functions",
    "TaskFuture": "futures",
    "TaskOptions": "options",
    "TaskReference": "references",
    "UnshippedModuleWarning": "packing",
    "as_completed": "functions",
    "function": "functions",
    "gather": "functions",
    **dict.fromkeys(
        (
            "ConfigurationError",
            "Conflict",
            "DependencyFailed",
            "FaasError",
            "InvalidRequest",
            "NotAuthenticated",
            "NotFound",
            "PermissionDenied",
            "RequestRefused",
            "SerializationFailed",
            "ServiceUnavailable",
            "TaskCancelled",
            "TaskFailed",
            "TaskLost",
            "TaskPending",
            "TaskTimedOut",
            "TooLarge",
        ),
        "errors",
    ),
}
"""Each public name's module, imported when the name is first used: ``import faas`` itself costs nothing."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'faas' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"faas.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
