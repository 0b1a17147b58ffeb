"""Statements compiled once and run at the driver's own speed, without SQLAlchemy's ceremony at each use."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from .database import Transaction

Row = dict[str, Any]


class Prepared:
    """A statement of the hot path.

    SQLAlchemy's executemany spends some 25 µs a row on parameters, and building a statement anew some 300 µs;
    this hands the values to the driver and applies only those conversions of parameters that do something.
    Results are the driver's own values: on SQLite booleans are 0 and 1, and JSON is text (see ``from_json``).

    Args:
        statement: its parameters named by ``bindparam``, or an INSERT.
        columns: for an INSERT, the columns each row gives.
    """

    def __init__(
        self, statement: sa.Insert | sa.Update | sa.Delete | sa.Select[Any], columns: Sequence[str] | None = None
    ) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def run(self, transaction: Transaction, rows: list[Row]) -> None:
        """Run for each row; every row gives every parameter."""
        if rows:
            compiled = self._for(transaction)
            parameters = compiled.parameters(rows)
            if transaction.is_sqlite:
                transaction.driver.executemany(compiled.sql, parameters)
            else:
                transaction.connection.exec_driver_sql(compiled.sql, parameters)

    def rows(self, transaction: Transaction, **values: Any) -> list[Any]:
        """Run once and fetch what it returns, as tuples with the columns' names."""
        compiled, cursor = self._once(transaction, values)
        return list(map(compiled.row, cursor.fetchall()))

    def change(self, transaction: Transaction, **values: Any) -> int:
        """Run once; returns how many rows it changed."""
        changed: int = self._once(transaction, values)[1].rowcount
        return changed

    def _once(self, transaction: Transaction, values: Row) -> tuple[_Compiled, Any]:
        compiled = self._for(transaction)
        [parameters] = compiled.parameters([values])
        if transaction.is_sqlite:
            return compiled, transaction.driver.execute(compiled.sql, parameters)
        return compiled, transaction.connection.exec_driver_sql(compiled.sql, parameters)

    def _for(self, transaction: Transaction) -> _Compiled:
        dialect = transaction.connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = _Compiled(self._statement, self._columns, dialect)
        return compiled


def from_json(value: Any) -> Any:
    """The value of a JSON column that a prepared statement returned: SQLite's driver leaves it as text."""
    return json.loads(value) if isinstance(value, str) else value


class _Compiled:
    """A statement compiled for one dialect."""

    def __init__(self, statement: Any, columns: Sequence[str] | None, dialect: Dialect) -> None:
        compiled: Any = statement.compile(
            dialect=dialect, column_keys=columns, compile_kwargs={"render_postcompile": True}
        )
        self.sql = str(compiled)
        names = [column.name for column in getattr(statement, "selected_columns", ())]
        names += [column.name for column in getattr(statement, "_returning", ())]
        row: Any = namedtuple("row", names, rename=True)  # type: ignore[misc]
        self.row: Callable[[Any], Any] = row._make
        order: list[str] | None = compiled.positiontup
        self._positional = order is not None
        self._order: list[str] = list(compiled.bind_names.values()) if order is None else order
        self._constants = {name: bind.value for bind, name in compiled.bind_names.items() if not bind.required}
        """Values that the statement itself gives, such as a state it compares with: no row has them."""
        self._converters: list[tuple[str, Callable[[Any], Any]]] = []
        for parameter, name in compiled.bind_names.items():
            # Drivers take every other type as it is.
            if isinstance(parameter.type, (sa.JSON, _Values)):
                converter = parameter.type.dialect_impl(dialect).bind_processor(dialect)
                if converter is not None:
                    self._converters.append((name, converter))

    def parameters(self, rows: list[Row]) -> Any:
        """The rows as the driver takes them; few are copied, for this is every task's way."""
        if self._constants:
            rows = [{**row, **self._constants} for row in rows]
        for name, convert in self._converters:
            rows = [row if row[name] is None else {**row, name: convert(row[name])} for row in rows]
        if not self._positional:
            return rows
        if len(self._order) < 2:
            return [tuple(row[name] for name in self._order) for row in rows]
        return list(map(itemgetter(*self._order), rows))


class _Values(sa.types.TypeDecorator[Any]):
    """A list as one parameter: an array on PostgreSQL, JSON text on SQLite."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, element: Any) -> None:
        super().__init__()
        self.element = element

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.ARRAY(self.element))
        return dialect.type_descriptor(sa.JSON())


class among(FunctionElement[bool]):  # noqa: N801  reads as SQL does, like sa.func and sa.and_
    """``column IN (values)`` with the values as one parameter, so that any number compiles to one statement.

    Args:
        column: the column.
        values: what it may be, any number of them (an IN list ends at 32,766), or the name of a parameter.
    """

    inherit_cache = True
    type = sa.Boolean()
    name = "among"

    def __init__(self, column: sa.ColumnElement[Any], values: Sequence[Any] | str) -> None:
        # PostgreSQL would cut a longer text to a column's length, and find what it is not
        element = sa.Text() if isinstance(column.type, sa.String) else column.type
        if isinstance(values, str):
            super().__init__(column, sa.bindparam(values, type_=_Values(element)))
        else:
            super().__init__(column, sa.bindparam(None, list(values), type_=_Values(element), unique=True))

    def self_group(self, against: Any = None) -> Any:
        """Stand in WHERE as it is: written as ``… = 1``, SQLite would scan the table instead of its index."""
        return self


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: Any, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY({values})"
