"""Tickets: leave to store the result of one attempt, which an agent gives a worker without asking the service."""

from __future__ import annotations

import hmac
import re
from typing import NamedTuple

from faas.models import AttemptKey

PREFIX = "t1."
_TICKET = re.compile(r"t1\.([0-9a-f-]{36})\.(\d{1,18})\.(\d{1,9})\.([0-9a-f]{64})")


class Ticket(NamedTuple):
    """What a ticket says; nothing of it is true before :func:`holds` says so."""

    session_id: str
    attempt: AttemptKey
    signature: str


def issue(token_hash: str, session_id: str, attempt: AttemptKey) -> str:
    """A ticket for an attempt.

    Its key is one that both sides have anyway, and that dies with the endpoint's token.

    Args:
        token_hash: the SHA-256 of the endpoint's token, in hexadecimal.
        session_id: the agent's session.
        attempt: whose result may be stored with it.

    Example:
        >>> text = issue("5f" * 32, "0b9c7a0e-6d0f-4d7e-9d1c-0c3f6f0d9a55", AttemptKey(17, 1))
        >>> holds("5f" * 32, read(text)), holds("60" * 32, read(text))
        (True, False)
    """
    claim = f"{PREFIX}{session_id}.{attempt.sequence}.{attempt.number}"
    return f"{claim}.{_signature(token_hash, claim)}"


def read(text: str) -> Ticket | None:
    """Take a ticket apart; None if it is none."""
    match = _TICKET.fullmatch(text)
    if match is None:
        return None
    session_id, sequence, number, signature = match.groups()
    return Ticket(session_id, AttemptKey(int(sequence), int(number)), signature)


def holds(token_hash: str, ticket: Ticket | None) -> bool:
    """Whether whoever has the token issued this ticket."""
    if ticket is None:
        return False
    claim = f"{PREFIX}{ticket.session_id}.{ticket.attempt.sequence}.{ticket.attempt.number}"
    return hmac.compare_digest(_signature(token_hash, claim), ticket.signature)


def _signature(token_hash: str, claim: str) -> str:
    return hmac.digest(token_hash.encode(), claim.encode(), "sha256").hex()
