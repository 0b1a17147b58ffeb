"""Where a task could run at all, asked when it is submitted: what never can is refused with the reason."""

from __future__ import annotations

from collections.abc import Collection

from faas.errors import InvalidRequest, PermissionDenied

from . import endpoints
from .database import Transaction
from .endpoints import Site, Target
from .identities import Principal
from .requirements import Requirements

_FIELDS = {"reads": "files", "writes": "outputs"}
"""What a submission calls it."""
_FIXES = dict.fromkeys(_FIELDS.values(), "`faas location list` shows the locations that you may use.")
_MAX_NAMED = 10
"""Reasons that are told."""


def check_placement(
    transaction: Transaction,
    principal: Principal,
    function_id: str,
    target: Target,
    needed: Requirements,
    backed: Collection[tuple[str, str]] = (),
) -> None:
    """Refuse tasks that no endpoint of their target could run, online or not.

    An endpoint that never had a session is unknown, and may turn out to have everything.

    Args:
        transaction: the transaction.
        principal: whose tasks they are.
        function_id: what they run.
        target: where they are to run.
        needed: what they need there.
        backed: of the locations they need, those that buckets back for the caller, see ``locations.backed``.

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
    identity = (principal.identity_id, principal.identity)
    if not candidates:
        if needed.reads or needed.writes:
            _check_backed(needed, backed)
        return
    reasons = [(site.name, *lacks(site, needed, *identity, backed)) for site in candidates]
    if not all(reason for _, _, reason in reasons):
        return
    fields = {lacking for _, lacking, _ in reasons}
    field = fields.pop() if len(fields) == 1 else "resources"
    each = _told(reasons)
    told = ". ".join(each[:_MAX_NAMED])
    more = f", and {len(each) - _MAX_NAMED} more are no better" if len(each) > _MAX_NAMED else ""
    where = {
        "endpoint": "The endpoint cannot run this task",
        "pool": f"No endpoint of the pool {target.reference!r} can run this task",
        "any": "No endpoint that you may use can run this task",
    }
    raise InvalidRequest(
        f"{where[target.kind]}. {told}{more}.",
        fix=_FIXES.get(field, "Ask for less or elsewhere; `faas endpoint status NAME` shows what an endpoint has."),
        field=field,
    )


def _told(reasons: list[tuple[str, str, str]]) -> list[str]:
    """Each reason once, with the endpoints it holds for."""
    names: dict[str, list[str]] = {}
    for name, _, reason in reasons:
        names.setdefault(reason, []).append(name)
    return [
        f"At {', '.join(some[:3])}{f' and {len(some) - 3} more' if len(some) > 3 else ''}, {reason}"
        for reason, some in names.items()
    ]


def lacks(
    site: Site, needed: Requirements, identity_id: str, identity: str, backed: Collection[tuple[str, str]]
) -> tuple[str, str]:
    """Why a task cannot run at an endpoint: the field of a submission, and the reason; both empty if it may."""
    if site.offering is None:
        return "", ""
    field, reason = site.offering.lacks(needed)
    if reason or not (needed.reads or needed.writes):
        return field, reason
    lacking = site.lacks_locations(needed, identity_id, identity, backed)
    if lacking is None:
        return "", ""
    how, name = lacking
    leave = "written to" if how == "writes" else "read from"
    return _FIELDS[how], f"the location {name!r} is not there to be {leave} by {identity}, nor in a bucket"


def _check_backed(needed: Requirements, backed: Collection[tuple[str, str]]) -> None:
    for how, names in (("reads", needed.reads), ("writes", needed.writes)):
        for name in names:
            if (how, name) not in backed:
                raise InvalidRequest(
                    f"No endpoint that you may use has the location {name!r}, and no bucket backs it for you.",
                    fix="`faas location list` shows those you may use.",
                    field=_FIELDS[how],
                )


def _check_allowed(site: Site, principal: Principal, function_id: str) -> None:
    if not site.allows(principal.identity_id, principal.identity, function_id):
        raise PermissionDenied(
            f"The endpoint {site.name!r} does not let {principal.identity} run function {function_id}.",
            fix=f"Ask its owner, {site.owner}, to list the function under allow: in its configuration.",
            field="target",
        )
