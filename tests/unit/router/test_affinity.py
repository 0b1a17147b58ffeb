"""Affinity: nothing is held longer than fetching would take, and nothing is held that nobody else has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.leases import Candidate, QueuedClass
from router.affinity import BYTES_PER_S, LOCATION_HOLD_S, LONGEST_HOLD_S, hold_s, near, pick

BYTES = st.sampled_from([0, 10**8, 10**9, 10**12])
CANDIDATES = st.lists(
    st.builds(Candidate, sequence=st.integers(), waited_s=st.floats(0, 100), here_bytes=BYTES, elsewhere_bytes=BYTES),
    max_size=30,
    unique_by=lambda candidate: candidate.sequence,
)


@given(CANDIDATES, st.integers(0, 40))
def test_what_is_taken(candidates: list[Candidate], count: int) -> None:
    taken = pick(candidates, count)
    assert len(taken) == len(set(taken)) <= count
    by_sequence = {each.sequence: each for each in candidates}
    left = [each for each in candidates if each.sequence not in taken]
    # Whoever is left was either held for somebody who has more of its data, and not for too long, or there was no room.
    for each in left:
        held = each.waited_s < hold_s(each)
        assert held or len(taken) == count
        if held:
            assert each.elsewhere_bytes > each.here_bytes
            assert each.waited_s < (each.elsewhere_bytes - each.here_bytes) / BYTES_PER_S
            assert each.waited_s < LONGEST_HOLD_S
    # Work whose data is here goes first; otherwise the order is that of waiting.
    turns = [by_sequence[sequence] for sequence in taken]
    here = [bool(each.here_bytes) and each.here_bytes >= each.elsewhere_bytes for each in turns]
    assert here == sorted(here, reverse=True)
    for some in ([e.sequence for e, h in zip(turns, here, strict=True) if h],):
        order = [each.sequence for each in candidates if each.sequence in some]
        assert some == order


def waiting(**fields: object) -> QueuedClass:
    return QueuedClass(1, "owner", "function", 0, head=1, queued=1, **fields)  # type: ignore[arg-type]


def test_files_that_another_site_has_wait_for_it_for_a_moment() -> None:
    here, nowhere = waiting(), waiting(local=False)
    elsewhere = waiting(local=False, local_elsewhere=True, waited_s=LOCATION_HOLD_S - 1)
    late = waiting(local=False, local_elsewhere=True, waited_s=LOCATION_HOLD_S)
    assert near([here, nowhere, elsewhere, late]) == [here, nowhere, late]
