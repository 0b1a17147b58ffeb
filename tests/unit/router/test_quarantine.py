"""Black holes: shut by failures that only one site shows, opened by probes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.quarantine import FORGIVEN, IN_A_ROW, PROBE_MAX_S, PROBE_S, Quarantine

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["succeeded", "failed", "granted"]),
        st.sampled_from(["f", "g"]),
        st.sampled_from(["theta", "cori"]),
        st.floats(0, 100),
    ),
    max_size=60,
)


def hole(*functions: str) -> Quarantine:
    """Everything works at Theta, and nothing at Cori."""
    quarantine = Quarantine()
    for function in functions or ("f",):
        quarantine.succeeded(function, "theta", 0.0)
        for _ in range(IN_A_ROW):
            quarantine.failed(function, "cori", 0.0)
    return quarantine


def test_failures_that_only_one_site_shows_shut_it_and_are_not_charged() -> None:
    quarantine = Quarantine()
    quarantine.succeeded("f", "theta", 0.0)
    assert [quarantine.failed("f", "cori", 0.0) for _ in range(IN_A_ROW)] == ["elsewhere"] * IN_A_ROW
    assert quarantine.room("f", "cori", 1.0) == 0
    assert quarantine.room("f", "theta", 1.0) is None
    assert quarantine.room("g", "cori", 1.0) is None
    assert quarantine.quarantined() == [("cori", "f")]


def test_a_function_that_works_nowhere_is_nobodys_fault_but_its_own() -> None:
    quarantine = Quarantine()
    for _ in range(2 * IN_A_ROW):
        assert quarantine.failed("f", "cori", 0.0) == "charge"
        assert quarantine.failed("f", "theta", 0.0) == "charge"
    assert quarantine.quarantined() == []


def test_a_function_that_stops_to_work_everywhere_opens_all_sites() -> None:
    quarantine = hole()
    for _ in range(IN_A_ROW):
        quarantine.failed("f", "theta", 1.0)
    assert quarantine.quarantined() == []


def test_a_task_that_fails_alone_is_charged_and_so_is_one_that_fails_again_and_again() -> None:
    quarantine = Quarantine()
    for site in ("theta", "cori"):
        quarantine.succeeded("f", site, 0.0)
    assert quarantine.failed("f", "cori", 1.0) == "charge"
    assert hole().failed("f", "cori", 1.0, forgiven=FORGIVEN) == "charge"


def test_one_probe_at_a_time_and_each_after_twice_as_long() -> None:
    quarantine, now, pauses = hole(), 0.0, []
    for _ in range(10):
        probe_at = quarantine.next_probe_at()
        assert probe_at is not None
        pauses.append(probe_at - now)
        now = probe_at
        assert (quarantine.room("f", "cori", now - 0.1), quarantine.room("f", "cori", now)) == (0, 1)
        quarantine.granted("f", "cori", now)
        assert quarantine.room("f", "cori", now) == 0
        quarantine.failed("f", "cori", now)
    assert pauses[:3] == [PROBE_S, 2 * PROBE_S, 4 * PROBE_S]
    assert max(pauses) <= PROBE_MAX_S


def test_a_probe_that_succeeds_opens_it() -> None:
    quarantine = hole()
    quarantine.granted("f", "cori", PROBE_S)
    quarantine.succeeded("f", "cori", PROBE_S + 9, started_at=PROBE_S)
    assert quarantine.room("f", "cori", PROBE_S + 9) is None


def test_what_was_under_way_before_says_nothing_of_now() -> None:
    quarantine = Quarantine()
    quarantine.succeeded("f", "theta", 0.0)
    for now in (10.0, 11.0, 12.0):
        quarantine.failed("f", "cori", now)
        quarantine.succeeded("f", "cori", now + 0.5, started_at=5.0)
    assert quarantine.room("f", "cori", 13.0) == 0


def test_an_endpoint_that_fails_everything_is_shut_for_everything() -> None:
    quarantine = hole("f", "g")
    assert ("cori", None) in quarantine.quarantined()
    assert quarantine.room("new", "cori", 1.0) == 0
    quarantine.granted("new", "cori", PROBE_S)
    quarantine.succeeded("new", "cori", PROBE_S + 1, started_at=PROBE_S)
    assert quarantine.room("new", "cori", PROBE_S + 1) is None
    assert quarantine.room("f", "cori", PROBE_S + 1) == 1  # by its own probe


def test_what_is_shut_is_never_shut_for_ever() -> None:
    quarantine = hole()
    quarantine.granted("f", "cori", PROBE_S)  # and never heard of again
    assert quarantine.room("f", "cori", PROBE_S + PROBE_MAX_S) == 1


@given(EVENTS)
def test_whatever_happens_somewhere_stays_open_or_probes_come(events: list[tuple[str, str, str, float]]) -> None:
    quarantine, now = Quarantine(), 0.0
    for what, function, site, after_s in events:
        now += after_s
        if what == "granted":
            quarantine.granted(function, site, now)
        else:
            getattr(quarantine, what)(function, site, now)
        for one in ("f", "g"):
            for place in ("theta", "cori"):
                assert quarantine.room(one, place, now) in (None, 0, 1)
                assert quarantine.room(one, place, now + 2 * PROBE_MAX_S) in (None, 1)
        assert (quarantine.next_probe_at() is None) == (not quarantine.quarantined())
        # A success that is news leaves nothing shut that it speaks for.
        if what == "succeeded":
            assert (site, function) not in quarantine.quarantined()
