"""What a task may ask of the worker it runs on, checked alike by the client and by the service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Real
from typing import Any

from faas.models import MAX_AMOUNT

RESOURCES = ("cores", "gpus", "memory_gb")
"""What may be asked for, by the name it has in ``resources``."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def resources_problem(resources: Mapping[Any, Any]) -> str:
    """What is wrong with these resources; empty if nothing is.

    Example:
        >>> resources_problem({"cores": 4, "memory_gb": 0.5})
        ''
        >>> resources_problem({"gpu": 1})
        "resources: there is no 'gpu'; give cores, gpus or memory_gb."
    """
    for name, amount in resources.items():
        if name not in RESOURCES:
            return f"resources: there is no {str(name)[:80]!r}; give {', '.join(RESOURCES[:-1])} or {RESOURCES[-1]}."
        is_number = not isinstance(amount, bool) and isinstance(amount, Real)
        if not is_number or not 0 <= amount <= MAX_AMOUNT:  # which NaN is not either
            return f"resources: {name} is {str(amount)[:80]}; give a number within 0 and {MAX_AMOUNT:,}."
    return ""


def name_problem(name: str, what: str) -> str:
    """What is wrong with the name of a shape or an environment; empty if nothing is.

    Example:
        >>> name_problem("xpcs-3.12", "environment")
        ''
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return ""
    return (
        f"{str(name)[:80]!r} is no name for {'an' if what[0] in 'aeiou' else 'a'} {what}: "
        "use 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit."
    )
