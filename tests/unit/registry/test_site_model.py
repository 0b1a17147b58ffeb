"""What was learned of sites comes back as it was saved, with only the changes written."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry import site_model
from tests.unit.registry.federation import Federation

values = st.one_of(st.text(max_size=20).filter(lambda text: "\x00" not in text), st.floats(allow_nan=False), st.none())
learned = st.dictionaries(
    st.sampled_from(["run_times", "queue_waits"]), st.lists(st.tuples(values, values), min_size=1, max_size=5)
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(learned, min_size=1, max_size=4))
def test_the_last_state_saved_is_loaded(
    federation: Federation, states: list[dict[str, list[tuple[object, ...]]]]
) -> None:
    before: dict[site_model.Key, str] = {}
    for state in states:
        wanted = site_model.encode(state)
        federation.write(site_model.save, wanted, before)
        before = wanted
        assert federation.read(site_model.load) == state


def test_no_more_than_so_many_rows_are_kept() -> None:
    many = site_model.encode({"run_times": [(str(number),) for number in range(site_model.MAX_ROWS + 10)]})
    assert len(many) == site_model.MAX_ROWS
