"""The part of the client that is about triggers: have a function called whenever a file has come."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from faas.models.common import Nothing
from faas.models.triggers import CreateTrigger, Trigger, TriggerEvent, TriggerSettings
from faas.tables import Table

if TYPE_CHECKING:
    from faas.link import Link


class Triggers:
    """The part of :class:`faas.Client` that creates triggers and looks after them."""

    link: Link

    def create_trigger(
        self,
        name: str,
        source: str,
        function: str,
        *,
        endpoint_id: str = "any",
        backfill: bool = False,
        settings: TriggerSettings | None = None,
        **changes: object,
    ) -> Trigger:
        """Have a function called once for each version of every file that comes.

        Args:
            name: what to call it.
            source: a directory of the service's machine, ``s3://bucket/prefix``, ``sqs:URL``, or ``push``.
            function: id or name.
            endpoint_id: where it runs: an endpoint, a pool, or ``any``.
            backfill: take what is there already, too.
            settings: what it takes, and what it makes of it.
            changes: fields of :class:`faas.models.TriggerSettings`, in place of ``settings`` or over them.

        Returns:
            The trigger; its ``secret`` is the path that stores post to, told only now.

        Raises:
            InvalidRequest: a setting cannot work; the message names it.
            NotFound: there is no such function or endpoint that you may use.
            Conflict: you have a trigger of this name.
            PermissionDenied: the service watches directories and queues only for whoever runs it.

        Example:
            >>> client.create_trigger("fits", "/data/incoming", "fit", suffix=".h5")       # doctest: +SKIP
        """
        chosen = msgspec.structs.replace(settings or TriggerSettings(), **changes)
        wanted = CreateTrigger(
            name=name, source=source, function=function, target=endpoint_id, settings=chosen, backfill=backfill
        )
        return self.link.request("POST", "/v1/triggers", wanted, response=Trigger)

    def get_triggers(self) -> list[Trigger]:
        """Your triggers."""
        found = self.link.request("GET", "/v1/triggers", response=list[Trigger])
        return Table(found, ("name", "state", "source", "function", "counts", "reason"))

    def get_trigger(self, trigger: str) -> Trigger:
        """A trigger, by name or id."""
        return self.link.request("GET", _path(trigger), response=Trigger)

    def get_trigger_events(self, trigger: str, *, state: str = "", limit: int = 100) -> list[TriggerEvent]:
        """What became of uploads, the newest first.

        Args:
            trigger: name or id.
            state: only these: ``waiting``, ``task``, ``ended``, ``grouped``, ``complete``, ``dead``, ``passed_over``.
            limit: how many, at most.
        """
        params: dict[str, str | int | float] = {"limit": limit, **({"state": state} if state else {})}
        found = self.link.request("GET", f"{_path(trigger)}/events", response=list[TriggerEvent], params=params)
        return Table(found, ("key", "state", "task_id", "seen_at", "reason"))

    def pause_trigger(self, trigger: str) -> Trigger:
        """Let nothing become a task until it is resumed; what comes waits."""
        return self._tell(trigger, "pause")

    def resume_trigger(self, trigger: str) -> Trigger:
        """Go on, with what waits first."""
        return self._tell(trigger, "resume")

    def replay_trigger(self, trigger: str) -> Trigger:
        """Try again what could not become a task."""
        return self._tell(trigger, "replay")

    def delete_trigger(self, trigger: str) -> None:
        """Delete a trigger and what it knows of files; its tasks go on."""
        self.link.request("DELETE", _path(trigger), response=Nothing)

    def _tell(self, trigger: str, verb: str) -> Trigger:
        return self.link.request("POST", f"{_path(trigger)}/{verb}", Nothing(), response=Trigger)


def _path(trigger: str) -> str:
    return f"/v1/triggers/{quote(trigger, safe='')}"
