"""The simulated world: tasks arrive, sites ask, the product's own code decides, and everything is written down."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf

from faas.models import DEFAULT_SHAPE, RunPolicy
from registry.endpoints import Site
from registry.leases import QueuedClass
from router.landscape import Lane
from router.model import SiteModel
from router.model.arrivals import Arrivals
from router.outlook import Outlook
from router.plan import LaneKey, PlannedClass
from router.planner import Planner
from router.policies import Holds, Policy, Waiting
from router.quarantine import Quarantine
from router.run_times import RunTimes

from .controllers import PilotController
from .draws import STORE, Draws
from .scenario import Scenario
from .site import Running, SimulatedBlock, SiteAgent

_SILENCE_S = 15.0
"""A lost agent's tasks go back to the queue after this long."""
_FRESH_S = 1.0
_LONGEST_S = 30 * 86_400.0
"""A simulation that is not over by then never will be."""


@dataclass
class TaskRecord:
    """One task, from its arrival to its end."""

    index: int
    identity: str
    function: str
    arrived_at: float
    state: str = "queued"
    """``succeeded`` or ``failed`` in the end."""
    site: str = ""
    """Where it last ran, or was bound to."""
    started_at: float = 0.0
    ended_at: float = inf
    run_s: float = 0.0
    """Of the run that counted, inputs fetched."""
    attempts: int = 0
    """Runs that were charged to it."""
    forgiven: int = 0
    losses: int = 0


@dataclass(frozen=True)
class BlockRecord:
    """One block that got nodes."""

    site: str
    nodes: int
    started_at: float
    ended_at: float


@dataclass
class History:
    """What happened in one simulation."""

    scenario: str
    policy: str
    seed: int
    tasks: list[TaskRecord] = field(default_factory=list)
    blocks: list[BlockRecord] = field(default_factory=list)
    holds: int = 0
    """Promises made."""
    longest_hold_s: float = 0.0


@dataclass
class _Class:
    """Queued tasks that are alike, first in first out."""

    class_id: int
    identity: str
    function: str
    priority: int
    bound: str
    """The site they are bound to; empty for any."""
    lanes: frozenset[LaneKey]
    queue: list[int] = field(default_factory=list)
    arrivals: Arrivals = field(default_factory=Arrivals)


