"""Black holes: an endpoint that fails what runs elsewhere gets no more of it, until a probe succeeds there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

IN_A_ROW = 3
"""Failures of a function at an endpoint, without a success between them, that quarantine it there."""
PROBE_S = 30.0
"""The first probe comes after this long, and each further one after twice as long…"""
PROBE_MAX_S = 3600.0
"""…up to this."""
FORGIVEN = 2
"""A task's failures at suspicious endpoints are not charged to it so often; more are its own."""
_PATIENCE_S = 900.0
"""A probe that was not heard of for so long is sent again."""
_KEEP = 0.95
"""What an outcome before the last one weighs."""

Charge = Literal["charge", "elsewhere"]
"""Whether a failure is the task's own, or its endpoint's: then it runs elsewhere, uncharged."""


@dataclass
class _Record:
    """Outcomes of a function at an endpoint, and whether it is quarantined there."""

    succeeded: float = 0.0
    failed: float = 0.0
    in_a_row: int = 0
    """Failures since the last success of a task that started after the first of them."""
    failing_since: float = 0.0
    quarantined: bool = False
    probes: int = 0
    """Probes that failed, since it was quarantined."""
    probe_at: float = 0.0
    """When the next probe may go."""
    probing: bool = False

    @property
    def works(self) -> bool:
        """As far as is known: it succeeded there, and has not failed every time since."""
        return self.succeeded > 0 and self.in_a_row < IN_A_ROW

    def seen(self, success: bool, now: float) -> None:
        self.succeeded = self.succeeded * _KEEP + success
        self.failed = self.failed * _KEEP + (not success)
        if success:
            self.in_a_row = 0
        else:
            self.failing_since = now if self.in_a_row == 0 else self.failing_since
            self.in_a_row += 1

    def shut(self, now: float) -> None:
        self.quarantined, self.probing = True, False
        self.probe_at = now + min(PROBE_S * 2.0 ** min(self.probes, 30), PROBE_MAX_S)
        self.probes += 1

    def open(self) -> None:
        self.quarantined, self.probing, self.probes = False, False, 0

    def probe(self, now: float) -> None:
        if self.quarantined and now >= self.probe_at:
            self.probing, self.probe_at = True, now + _PATIENCE_S


@dataclass
class _Endpoint:
    functions: dict[str, _Record] = field(default_factory=dict)
    whole: _Record = field(default_factory=_Record)

    @property
    def fails_everything(self) -> bool:
        shut = [one for one in self.functions.values() if one.quarantined]
        return len(shut) > 1 and not any(one.works for one in self.functions.values() if not one.quarantined)


