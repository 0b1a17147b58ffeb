"""Sessions: one per endpoint, judged by its signs of life, and what becomes of the tasks of one that is over."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from faas.errors import Conflict, NotFound
from faas.models import AttemptKey, Heartbeat, OpenSession
from registry import endpoints, schema, sessions
from registry.identities import Principal
from tests.unit.registry.federation import LEASE_TIMEOUT_S, Agent, Federation, new_id

SILENCE_S = LEASE_TIMEOUT_S + 4


# Opening


def test_a_second_agent_is_told_where_the_first_one_runs(federation: Federation, ada: Principal) -> None:
    federation.agent(ada, host="login7", pid=1234)
    with pytest.raises(Conflict, match=r"'site'.*login7.*pid 1234") as refusal:
        federation.agent(ada, host="login8")
    assert "faas endpoint stop site" in refusal.value.fix
    assert "--takeover" in refusal.value.fix


def test_the_same_nonce_gets_the_same_session(federation: Federation, ada: Principal) -> None:
    nonce = new_id()
    assert federation.agent(ada, nonce=nonce).session_id == federation.agent(ada, nonce=nonce).session_id
    assert federation.count(schema.sessions) == 1


def test_the_nonce_of_a_session_that_is_over_is_refused(federation: Federation, ada: Principal) -> None:
    nonce = new_id()
    federation.agent(ada, nonce=nonce).close()
    with pytest.raises(Conflict, match="is over"):
        federation.agent(ada, nonce=nonce)
    assert federation.agent(ada).lease() == []


def test_the_same_nonce_elsewhere_is_another_session(federation: Federation, ada: Principal) -> None:
    nonce = new_id()
    here, there = federation.agent(ada, "here", nonce=nonce), federation.agent(ada, "there", nonce=nonce)
    assert here.session_id != there.session_id


@pytest.mark.parametrize("how", ["replaces", "takeover"])
def test_a_new_session_fences_the_old_one(federation: Federation, ada: Principal, site: Agent, how: str) -> None:
    federation.run(ada)
    new = federation.agent(ada, replaces=site.session_id) if how == "replaces" else federation.agent(ada, takeover=True)
    assert new.session_id != site.session_id
    for act in (site.lease, site.beat):
        with pytest.raises(Conflict, match="is over"):
            act()
    assert site.session_id in set().union(*(change.sessions for change in federation.changes))
    assert len(new.lease()) == 1


def test_replacing_another_session_than_the_live_one_is_refused(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    with pytest.raises(Conflict, match="already runs"):
        federation.agent(ada, replaces=new_id())
    assert site.lease() == []


def test_a_fenced_session_keeps_its_tasks_until_it_has_been_silent(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    started, leased = federation.run(ada, 2)
    site.start(site.lease()[0])
    new = federation.agent(ada, takeover=True)
    assert new.lease() == []
    for _ in range(5):
        new.beat()
        federation.let_pass(4)
    assert federation.states([started, leased]) == ["queued", "queued"]
    assert [federation.row(each).losses for each in (started, leased)] == [1, 0]
    assert [each.task_id for each in new.lease()] == [started, leased]


def test_what_the_old_session_spooled_still_counts(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    new = federation.agent(ada, replaces=site.session_id)
    new.segments = site.segments
    assert new.succeed(granted) == 0
    assert federation.state(task_id) == "succeeded"


def test_an_endpoint_that_is_gone_gets_no_session(federation: Federation, ada: Principal) -> None:
    endpoint_id = federation.endpoint(ada)
    federation.write(endpoints.delete, ada, endpoint_id)
    with pytest.raises(NotFound, match="faas endpoint configure"):
        federation.write(sessions.open_session, endpoint_id, OpenSession(nonce="n", host="h", pid=1, version="0"))


# Heartbeats


def test_a_heartbeat_says_what_the_endpoint_has(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.clock.advance(5)
    beat = Heartbeat(lease_number=0, held=[], workers=8, idle_workers=3, environments={"default": {"python": "3.12"}})
    federation.write(sessions.heartbeat, site.endpoint_id, site.session_id, beat)
    [shown] = federation.read(endpoints.shown, ada)
    assert (shown.status, shown.workers, shown.idle_workers) == ("online", 8, 3)
    assert (shown.last_seen_at, shown.host, shown.pid) == (federation.clock.now, "login1", 4711)
    assert shown.environments == {"default": {"python": "3.12"}}
    site.beat()
    assert federation.read(endpoints.shown, ada)[0].environments == {"default": {"python": "3.12"}}


def test_what_runners_said_outlives_the_session_and_a_problem_does_not(federation: Federation, ada: Principal) -> None:
    offered = ["default", "xpcs"]
    site = federation.agent(ada, environments=offered)

    def tell(agent: Agent, environments: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        beat = Heartbeat(lease_number=0, held=[], environments=environments)
        federation.write(sessions.heartbeat, agent.endpoint_id, agent.session_id, beat)
        return federation.read(endpoints.shown, ada)[0].environments

    tell(site, {"default": {"python": "3.12"}, "xpcs": {"python": "3.9", "packages": "numpy==2.0"}, "old": {}})
    broken = tell(site, {"default": {"python": "3.12"}, "xpcs": {"problem": "no module"}})
    assert broken["xpcs"] == {"python": "3.9", "packages": "numpy==2.0", "problem": "no module"}
    new = federation.agent(ada, replaces=site.session_id, environments=offered)
    mended = tell(new, {"default": {}, "xpcs": {}})
    assert mended == {"default": {"python": "3.12"}, "xpcs": {"python": "3.9", "packages": "numpy==2.0"}}
    assert tell(new, {"default": {"python": "3.13"}})["default"] == {"python": "3.13"}


def test_what_is_leased_but_not_held_is_settled(federation: Federation, ada: Principal, site: Agent) -> None:
    task_ids = federation.run(ada, 4)
    held, running, dropped, gone = site.lease()
    assert site.beat([held, running, dropped, gone], started=[running, gone]) == []
    assert federation.states(task_ids) == ["leased", "running", "leased", "running"]
    assert site.beat([held, running]) == []
    assert federation.states(task_ids) == ["leased", "running", "queued", "queued"]
    assert [federation.row(task_id).losses for task_id in task_ids] == [0, 0, 0, 1]
    assert [federation.attempts(task_id) for task_id in task_ids] == [["leased"], ["started"], ["released"], ["lost"]]


def test_started_is_learnt_once(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    [granted] = site.lease()
    began = federation.clock.now
    site.beat([granted], started=[granted])
    federation.clock.advance(3)
    site.beat([granted], started=[granted])
    assert federation.row(task_id).started_at == began
    assert federation.show(ada, task_id).attempts[0].started_at == began


def test_a_lease_the_agent_has_not_taken_in_is_not_reconciled(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    task_ids = federation.run(ada, 2)
    [first] = site.lease(1)
    [second] = site.lease(1)  # its answer is still on the way
    site.beat([first], lease_number=1)
    assert federation.states(task_ids) == ["leased", "leased"]
    assert site.lease(number=2) == [second]
    site.beat([first, second], lease_number=2)
    assert federation.states(task_ids) == ["leased", "leased"]
    site.beat([first], lease_number=2)
    assert federation.states(task_ids) == ["leased", "queued"]


def test_a_heartbeat_reconciles_only_its_own_session(federation: Federation, ada: Principal, site: Agent) -> None:
    task_ids = federation.run(ada)
    site.lease()
    new = federation.agent(ada, takeover=True)
    new.beat([], lease_number=99)
    federation.agent(ada, "other").beat([], lease_number=99)
    assert federation.states(task_ids) == ["leased"]


def test_a_heartbeat_cannot_claim_what_was_not_leased(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    other = federation.agent(ada, "other")
    [granted] = other.lease()
    site.beat([granted], started=[granted])
    assert federation.state(task_id) == "leased"


def test_recalled_attempts_are_named_until_the_agent_lets_go(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    task_ids = federation.run(ada, 2)
    leased, running = site.lease()
    site.start(running)
    federation.cancel(ada, *task_ids)
    assert site.beat([leased, running]) == [leased.key, running.key]
    assert site.beat([leased, running]) == [leased.key, running.key]
    assert federation.read(sessions.recalled, site.endpoint_id, site.session_id) == [leased.key, running.key]
    assert site.beat([running]) == [running.key]
    assert site.beat([]) == []
    assert [federation.attempts(task_id) for task_id in task_ids] == [["cancelled"], ["cancelled"]]
    assert federation.states(task_ids) == ["cancelled", "cancelled"]
    assert federation.read(sessions.recalled, site.endpoint_id, site.session_id) == []


def test_recalls_are_shown_to_the_sessions_own_endpoint(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.cancel(ada, *federation.run(ada))
    task_ids = federation.run(ada)
    site.lease()
    federation.cancel(ada, *task_ids)
    other = federation.agent(ada, "other")
    assert federation.read(sessions.recalled, other.endpoint_id, site.session_id) == []


def test_a_heartbeat_of_a_session_of_another_endpoint_is_refused(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    other = federation.agent(ada, "other")
    with pytest.raises(Conflict):
        Agent(federation, other.endpoint_id, site.session_id).beat()


# Silence


def test_a_silent_session_loses_its_tasks(federation: Federation, ada: Principal, site: Agent) -> None:
    task_ids = federation.run(ada, 3)
    started, _, _ = site.lease()
    site.start(started)
    federation.let_pass(LEASE_TIMEOUT_S - 1)
    assert federation.states(task_ids) == ["running", "leased", "leased"]
    assert federation.let_pass(6) == [site.session_id]
    assert federation.states(task_ids) == ["queued"] * 3
    assert [federation.row(task_id).losses for task_id in task_ids] == [1, 0, 0]
    assert [federation.attempts(task_id) for task_id in task_ids] == [["lost"], ["released"], ["released"]]
    with pytest.raises(Conflict):
        site.lease()
    assert federation.read(endpoints.shown, ada)[0].status == "offline"
    assert federation.count(schema.leases) == 0


@pytest.mark.parametrize("sign", ["beat", "lease"])
def test_signs_of_life_keep_a_session(federation: Federation, ada: Principal, site: Agent, sign: str) -> None:
    federation.run(ada)
    held = site.lease()
    for _ in range(4):
        assert federation.let_pass(LEASE_TIMEOUT_S - 5) == []
        site.beat(held) if sign == "beat" else site.lease()
    assert federation.attempts(held[0].task_id) == ["leased"]


def test_only_the_silent_session_expires(federation: Federation, ada: Principal, site: Agent) -> None:
    other = federation.agent(ada, "other")
    expired = []
    for _ in range(4):
        expired += federation.let_pass(6)
        other.beat()
    assert expired == [site.session_id]


def test_silence_that_must_not_repeat_ends_the_task_only_once_started(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    started, leased = federation.run(ada, 2, idempotent=False)
    site.start(site.lease()[0])
    federation.let_pass(SILENCE_S)
    assert federation.states([started, leased]) == ["lost", "queued"]
    assert "idempotent=False" in federation.row(started).message


def test_time_without_a_service_does_not_count(federation: Federation, ada: Principal, site: Agent) -> None:
    task_ids = federation.run(ada)
    held = site.lease()
    federation.let_pass(6)
    federation.clock.advance(3600)  # no service beats
    assert federation.tick() == []
    assert federation.let_pass(LEASE_TIMEOUT_S - 2) == []
    assert federation.states(task_ids) == ["leased"]
    site.beat(held)
    assert federation.let_pass(LEASE_TIMEOUT_S) == []
    assert federation.let_pass(4) == [site.session_id]


def test_a_session_silent_since_before_the_service_came_back_gets_a_whole_timeout(
    federation: Federation, ada: Principal, site: Agent
) -> None:
    federation.let_pass(6)
    federation.clock.advance(3600)
    assert federation.let_pass(LEASE_TIMEOUT_S) == []
    assert federation.let_pass(4) == [site.session_id]


def test_the_first_beat_of_a_service_expires_nobody(federation: Federation, ada: Principal, site: Agent) -> None:
    federation.clock.advance(3600)
    assert federation.tick() == []


# Closing


def test_closing_gives_back_what_a_session_holds(federation: Federation, ada: Principal, site: Agent) -> None:
    task_ids = federation.run(ada, 3)
    started, _, done = site.lease()
    site.start(started)
    site.succeed(done)
    site.close()
    assert federation.states(task_ids) == ["queued", "queued", "succeeded"]
    assert [federation.row(task_id).losses for task_id in task_ids] == [1, 0, 0]
    assert "was closed" in federation.show(ada, task_ids[0]).attempts[0].message
    with pytest.raises(Conflict):
        site.beat()
    site.close()
    assert federation.agent(ada).lease()


def test_only_the_sessions_own_endpoint_closes_it(federation: Federation, ada: Principal, site: Agent) -> None:
    other = federation.agent(ada, "other")
    Agent(federation, other.endpoint_id, site.session_id).close()
    assert site.beat() == []


def test_losses_by_silence_end_a_task_that_has_had_enough(federation: Federation, ada: Principal) -> None:
    [task_id] = federation.run(ada, max_losses=1)
    for _ in range(2):
        agent = federation.agent(ada)
        [granted] = agent.lease()
        agent.beat([granted], started=[granted])
        federation.let_pass(SILENCE_S)
    row = federation.row(task_id)
    assert (row.state, row.losses) == ("lost", 2)
    assert federation.attempts(task_id) == ["lost", "lost"]


def test_no_task_is_handed_out_for_ever(
    federation: Federation, ada: Principal, site: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.outcomes.MAX_HANDOUTS", 4)
    [task_id] = federation.run(ada)
    for _ in range(3):
        site.release(*site.lease())
        assert federation.state(task_id) == "queued"
    site.release(*site.lease())
    assert federation.state(task_id) == "lost"
    assert "4 times" in federation.row(task_id).message


def test_sequence_and_number_name_an_attempt_once(federation: Federation, ada: Principal, site: Agent) -> None:
    [task_id] = federation.run(ada)
    for _ in range(3):
        site.release(*site.lease())
    [granted] = site.lease()
    assert granted.key == AttemptKey(federation.row(task_id).sequence, 4)
    query = sa.select(schema.attempts.c.number).order_by(schema.attempts.c.number)
    assert [row.number for row in federation.rows(query)] == [1, 2, 3, 4]
