"""Settling: each version of a file is told once, and none that is still changing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faas.watching.settling import Settling, Version

SETTLE_S = 2.0
PATHS = st.sampled_from(["a", "b"])
VERSIONS = st.builds(Version, st.integers(0, 3), st.integers(0, 3))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("seen"), PATHS, VERSIONS),
        st.tuples(st.just("closed"), PATHS, VERSIONS),
        st.tuples(st.just("wait"), st.floats(0, 5), st.none()),
    ),
    max_size=60,
)


@given(STEPS)
def test_versions_are_told_once_and_only_when_complete(steps: list[tuple[str, object, Version | None]]) -> None:
    settling = Settling(SETTLE_S)
    now = 0.0
    told: dict[str, Version] = {}
    last: dict[str, tuple[Version, float]] = {}
    for step, what, version in steps:
        if step == "wait":
            now += float(what)  # type: ignore[arg-type]
        elif step == "closed":
            assert version is not None
            path = str(what)
            assert settling.closed(path, version) == (told.get(path) != version)
            told[path] = version
            last.pop(path, None)
        else:
            assert version is not None
            path = str(what)
            settling.seen(path, version, now)
            if told.get(path) == version:
                last.pop(path, None)
            elif path not in last or last[path][0] != version:
                last[path] = (version, now)
        expected = {(path, each) for path, (each, since) in last.items() if now - since >= SETTLE_S}
        assert set(settling.due(now)) == expected
        for path, each in expected:
            told[path] = each
            del last[path]


def test_what_comes_back_after_it_was_gone_is_news() -> None:
    settling = Settling(SETTLE_S)
    assert settling.closed("a", Version(1, 1))
    assert not settling.closed("a", Version(1, 1))
    settling.keep_only(set())
    assert settling.closed("a", Version(1, 1))
