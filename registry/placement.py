"""Where a task could run at all, asked when it is submitted: what never can is refused with the reason."""

from __future__ import annotations

from faas.errors import InvalidRequest, PermissionDenied

from . import endpoints
from .database import Transaction
from .endpoints import Site, Target
from .identities import Principal
from .requirements import Requirements

_MAX_NAMED = 10
"""Endpoints whose reasons are told."""


def check_placement(
    transaction: Transaction,
    principal: Principal,
    function_id: str,
    target: Target,
    needed: Requirements,
) -> None:
    """Refuse tasks that no endpoint of their target could run, online or not.

    An endpoint that never had a session is unknown, and may turn out to have everything.

    Raises:
        PermissionDenied: the endpoint does not let the caller run this function.
        InvalidRequest: each endpoint lacks a worker that is large enough, or the environment.
    """
    if target.kind == "endpoint":
        site = endpoints.site(transaction, target.reference)
        _check_allowed(site, principal, function_id)
        candidates = [site]
    else:
        candidates = [
            site
            for site in endpoints.members(transaction, principal, target)
            if site.allows(principal.identity_id, principal.identity, function_id)
        ]
    if not candidates or any(site.offering is None or site.shape_for(needed) is not None for site in candidates):
        return
    reasons = [(site.name, *site.offering.lacks(needed)) for site in candidates if site.offering is not None]
    field = "environment" if all(lacking == "environment" for _, lacking, _ in reasons) else "resources"
    told = ". ".join(f"At {name}, {reason}" for name, _, reason in reasons[:_MAX_NAMED])
    more = f", and {len(reasons) - _MAX_NAMED} more are no better" if len(reasons) > _MAX_NAMED else ""
    where = {
        "endpoint": "The endpoint cannot run this task",
        "pool": f"No endpoint of the pool {target.reference!r} can run this task",
        "any": "No endpoint that you may use can run this task",
    }
    raise InvalidRequest(
        f"{where[target.kind]}. {told}{more}.",
        fix="Ask for less or elsewhere; `faas endpoint status NAME` shows what an endpoint has.",
        field=field,
    )


def _check_allowed(site: Site, principal: Principal, function_id: str) -> None:
    if not site.allows(principal.identity_id, principal.identity, function_id):
        raise PermissionDenied(
            f"The endpoint {site.name!r} does not let {principal.identity} run function {function_id}.",
            fix=f"Ask its owner, {site.owner}, to list the function under allow: in its configuration.",
            field="target",
        )
