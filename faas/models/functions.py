"""Wire models of functions."""

from __future__ import annotations

from typing import Any

from .common import Model


class RegisterFunction(Model, kw_only=True):
    """Code to register. The id is UUIDv5(owner, sha256(serializer, code, modules))."""

    name: str
    serializer: str
    """Two-character identifier of the Globus Compute strategy: ``st``, ``sd`` or ``01``."""
    code: bytes
    modules: bytes = b""
    """A zip archive of the modules shipped by value; empty for none."""
    python_version: str = ""
    """Python that packed the code, ``3.11.7``; named when another cannot load it."""
    description: str = ""
    public: bool = False
    metadata: dict[str, Any] = {}
    resources: dict[str, float] | None = None
    """What its tasks need unless they say otherwise: ``cores``, ``gpus``, ``memory_gb``. None leaves it as it is."""
    environment: str | None = None
    """The environment its tasks run in unless they say otherwise. None leaves it as it is."""


class Function(Model, kw_only=True):
    """What is known of a registered function; the code is fetched apart."""

    function_id: str
    owner: str
    name: str
    serializer: str
    code_bytes: int
    python_version: str = ""
    description: str = ""
    public: bool = False
    metadata: dict[str, Any] = {}
    resources: dict[str, float] = {}
    environment: str = ""
    registered_at: float = 0.0


class FunctionCode(Model, kw_only=True):
    """A function's code, as the agent fetches it; it recomputes the id from these fields."""

    function_id: str
    owner_id: str
    name: str
    serializer: str
    code: bytes
    modules: bytes = b""
    python_version: str = ""
