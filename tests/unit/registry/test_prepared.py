"""Prepared statements and ``among``: any number of values and rows, on either database."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from registry import schema
from registry.database import Transaction
from registry.identities import Principal
from registry.prepared import Prepared, among
from tests.unit.registry.federation import Federation, new_id

tasks, identities, objects = schema.tasks, schema.identities, schema.objects


@pytest.mark.parametrize("count", [0, 1, 40_000])
def test_among_takes_any_number_of_values(federation: Federation, ada: Principal, count: int) -> None:
    task_ids = federation.run(ada, 3)
    others = [new_id() for _ in range(count)]
    query = sa.select(tasks.c.task_id).where(among(tasks.c.task_id, [*others, *task_ids[1:]]))
    assert {row.task_id for row in federation.rows(query)} == set(task_ids[1:])
    assert federation.rows(sa.select(tasks.c.task_id).where(among(tasks.c.task_id, others))) == []


def test_among_numbers(federation: Federation, ada: Principal) -> None:
    sequences = [federation.row(task_id).sequence for task_id in federation.run(ada, 3)]
    query = sa.select(tasks.c.sequence).where(among(tasks.c.sequence, sequences[:2])).order_by(tasks.c.sequence)
    assert [row.sequence for row in federation.rows(query)] == sequences[:2]


def test_among_several_times_in_one_statement(federation: Federation, ada: Principal) -> None:
    first, second = federation.run(ada, 2)
    query = sa.select(tasks.c.task_id).where(among(tasks.c.task_id, [first, second]), among(tasks.c.task_id, [second]))
    assert [row.task_id for row in federation.rows(query)] == [second]
    again = sa.select(tasks.c.task_id).where(among(tasks.c.task_id, [first, second]), among(tasks.c.task_id, [first]))
    assert [row.task_id for row in federation.rows(again)] == [first]  # not the values of the cached statement


def test_among_compares_whole_texts(federation: Federation, ada: Principal) -> None:
    [task_id] = federation.run(ada)
    for other in (task_id + "x", task_id[:-1], task_id.upper() + " ", "'); --", 'a"b', "{a,b}", "☢"):
        assert federation.rows(sa.select(tasks.c.task_id).where(among(tasks.c.task_id, [other]))) == []


def test_prepared_runs_for_every_row_with_the_statements_own_values(federation: Federation) -> None:
    insert = Prepared(sa.insert(identities), ["identity_id", "name", "created_at"])
    update = Prepared(
        sa.update(identities)
        .where(identities.c.name == sa.bindparam("n"), identities.c.created_at == 1.0)
        .values(name=sa.bindparam("to"), created_at=5.0)
    )

    def work(transaction: Transaction) -> None:
        insert.run(transaction, [])
        rows = [{"identity_id": new_id(), "name": f"p{each}", "created_at": each % 2} for each in range(4)]
        insert.run(transaction, rows)
        update.run(transaction, [{"n": f"p{each}", "to": f"q{each}"} for each in range(4)])

    federation.write(work)
    query = sa.select(identities.c.name, identities.c.created_at).order_by(identities.c.name)
    assert [tuple(row) for row in federation.rows(query)] == [("p0", 0.0), ("p2", 0.0), ("q1", 5.0), ("q3", 5.0)]


def test_prepared_converts_as_the_column_says(federation: Federation) -> None:
    insert = Prepared(
        sa.insert(schema.endpoints),
        [
            *("endpoint_id", "owner_id", "name", "description", "labels", "policy", "environments"),
            *("workers", "idle_workers", "created_at"),
        ],
    )
    owner_id = federation.person().identity_id
    row = {
        "endpoint_id": new_id(),
        "owner_id": owner_id,
        "name": "n",
        "description": "",
        "labels": {"a": ["☢", None]},
        "policy": {},
        "environments": {},
        "workers": 1,
        "idle_workers": 0,
        "created_at": 1,
    }
    federation.write(lambda transaction: insert.run(transaction, [row]))
    assert federation.rows(sa.select(schema.endpoints.c.labels))[0].labels == {"a": ["☢", None]}


@pytest.mark.parametrize("column", [tasks.c.sequence, tasks.c.task_id, objects.c.object_id], ids=str)
def test_among_looks_in_the_index(federation: Federation, column: sa.Column[object]) -> None:
    """A scan of the table would make every request slower with every task there ever was."""
    query = sa.select(column).where(among(column, ["1"] if column.name != "sequence" else [1]))

    def plan(transaction: Transaction) -> str:
        dialect = transaction.connection.dialect
        if transaction.is_sqlite:
            text = str(query.compile(dialect=dialect))
            rows = transaction.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("[]",))
            return "\n".join(row[3] for row in rows)
        assert " = true" not in str(query.compile(dialect=dialect))
        return "SEARCH"

    found = federation.read(plan)
    assert f"SCAN {column.table.name}" not in found
    assert "SEARCH" in found