class World:
    """One run of a scenario under a policy.

    Args:
        scenario: sites and workload.
        policy: decides.
        policy_name: for the record.
        controller: judges each site's blocks.
        draws: what chance decides; the same for every policy.
    """

    def __init__(
        self, scenario: Scenario, policy: Policy, policy_name: str, controller: PilotController, draws: Draws
    ) -> None:
        self._scenario = scenario
        self._policy = policy
        self._draws = draws
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._agents = {name: SiteAgent(name, site, controller, draws) for name, site in draws.sites.items()}
        self._site_ids = list(self._agents)
        self._planner = Planner(
            _experienced(scenario, draws), fresh_s=_FRESH_S, part=0, overcommit=scenario.overcommit, store=STORE
        )
        self._run_times = RunTimes()
        for name in scenario.functions:
            if scenario.history:
                self._run_times.learn({name: draws.mean_run_s(name)})
        self._quarantine = Quarantine()
        if scenario.history:
            for name in scenario.functions:
                for site in self._agents:
                    self._quarantine.succeeded(name, site, 0.0)
        self._classes: dict[tuple[str, str, int, str], _Class] = {}
        self._by_id: dict[int, _Class] = {}
        self._holds = Holds()
        self._bound = dict.fromkeys(self._agents, 0)
        self._submissions = count()
        self._unfinished = len(draws.arrivals)
        self._turn = 0
        self._ticking = False
        self._demanded = False
        self.history = History(scenario.name, policy_name, draws.seed)
        everywhere = frozenset((name, DEFAULT_SHAPE) for name in self._agents)
        self._lanes = {"": everywhere, **{name: frozenset({(name, DEFAULT_SHAPE)}) for name in self._agents}}
        self._views = {name: Site(name, name, "owner", "owner", RunPolicy()) for name in self._agents}

    def run(self) -> History:
        """Until every task has ended and every block is given back."""
        for agent in self._agents.values():
            self._look_at(agent)
            for outage in agent.site.outages:
                self._at(outage.from_s, partial(self._out, agent, outage.from_s + outage.for_s))
        arriving: dict[float, list[int]] = {}
        for index, arrival in enumerate(self._draws.arrivals):
            load = self._scenario.workload[arrival.load]
            self.history.tasks.append(TaskRecord(index, load.identity, load.function, arrival.at))
            arriving.setdefault(arrival.at, []).append(index)
        for at, indices in arriving.items():
            self._at(at, partial(self._arrive, indices))
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            if self.now > _LONGEST_S:
                break
            event()
        return self.history

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), event))

    # Tasks

    def _arrive(self, indices: list[int]) -> None:
        for index in indices:
            self._class_of(index).arrivals.came(1, self.now)
            self._enqueue(index)
        self._planner.stale()
        if not self._ticking:
            self._tick()
        elif not self._demanded:
            self._control()
        self._ask_all()

    def _class_of(self, index: int) -> _Class:
        """The class of a task; binds it where the policy binds early."""
        record = self.history.tasks[index]
        load = self._scenario.workload[self._draws.arrivals[index].load]
        if self._policy.early and not record.site:
            outlook = self._outlook()
            record.site = self._policy.bind(load.function, self._site_ids, outlook, next(self._submissions)) or ""
            if record.site:
                self._bound[record.site] += 1
        bound = record.site if self._policy.early else ""
        key = (load.identity, load.function, load.priority, bound)
        found = self._classes.get(key)
        if found is None:
            found = _Class(len(self._classes) + 1, *key, self._lanes[bound])
            self._classes[key] = self._by_id[found.class_id] = found
        return found

    def _enqueue(self, index: int) -> None:
        self.history.tasks[index].state = "queued"
        heapq.heappush(self._class_of(index).queue, index)

    def _requeue(self, indices: Iterable[int]) -> None:
        for index in indices:
            self._enqueue(index)
        self._planner.stale()
        self._ask_all()

    def _end(self, index: int, state: str) -> None:
        record = self.history.tasks[index]
        assert record.state not in ("succeeded", "failed"), f"task {index} ended twice"
        record.state, record.ended_at = state, self.now
        if self._policy.early:
            self._bound[record.site] -= 1
        self._unfinished -= 1

    # Decisions

    def _outlook(self) -> Outlook:
        if self._policy.early:
            return self._planner.bound_outlook(self.now, self._run_times.seconds, self._bound)
        return self._planner.outlook(self.now, self._planned, self._run_times.seconds)

    def _planned(self) -> list[PlannedClass]:
        return [
            PlannedClass(
                one.class_id,
                one.function,
                len(one.queue),
                one.priority,
                one.lanes,
                self._scenario.functions[one.function].input_bytes or None,
                one.arrivals.per_s(self.now),
            )
            for one in self._classes.values()
        ]

    def _waiting(self, site: str) -> Waiting:
        found = []
        for one in self._classes.values():
            if not one.queue or one.bound not in ("", site):
                continue
            room = None if self._policy.early else self._quarantine.room(one.function, site, self.now)
            if room != 0:
                queued = len(one.queue) if room is None else room
                found.append(QueuedClass(one.class_id, one.identity, one.function, one.priority, one.queue[0], queued))
        return Waiting(found)

    def _ask_all(self) -> None:
        """Every site with idle workers asks, another one first each time."""
        if not any(one.queue for one in self._classes.values()):
            return
        self._turn += 1
        turn = self._turn % len(self._site_ids)
        for name in [*self._site_ids[turn:], *self._site_ids[:turn]]:
            self._ask(self._agents[name])

    def _ask(self, agent: SiteAgent) -> None:
        capacity = agent.capacity(self.now)
        if capacity is None:
            return
        waiting = self._waiting(agent.name)
        if not waiting:
            return
        choice = self._policy.choose(self._views[agent.name], capacity, waiting, self._outlook(), self._holds)
        for share in choice.shares:
            self._grant(agent, self._by_id[share.class_id], share.tasks)
        for hold in choice.holds:
            if self._holds.promise(hold):
                self.history.holds += 1
                self.history.longest_hold_s = max(self.history.longest_hold_s, hold.until - self.now)
        if choice.holds:
            self._at(min(hold.until for hold in choice.holds), partial(self._ask, agent))

    def _grant(self, agent: SiteAgent, one: _Class, tasks: int) -> None:
        indices = [heapq.heappop(one.queue) for _ in range(min(tasks, len(one.queue)))]
        if not self._policy.early:
            self._quarantine.granted(one.function, agent.name, self.now)
        expected_s = self._planner.expected_s(
            one.function, agent.name, self._scenario.functions[one.function].input_bytes or None
        )
        self._lane(agent).granted(one.function, len(indices), expected_s, self.now)
        agent.take(indices)
        self._start(agent)
        self._holds.moved(one.class_id, one.queue[0] if one.queue else None)

    def _start(self, agent: SiteAgent) -> None:
        for index, block in agent.startable(self.now):
            record = self.history.tasks[index]
            record.state, record.site, record.started_at = "running", agent.name, self.now
            record.attempts += 1
            seconds, fails = self._draws.service_s(index, agent.name, self.now, record.attempts + record.forgiven)
            running = Running(index, block, self.now, seconds, fails)
            agent.run(running)
            self._at(self.now + seconds, partial(self._finish, agent, running))

    def _finish(self, agent: SiteAgent, running: Running) -> None:
        if not agent.finish(running, self.now):
            return  # it was lost with its block
        record = self.history.tasks[running.index]
        function = record.function
        self._lane(agent).ended(function, 1)
        if running.fails:
            charge = (
                "charge"
                if self._policy.early
                else self._quarantine.failed(function, agent.name, self.now, forgiven=record.forgiven)
            )
            if charge == "elsewhere":
                record.attempts -= 1
                record.forgiven += 1
            if record.attempts >= self._scenario.max_attempts:
                self._end(running.index, "failed")
            else:
                self._requeue([running.index])
        else:
            record.run_s = running.seconds
            self._learn(agent.name, running)
            self._quarantine.succeeded(function, agent.name, self.now, started_at=running.started_at)
            self._end(running.index, "succeeded")
        self._start(agent)
        self._look_at(agent)
        self._ask(agent)

    def _learn(self, site: str, running: Running) -> None:
        record = self.history.tasks[running.index]
        size = self._draws.size_bytes(running.index)
        run_s = running.seconds - self._draws.transfer_s(running.index, site)
        self._planner.model.run_times.learn(record.function, site, run_s, size_bytes=size or None)
        if size:
            self._planner.model.transfers.learn(STORE, site, size, running.seconds - run_s)
        self._run_times.learn({record.function: run_s})

    # Blocks

    def _tick(self) -> None:
        """Every site's pilot controller looks, now and from now on, as long as there is anything to look at."""
        self._ticking = True
        self._control()
        if self._unfinished or any(agent.blocks for agent in self._agents.values()):
            self._at(self.now + self._scenario.controller_s, self._tick)
        else:
            self._ticking = False

    def _control(self) -> None:
        classes = [one for one in self._planned() if one.tasks or one.per_s]
        demand = self._planner.apportion(self.now, self._allowed(classes)).demand if classes else {}
        self._demanded = bool(demand)
        for agent in self._agents.values():
            told = demand.get(agent.name)
            for block in agent.control(self.now, told.tasks if told else 0, told.seconds if told else 0.0):
                self._at(block.starts_at + agent.site.startup_s, partial(self._ready, agent, block))
            for waited_s in agent.taken_back():
                self._planner.model.queue_waits.cancelled(agent.name, DEFAULT_SHAPE, waited_s)
            self._bury(agent)
            self._look_at(agent)

    def _allowed(self, classes: list[PlannedClass]) -> list[PlannedClass]:
        """Without the lanes where a class is quarantined: nobody needs to get ready for it there."""
        shut = {(site, function) for site, function in self._quarantine.quarantined()}
        if not shut or self._policy.early:
            return classes
        return [
            PlannedClass(
                one.class_id,
                one.function_id,
                one.tasks,
                one.priority,
                frozenset(lane for lane in one.lanes if not {(lane[0], one.function_id), (lane[0], None)} & shut),
                one.size_bytes,
                one.per_s,
            )
            for one in classes
        ]

    def _ready(self, agent: SiteAgent, block: SimulatedBlock) -> None:
        if not agent.ready(block, self.now):
            if block.state == "queued":  # an outage made it wait longer
                self._at(block.starts_at + agent.site.startup_s, partial(self._ready, agent, block))
            return
        self._planner.model.queue_waits.started(agent.name, DEFAULT_SHAPE, self.now - block.requested_at)
        self._planner.stale()
        self._at(block.ends_at, partial(self._expire, agent, block))
        self._look_at(agent)
        self._start(agent)
        self._ask(agent)

    def _expire(self, agent: SiteAgent, block: SimulatedBlock) -> None:
        self._lose(agent, agent.kill([block], self.now), 0.0)

    def _out(self, agent: SiteAgent, until: float) -> None:
        self._lose(agent, agent.outage(self.now, until), _SILENCE_S)

    def _lose(self, agent: SiteAgent, lost: list[int], after_s: float) -> None:
        """Tasks that went with their block go back to the queue, uncharged."""
        for index in lost:
            record = self.history.tasks[index]
            record.losses += 1
            record.attempts -= 1
            self._lane(agent).ended(record.function, 1)
        self._bury(agent)
        self._look_at(agent)
        self._planner.stale()
        if lost:
            self._at(self.now + after_s, partial(self._requeue, lost))

    def _bury(self, agent: SiteAgent) -> None:
        self.history.blocks += [
            BlockRecord(agent.name, agent.site.nodes_per_block, started_at, ended_at)
            for started_at, ended_at in agent.ended()
        ]

    def _lane(self, agent: SiteAgent) -> Lane:
        return self._planner.landscape.lane(agent.name, DEFAULT_SHAPE)

    def _look_at(self, agent: SiteAgent) -> None:
        """What the service hears of a site's workers and blocks."""
        agent.describe(self._planner.landscape, self.now)


def _experienced(scenario: Scenario, draws: Draws) -> SiteModel:
    """A model that has seen the sites before, as often as the scenario says."""
    model = SiteModel()
    for function, site, seconds, transfer_s, size in draws.past_runs(scenario.history):
        model.run_times.learn(function, site, seconds, size_bytes=size or None)
        if size:
            model.transfers.learn(STORE, site, size, transfer_s)
    for site, waited_s in draws.past_waits(scenario.history):
        model.queue_waits.started(site, DEFAULT_SHAPE, waited_s)
    return model


def simulate(scenario: Scenario, policy: Policy, policy_name: str, controller: PilotController, seed: int) -> History:
    """Run a scenario once.

    Args:
        scenario: sites and workload.
        policy: decides.
        policy_name: for the record.
        controller: judges blocks; see ``find_controller``.
        seed: of all that chance decides: queue waits, run times, failures. The same for every policy.

    Returns:
        What happened to every task and block.
    """
    return World(scenario, policy, policy_name, controller, Draws(scenario, seed)).run()
