"""Which tasks refer to which objects: in their arguments, and in their results."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from .database import Overtaken, Transaction
from .objects import DOOMED
from .prepared import Prepared, among, from_json
from .schema import dependencies, object_uses, objects, tasks

Use = tuple[str, int]
"""An object's id, and the sequence of a task that refers to it."""

_COLUMNS = ["object_id", "sequence"]
# A task may refer to an object in its arguments and in its result: that is one use.
_USE_SQLITE = Prepared(sqlite.insert(object_uses).on_conflict_do_nothing(), _COLUMNS)
_USE_POSTGRESQL = Prepared(postgresql.insert(object_uses).on_conflict_do_nothing(), _COLUMNS)
_NAMED = Prepared(
    sa.update(tasks).where(tasks.c.sequence == sa.bindparam("s")).values(result_objects=sa.bindparam("named"))
)


def use(transaction: Transaction, uses: Iterable[Use]) -> None:
    """Note that tasks refer to objects, which stay as long as one of these tasks does.

    Raises:
        Overtaken: one of them began to be deleted after it was looked at.
    """
    wanted = sorted(set(uses))
    if not wanted:
        return
    named = {object_id for object_id, _ in wanted}
    standing = sa.update(objects).where(
        among(objects.c.object_id, sorted(named)), objects.c.expires_at.is_distinct_from(DOOMED)
    )
    held = transaction.execute(standing.values(expires_at=sa.null()).returning(objects.c.object_id))
    if set(held.scalars()) != named:
        raise Overtaken("An object that a task refers to is being deleted.")
    statement = _USE_SQLITE if transaction.is_sqlite else _USE_POSTGRESQL
    statement.run(transaction, [{"object_id": object_id, "sequence": sequence} for object_id, sequence in wanted])


def granted_to(transaction: Transaction, sequences: list[int]) -> dict[int, set[str]]:
    """The objects that each of these tasks was granted: those of its arguments, and those its parents' results name."""
    found: dict[int, set[str]] = {sequence: set() for sequence in sequences}
    own = sa.select(tasks.c.sequence, tasks.c.objects).where(among(tasks.c.sequence, sequences))
    for row in transaction.execute(own).all():
        found[row.sequence].update(from_json(row.objects) or ())
    inherited = (
        sa.select(dependencies.c.child, tasks.c.result_objects)
        .join(tasks, tasks.c.sequence == dependencies.c.parent)
        .where(among(dependencies.c.child, sequences), tasks.c.result_objects.is_not(None))
    )
    for row in transaction.execute(inherited).all():
        found[row.child].update(from_json(row.result_objects) or ())
    return found


def name_in_results(transaction: Transaction, named: dict[int, list[str]]) -> None:
    """Note which objects the results of tasks refer to, by sequence."""
    if named:
        _NAMED.run(transaction, [{"s": sequence, "named": names} for sequence, names in sorted(named.items())])
        use(transaction, ((object_id, sequence) for sequence, names in named.items() for object_id in names))
