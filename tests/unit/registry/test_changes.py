"""Changes: what waiters are told, as text between replicas."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.changes import Changes
from tests.unit.registry.federation import new_id

ids = st.sets(st.uuids().map(str), max_size=20)
changes = st.builds(Changes, work=st.booleans(), groups=ids, sessions=ids, everything=st.booleans())


@given(changes)
def test_a_notification_says_what_changed(change: Changes) -> None:
    assert Changes.from_notification(change.to_notification()) == change


def test_too_much_to_name_wakes_everybody() -> None:
    change = Changes(groups={new_id() for _ in range(500)})
    text = change.to_notification()
    assert len(text.encode()) < 8000
    assert Changes.from_notification(text) == Changes(everything=True)
    assert Changes.from_notification(Changes(work=True, sessions=change.groups).to_notification()).work


@given(changes, changes)
def test_changes_add_up(one: Changes, other: Changes) -> None:
    both = Changes(one.work, set(one.groups), set(one.sessions), one.everything)
    both.update(other)
    assert both.work == (one.work or other.work)
    assert both.everything == (one.everything or other.everything)
    assert both.groups == one.groups | other.groups
    assert both.sessions == one.sessions | other.sessions
    assert bool(both) == (bool(one) or bool(other))


def test_nothing_is_false() -> None:
    assert not Changes()
