"""Whether this site runs a task: its owner's, or what its configuration allows; whatever the service says."""

from __future__ import annotations

from endpoints.configuration import Configuration
from faas.models import LeasedTask


def refusal(configuration: Configuration, owner_id: str, task: LeasedTask) -> str:
    """Why a task may not run here.

    Args:
        configuration: the endpoint's.
        owner_id: the identity the endpoint belongs to.
        task: what the service wants to run.

    Returns:
        The reason and what to do about it; empty if the task may run.
    """
    if task.owner_id == owner_id:
        return ""
    rule = configuration.allow.get(task.owner)
    if rule is None:
        return (
            f"Endpoint {configuration.name} does not run tasks of {task.owner}."
            f" Its owner can add `{task.owner}: true` under `allow:` in its config.yaml and restart it."
        )
    if rule.functions is not None and task.function_id not in rule.functions:
        return (
            f"Endpoint {configuration.name} runs only listed functions of {task.owner}, and {task.function_id} is not"
            f" among them. Its owner can add it under `allow: {{{task.owner}: {{functions: […]}}}}`."
        )
    return ""