class Quarantine:
    """Who may run what, judged by what failed where. Pure but for its memory: told of outcomes, with the time of each.

    - A function is quarantined at an endpoint after ``IN_A_ROW`` failures there, if it works at
      another one, or worked there before and was not tried at any other.
    - An endpoint is quarantined as a whole when two functions are, and nothing else has succeeded since.
    - After a while one task goes as a probe. Its success lifts the quarantine; its failure doubles the while.
    - A failure that the function does not show elsewhere is not charged, ``FORGIVEN`` times for each task: a task that
      fails wherever it runs fails in the end.

    Example:
        >>> quarantine = Quarantine()
        >>> quarantine.succeeded("fit", "cori", 0.0)
        >>> [quarantine.failed("fit", "theta", float(second)) for second in range(3)]
        ['elsewhere', 'elsewhere', 'elsewhere']
        >>> [quarantine.room("fit", *at) for at in (("theta", 5.0), ("cori", 5.0), ("theta", 60.0))]
        [0, None, 1]
    """

    def __init__(self) -> None:
        self._endpoints: dict[str, _Endpoint] = {}
        self._places: dict[str, set[str]] = {}

    def succeeded(self, function_id: str, endpoint_id: str, now: float, *, started_at: float | None = None) -> None:
        """A task succeeded there.

        Args:
            function_id: what ran.
            endpoint_id: where.
            now: when it ended.
            started_at: when it was granted or started. What was under way before things began to fail says nothing of
                how they are now.
        """
        endpoint, record = self._record(function_id, endpoint_id)
        if started_at is not None and record.in_a_row and started_at < record.failing_since:
            return
        record.seen(True, now)
        record.open()
        endpoint.whole.open()

    def failed(self, function_id: str, endpoint_id: str, now: float, *, forgiven: int = 0) -> Charge:
        """A task failed there.

        Args:
            function_id: what ran.
            endpoint_id: where.
            now: when.
            forgiven: failures of this task before that were not charged.

        Returns:
            Whether it is to be charged.
        """
        endpoint, record = self._record(function_id, endpoint_id)
        record.seen(False, now)
        others = self._others(function_id, endpoint_id)
        suspicious = any(one.works for one in others) or (
            record.succeeded > 0 and not any(one.failed for one in others)
        )
        if record.quarantined:
            # What was running when it was shut may still fail: only a probe's failure is news.
            if record.probing:
                record.shut(now)
        elif record.in_a_row >= IN_A_ROW:
            if suspicious:
                record.shut(now)
            else:
                # It works nowhere any more: no endpoint is to blame.
                for one in others:
                    one.open()
        if endpoint.whole.probing or (not endpoint.whole.quarantined and endpoint.fails_everything):
            endpoint.whole.shut(now)
        # One failure where all goes well is the task's own; a second one in a row may not be.
        strange = suspicious and (record.in_a_row > 1 or record.succeeded == 0)
        return "elsewhere" if strange and forgiven < FORGIVEN else "charge"

    def granted(self, function_id: str, endpoint_id: str, now: float) -> None:
        """Tasks were granted; where ``room`` was 1, this is the probe."""
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is not None:
            endpoint.whole.probe(now)
            if (record := endpoint.functions.get(function_id)) is not None:
                record.probe(now)

    def room(self, function_id: str, endpoint_id: str, now: float) -> int | None:
        """How many tasks of a function an endpoint may be granted now: None for any number, 1 for a probe."""
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None:
            return None
        records = [endpoint.whole]
        if (record := endpoint.functions.get(function_id)) is not None:
            records.append(record)
        shut = [one for one in records if one.quarantined]
        if not shut:
            return None
        return 1 if all(now >= one.probe_at for one in shut) else 0

    def next_probe_at(self) -> float | None:
        """When the next probe may go, anywhere: ask again then."""
        times = [
            one.probe_at
            for endpoint in self._endpoints.values()
            for one in (endpoint.whole, *endpoint.functions.values())
            if one.quarantined
        ]
        return min(times, default=None)

    def quarantined(self) -> list[tuple[str, str | None]]:
        """Every endpoint with a function that is quarantined there, or with None where everything is."""
        found: list[tuple[str, str | None]] = []
        for endpoint_id, endpoint in self._endpoints.items():
            if endpoint.whole.quarantined:
                found.append((endpoint_id, None))
            found += [(endpoint_id, name) for name, one in endpoint.functions.items() if one.quarantined]
        return found

    def failure_rate(self, function_id: str, endpoint_id: str) -> float:
        """Share of the latest outcomes there that were failures; 0 where nothing ran."""
        endpoint = self._endpoints.get(endpoint_id)
        record = endpoint.functions.get(function_id) if endpoint else None
        seen = record.succeeded + record.failed if record else 0.0
        return record.failed / seen if record and seen else 0.0

    def _record(self, function_id: str, endpoint_id: str) -> tuple[_Endpoint, _Record]:
        endpoint = self._endpoints.setdefault(endpoint_id, _Endpoint())
        self._places.setdefault(function_id, set()).add(endpoint_id)
        return endpoint, endpoint.functions.setdefault(function_id, _Record())

    def _others(self, function_id: str, endpoint_id: str) -> list[_Record]:
        """The function's records at the other endpoints."""
        return [
            self._endpoints[other].functions[function_id]
            for other in self._places.get(function_id, ())
            if other != endpoint_id
        ]
