"""Functions: code by content, named by its owner."""

from __future__ import annotations

import json
import uuid
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from faas.errors import InvalidRequest, NotFound, PermissionDenied, TooLarge
from faas.models import MAX_CODE_BYTES, Function, FunctionCode, RegisterFunction
from faas.packing import function_id as content_id

from .database import AnyRow, Transaction
from .identities import Principal
from .prepared import Prepared
from .requirements import NO_REQUIREMENTS, Requirements, effective, requirements_of, stated
from .schema import attempts, functions, identities, tasks

SERIALIZERS = {"st", "sd", "01"}
_MAX_METADATA_CHARACTERS = 64 * 1024

_OWN = Prepared(
    sa.select(functions.c.function_id, functions.c.requirements).where(
        functions.c.function_id == sa.bindparam("of_function"), functions.c.owner_id == sa.bindparam("of_owner")
    )
)
_LISTED = [column for column in functions.c if column.name not in {"code", "modules"}]
_CODE_BYTES = (sa.func.length(functions.c.code) + sa.func.length(functions.c.modules)).label("code_bytes")


class Resolved(NamedTuple):
    """What a function id or name stands for."""

    function_id: str
    requirements: Requirements
    """What its tasks need unless they say otherwise."""


def register(transaction: Transaction, principal: Principal, request: RegisterFunction) -> Function:
    """Register code; the same code of the same owner keeps its id and takes the new name and description.

    Raises:
        InvalidRequest: an unknown serializer, no code, or an impossible name.
        TooLarge: code and modules together are over ``MAX_CODE_BYTES``.
    """
    if request.serializer not in SERIALIZERS:
        raise InvalidRequest(
            f"Unknown serializer {request.serializer!r}.",
            fix=f"Use one of {', '.join(sorted(SERIALIZERS))}.",
            field="serializer",
        )
    if not request.code:
        raise InvalidRequest("The function has no code.", field="code")
    if not request.name or len(request.name) > 200 or not request.name.isprintable():
        raise InvalidRequest("A function's name has 1 to 200 printable characters.", field="name")
    if is_uuid(request.name):
        raise InvalidRequest("A function's name cannot look like an id.", field="name")
    _check_metadata(request.metadata)
    stated(request.resources or {}, request.environment or "")
    size_bytes = len(request.code) + len(request.modules)
    if size_bytes > MAX_CODE_BYTES:
        raise TooLarge(
            f"The function {request.name!r} and its modules are {size_bytes} bytes, over {MAX_CODE_BYTES}.",
            fix="Install large modules in the endpoint's environment instead.",
            field="code",
        )
    function_id = content_id(principal.identity_id, request.serializer, request.code, request.modules)
    described = {
        "name": request.name,
        "description": request.description,
        "public": request.public,
        "metadata": request.metadata,
        "requirements": _requirements(transaction, function_id, request).text,
        "registered_at": transaction.now,
    }
    known = transaction.execute(sa.update(functions).where(functions.c.function_id == function_id).values(**described))
    if not known.rowcount:
        transaction.execute(
            sa.insert(functions).values(
                function_id=function_id,
                owner_id=principal.identity_id,
                serializer=request.serializer,
                code=request.code,
                modules=request.modules,
                python_version=request.python_version,
                **described,
            )
        )
    return show(transaction, principal, function_id)


def _requirements(transaction: Transaction, function_id: str, request: RegisterFunction) -> Requirements:
    """What the request says its tasks need; what it leaves open is as it was."""
    known = NO_REQUIREMENTS
    if request.resources is None or request.environment is None:
        query = sa.select(functions.c.requirements).where(functions.c.function_id == function_id)
        known = requirements_of(transaction.execute(query).scalar_one_or_none())
    resources = known.resources if request.resources is None else request.resources
    environment = known.environment if request.environment is None else request.environment
    return effective(NO_REQUIREMENTS, resources, environment)


