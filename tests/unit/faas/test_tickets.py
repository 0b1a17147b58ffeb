"""Tickets: good for what they say, under the token they were issued with, and for nothing else."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from faas.models import AttemptKey
from faas.tickets import holds, issue, read

SESSION = str(uuid.UUID(int=7))
KEY = "ab" * 32


@given(st.integers(1, 2**53), st.integers(1, 10_000))
def test_a_ticket_says_what_it_was_issued_for(sequence: int, number: int) -> None:
    ticket = read(issue(KEY, SESSION, AttemptKey(sequence, number)))
    assert ticket is not None
    assert (ticket.session_id, ticket.attempt) == (SESSION, AttemptKey(sequence, number))
    assert holds(KEY, ticket)
    assert not holds("cd" * 32, ticket)


@given(st.integers(0, 140), st.sampled_from("0123456789abcdef.t"))
def test_no_character_of_a_ticket_can_be_changed(place: int, other: str) -> None:
    text = issue(KEY, SESSION, AttemptKey(17, 1))
    place %= len(text)
    changed = text[:place] + other + text[place + 1 :]
    assert holds(KEY, read(changed)) == (changed == text)


@given(st.text(max_size=200))
def test_other_text_is_no_ticket(text: str) -> None:
    assert read(text) is None
    assert not holds(KEY, None)
