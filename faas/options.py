"""How a task is to be treated: the options that are the same for run, Batch and Executor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from faas.requirements import name_problem, resources_problem

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class TaskOptions:
    """How tasks are to be treated; pass it as ``task_options``.

    Args:
        timeout_s: the run time after which a task is killed; None for no limit.
        max_attempts: how often it may be started before a failure of its own counts.
        max_losses: how often it may be lost with its worker before it ends ``lost``.
        priority: higher runs first among your own tasks.
        idempotent: False if it must not run twice: once started it is never started again.
        resources: what its worker must have: any of ``cores``, ``gpus``, ``memory_gb``; what is not named is as the
            function was registered with. The smallest worker that has it all is taken.
        environment: the environment at the endpoint to run in; by default as the function was registered with.
        tags: for finding it again.
        retry_of: the task this one repeats.

    Raises:
        ValueError: an option is impossible.

    Example:
        >>> executor.task_options = TaskOptions(timeout_s=60, tags={"run": "42"})    # doctest: +SKIP
        >>> batch.add(fid, args=(1,), task_options=TaskOptions(priority=5))          # doctest: +SKIP
    """

    timeout_s: float | None = None
    max_attempts: int = 1
    max_losses: int = 3
    priority: int = 0
    idempotent: bool = True
    resources: Mapping[str, float] = field(default_factory=dict)
    environment: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    retry_of: str = ""

    def __post_init__(self) -> None:
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise ValueError(f"timeout_s is {self.timeout_s!r}; give seconds over 0, or None for no limit.")
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts!r}; a task is tried at least once.")
        if self.max_losses < 0:
            raise ValueError(f"max_losses is {self.max_losses!r}; give 0 or more.")
        if not all(isinstance(name, str) and isinstance(value, str) for name, value in self.tags.items()):
            raise ValueError("tags: names and values are text.")
        if problem := resources_problem(self.resources):
            raise ValueError(problem)
        if self.environment and (problem := name_problem(self.environment, "environment")):
            raise ValueError(problem)

    def needing(self, resources: Mapping[str, float] | None, environment: str | None) -> Self:
        """The same options, but for other needs.

        Args:
            resources: amounts that replace those of the same name; None for none.
            environment: the environment to run in; None for the same.

        Raises:
            ValueError: they are impossible.

        Example:
            >>> TaskOptions(resources={"cores": 4}).needing({"gpus": 1}, None).resources
            {'cores': 4, 'gpus': 1}
        """
        if resources is None and environment is None:
            return self
        return replace(
            self,
            resources={**self.resources, **(resources or {})},
            environment=self.environment if environment is None else environment,
        )

    @cached_property
    def fields(self) -> dict[str, Any]:
        """As fields of :class:`faas.models.Submission`; not to be changed."""
        return {
            "timeout_s": self.timeout_s,
            "max_attempts": self.max_attempts,
            "max_losses": self.max_losses,
            "priority": self.priority,
            "idempotent": self.idempotent,
            "resources": {name: float(amount) for name, amount in self.resources.items()},
            "environment": self.environment,
            "tags": dict(self.tags),
            "retry_of": self.retry_of,
        }
