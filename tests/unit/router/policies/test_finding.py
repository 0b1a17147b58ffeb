"""Policies by name: ours, and those that other packages bring along."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

import router.policies
from faas.errors import ConfigurationError
from router.policies import GROUP, POLICIES, FirstFree, find_policy


def test_ours_are_found_by_name() -> None:
    assert all(find_policy(name) is policy for name, policy in POLICIES.items())
    assert {"pinned", "round_robin", "shortest_backlog", "first_free", "fastest"} <= set(POLICIES)


def test_a_third_partys_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("greedy", "router.policies.first_free:FirstFree", GROUP)
    monkeypatch.setattr(router.policies, "find_plugins", lambda group: {"greedy": entry} if group == GROUP else {})
    assert isinstance(find_policy("greedy"), FirstFree)


def test_what_cannot_be_had_is_said_with_what_can(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "router.no_such_module:Policy", GROUP)
    monkeypatch.setattr(router.policies, "find_plugins", lambda group: {"broken": broken})
    with pytest.raises(ConfigurationError, match=r"no policy 'fastets'.*fastest, broken"):
        find_policy("fastets")
    with pytest.raises(ConfigurationError, match=r"'broken' \(router.no_such_module:Policy\) cannot be loaded"):
        find_policy("broken")
