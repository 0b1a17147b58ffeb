"""References to objects in the store."""

from __future__ import annotations

from faas.models import ContentKind
from faas.references import Reference


class ObjectRef(Reference):
    """Stands for an object in the store, anywhere in a task's arguments or result.

    Args:
        object_id: its id.
        size_bytes: its size.
        sha256: of its bytes, in hexadecimal; empty where it is not known.
        content: whether it holds a packed value or bytes as they are.
        name: of the file it is a copy of; empty for none.
    """

    __slots__ = ("content", "name", "object_id", "sha256", "size_bytes")

    def __init__(
        self, object_id: str, size_bytes: int, sha256: str = "", content: ContentKind = "value", name: str = ""
    ) -> None:
        self.object_id = object_id
        self.size_bytes = size_bytes
        self.sha256 = sha256
        self.content = content
        self.name = name

    def __repr__(self) -> str:
        return f"ObjectRef({self.object_id!r}, {self.size_bytes} bytes)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectRef) and other.object_id == self.object_id

    def __hash__(self) -> int:
        return hash(self.object_id)

    def reference(self) -> tuple[str, str, int, str, str, str]:
        """See :meth:`faas.references.Reference.reference`."""
        return "object", self.object_id, self.size_bytes, self.sha256, self.content, self.name
