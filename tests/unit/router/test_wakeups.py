"""Wake-ups: nobody who waits is forgotten, nobody is kept."""

from __future__ import annotations

import asyncio
import threading

import pytest

from registry.changes import Changes
from router.wakeups import WORK, Wakeups, group, session
from tests.unit.router.callers import PATIENCE_S, asleep

pytestmark = pytest.mark.anyio


@pytest.fixture
async def wakeups(monkeypatch: pytest.MonkeyPatch) -> Wakeups:
    monkeypatch.setattr("router.wakeups.RECHECK_S", 10_000.0)
    made = Wakeups()
    made.attach(asyncio.get_running_loop())
    return made


class Thing:
    """Something to look for, that counts the looks."""

    def __init__(self, *seen: str | None) -> None:
        self.seen = list(seen)
        self.looks = 0

    async def __call__(self) -> str | None:
        self.looks += 1
        return self.seen.pop(0) if self.seen else None


@pytest.mark.parametrize(
    ("topic", "changes"),
    [
        (WORK, Changes(work=True)),
        (group("g"), Changes(groups={"other", "g"})),
        (session("s"), Changes(sessions={"s"})),
        (group("g"), Changes(everything=True)),
    ],
)
async def test_a_change_wakes_who_waits_for_it(wakeups: Wakeups, topic: str, changes: Changes) -> None:
    look = Thing(None, "there")
    waiter = asyncio.create_task(wakeups.until(look, 1_000, "another topic", topic))
    await asleep(wakeups, topic)
    threading.Thread(target=wakeups.publish, args=(changes,)).start()
    assert await asyncio.wait_for(waiter, PATIENCE_S) == "there"
    assert look.looks == 2


async def test_other_changes_wake_nobody(wakeups: Wakeups) -> None:
    look = Thing(None, "too early")
    waiter = asyncio.create_task(wakeups.until(look, 1_000, group("g")))
    await asleep(wakeups, group("g"))
    wakeups._wake(Changes(work=True, groups={"other"}, sessions={"g"}))
    for _ in range(10):
        await asyncio.sleep(0)
    assert look.looks == 1
    waiter.cancel()


async def test_a_change_between_the_look_and_the_wait_is_not_lost(wakeups: Wakeups) -> None:
    found: list[str] = []

    async def look() -> str | None:
        if not found:
            found.append("there")  # somebody else commits just now
            wakeups._wake(Changes(groups={"g"}))
            return None
        return found[0]

    assert await asyncio.wait_for(wakeups.until(look, 1_000, group("g")), PATIENCE_S) == "there"


async def test_no_time_is_one_look(wakeups: Wakeups) -> None:
    look = Thing("there")
    assert await wakeups.until(look, 0, WORK) == "there"
    look = Thing()
    assert await wakeups.until(look, 0, WORK) is None
    assert look.looks == 1


async def test_the_end_of_the_time_is_one_last_look(wakeups: Wakeups) -> None:
    look = Thing(None, "there")
    assert await asyncio.wait_for(wakeups.until(look, 0.01, WORK), PATIENCE_S) == "there"


async def test_a_lost_notification_is_made_up_for(wakeups: Wakeups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.wakeups.RECHECK_S", 0.01)
    look = Thing(None, None, "there")
    assert await asyncio.wait_for(wakeups.until(look, 1_000, WORK), PATIENCE_S) == "there"


async def test_closing_lets_everybody_go(wakeups: Wakeups) -> None:
    waiters = [asyncio.create_task(wakeups.until(Thing(), 1_000, topic)) for topic in (WORK, group("g"), session("s"))]
    for topic in (WORK, group("g"), session("s")):
        await asleep(wakeups, topic)
    wakeups.close()
    assert await asyncio.wait_for(asyncio.gather(*waiters), PATIENCE_S) == [None] * 3
    assert await asyncio.wait_for(wakeups.until(Thing(), 1_000, WORK), PATIENCE_S) is None


async def test_nothing_is_kept_of_those_who_have_gone(wakeups: Wakeups) -> None:
    waiter = asyncio.create_task(wakeups.until(Thing(), 1_000, WORK, group("g")))
    await asleep(wakeups, WORK)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await wakeups.until(Thing("there"), 1_000, group("h"))
    assert wakeups._waiting == {}


async def test_publishing_before_there_is_a_loop_does_nothing() -> None:
    Wakeups().publish(Changes(work=True))
