"""An agent's blocks, on disk before anything is submitted, so that its successor finds what it left and settles it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from endpoints.places import write_atomically
from faas.models import Block

_NONCE_LETTERS = 8


def name_prefix(nonce: str) -> str:
    """How the names of a session's batch jobs start; no name exceeds the 15 letters that some schedulers take."""
    return f"faas{nonce[:_NONCE_LETTERS]}-"


class BlockBook:
    """Names blocks, and knows which of them may have a job.

    Args:
        path: where it is kept.
        nonce: the session's.
    """

    def __init__(self, path: Path, nonce: str) -> None:
        self._path = path
        self.prefix = name_prefix(nonce)
        """How all the names start."""
        self._number = 0
        self._blocks: dict[str, Block] = {}

    def new(self, shape: str, nodes: int, walltime_s: float) -> Block:
        """A block about to be submitted; it is on disk when this returns."""
        self._number += 1
        block = Block(
            block_id=f"{self.prefix}{self._number}",
            state="requested",
            shape=shape,
            nodes=nodes,
            walltime_s=walltime_s,
            requested_at=time.time(),
        )
        self._blocks[block.block_id] = block
        self.save()
        return block

    def over(self, name: str) -> None:
        """The block has no job any more."""
        if self._blocks.pop(name, None) is not None:
            self.save()

    def save(self) -> None:
        """Write down what has become of the blocks."""
        _write(self._path, self._blocks.values())


class BlockEnds:
    """Blocks that are over and that the service has not heard of yet: it counts each as running until it does.

    Args:
        path: where they are kept, from session to session.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks = {block.block_id: block for block in read_blocks(path)}

    @property
    def blocks(self) -> list[Block]:
        """What is to be told."""
        return list(self._blocks.values())

    def add(self, blocks: Iterable[Block]) -> None:
        """These are over."""
        self._change(self._blocks | {block.block_id: block for block in blocks if block.ended_at is not None})

    def told(self, block_ids: set[str]) -> None:
        """The service knows of these."""
        self._change({name: block for name, block in self._blocks.items() if name not in block_ids})

    def _change(self, blocks: dict[str, Block]) -> None:
        if blocks.keys() != self._blocks.keys():
            self._blocks = blocks
            _write(self._path, blocks.values())


def read_blocks(path: Path) -> list[Block]:
    """The blocks in a file that this module wrote; none if it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Block])
    except (OSError, msgspec.DecodeError):
        return []


def _write(path: Path, blocks: Iterable[Block]) -> None:
    write_atomically(path, msgspec.json.encode(list(blocks)))
