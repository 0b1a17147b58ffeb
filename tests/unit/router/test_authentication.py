"""Remembered tokens: never longer than they are good."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from faas.errors import NotAuthenticated
from registry import identities
from registry.database import Transaction
from tests.unit.router.callers import Caller, Federation

pytestmark = pytest.mark.anyio


async def test_a_token_is_looked_up_once_in_a_while(
    service: Federation, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    look_up = identities.authenticate

    def counted(transaction: Transaction, secret: str) -> identities.Principal:
        looked_up.append(secret)
        return look_up(transaction, secret)

    monkeypatch.setattr(identities, "authenticate", counted)
    authenticator = service.service.authenticator
    authenticator.forget()
    for _ in range(3):
        await authenticator.authenticate(f"Bearer {ada.token}", ("client",))
    assert looked_up == [ada.token]


async def test_a_token_revoked_while_it_is_looked_up_is_not_remembered(
    service: Federation, ada: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, go_on = threading.Event(), threading.Event()
    look_up = identities.authenticate

    def slow(transaction: Transaction, secret: str) -> identities.Principal:
        principal = look_up(transaction, secret)
        seen.set()
        go_on.wait(30)
        return principal

    authenticator = service.service.authenticator
    known = await authenticator.authenticate(f"Bearer {ada.token}", ("client",))
    authenticator.forget()
    monkeypatch.setattr(identities, "authenticate", slow)
    asked = asyncio.create_task(authenticator.authenticate(f"Bearer {ada.token}", ("client",)))
    await asyncio.to_thread(seen.wait, 30)
    await service.service.database.write(identities.revoke_token, known, known.token_id)
    authenticator.forget()
    go_on.set()
    with pytest.raises(NotAuthenticated, match="revoked"):
        await asked


async def test_remembered_tokens_are_bounded(
    service: Federation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("router.authentication._REMEMBER_TOKENS", 3)
    authenticator: Any = service.service.authenticator
    for number in range(5):
        caller = await service.person(f"person {number}")
        await authenticator.authenticate(f"Bearer {caller.token}", ("client",))
    assert len(authenticator._known) <= 3