def _check_metadata(metadata: dict[str, Any]) -> None:
    try:
        msgspec.msgpack.encode(metadata)  # which ends at 64 bits, where JSON does not
        text = json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError, OverflowError, RecursionError):
        text = ""
    if not 0 < len(text) <= _MAX_METADATA_CHARACTERS:
        raise InvalidRequest(
            f"A function's metadata is JSON of at most {_MAX_METADATA_CHARACTERS:,} characters.", field="metadata"
        )


def show(transaction: Transaction, principal: Principal, reference: str) -> Function:
    """A function by id or name, if the caller may use it.

    Raises:
        NotFound: unknown, or another owner's private one (which look the same from outside).
    """
    return _function(_find(transaction, principal, reference))


def resolve(transaction: Transaction, principal: Principal, reference: str) -> Resolved:
    """What a function id or name stands for, now, for this caller."""
    row = None
    if is_uuid(reference):
        own = _OWN.rows(transaction, of_function=reference, of_owner=principal.identity_id)
        row = next(iter(own), None)
    if row is None:
        row = _find(transaction, principal, reference)
    return Resolved(row.function_id, requirements_of(row.requirements))


def list_functions(
    transaction: Transaction, principal: Principal, *, name: str = "", limit: int = 100
) -> list[Function]:
    """The caller's functions and public ones, newest first."""
    query = _visible(principal).order_by(functions.c.registered_at.desc()).limit(limit)
    if name:
        query = query.where(functions.c.name == name)
    return [_function(row) for row in transaction.execute(query)]


def code(transaction: Transaction, principal: Principal, function_id: str) -> FunctionCode:
    """A function's code, for those who may use it, and for an endpoint that holds one of its tasks.

    Raises:
        NotFound: unknown or not visible.
        PermissionDenied: an endpoint asks for code that no task leased to it needs.
    """
    row = transaction.execute(sa.select(functions).where(functions.c.function_id == function_id)).first()
    if principal.scope == "endpoint":
        holds = (
            sa.select(tasks.c.sequence)
            .join(attempts, attempts.c.sequence == tasks.c.sequence)
            .where(attempts.c.endpoint_id == principal.endpoint_id, attempts.c.ended_at.is_(None))
            .where(tasks.c.function_id == function_id)
            .limit(1)
        )
        if row is None or transaction.execute(holds).first() is None:
            raise PermissionDenied(
                f"No task leased to this endpoint needs function {function_id}.",
                fix="An endpoint fetches code only while it holds a task of the function.",
            )
    elif row is None or not (row.public or row.owner_id == principal.identity_id):
        raise _unknown(function_id)
    return FunctionCode(
        function_id=row.function_id,
        owner_id=row.owner_id,
        name=row.name,
        serializer=row.serializer,
        code=row.code,
        modules=row.modules,
        python_version=row.python_version,
    )


def _find(transaction: Transaction, principal: Principal, reference: str) -> AnyRow:
    query = _visible(principal)
    if is_uuid(reference):
        query = query.where(functions.c.function_id == reference)
    else:
        query = query.where(functions.c.name == reference, functions.c.owner_id == principal.identity_id)
        query = query.order_by(functions.c.registered_at.desc()).limit(1)
    row = transaction.execute(query).first()
    if row is None:
        raise _unknown(reference)
    return row


def _visible(principal: Principal) -> sa.Select[Any]:
    return (
        sa.select(*_LISTED, _CODE_BYTES, identities.c.name.label("owner"))
        .join(identities, identities.c.identity_id == functions.c.owner_id)
        .where(sa.or_(functions.c.owner_id == principal.identity_id, functions.c.public))
    )


def _function(row: AnyRow) -> Function:
    needed = requirements_of(row.requirements)
    told = {**row._mapping, "resources": needed.resources, "environment": needed.environment}
    return Function(**{name: told[name] for name in Function.__struct_fields__})


def _unknown(reference: str) -> NotFound:
    return NotFound(
        f"There is no function {reference!r} that you may use.",
        fix="Register it first; `faas function list` shows yours.",
        field="function",
    )


def is_uuid(text: str) -> bool:
    """Whether a text is an id rather than a name."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
