"""The door to the database: transactions on SQLite (one writer, group commit) or PostgreSQL.

SQLite runs in WAL mode with ``synchronous=FULL``, so an acknowledged write survives power loss.
One thread writes; everything that waits when it comes round shares one commit, each piece of
work behind its own savepoint, and so does work that stands by for what the others bring about.
PostgreSQL gives each piece its own transaction and repeats it after a deadlock or a lost race
for a unique key.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, CursorResult, Engine
from typing_extensions import Unpack

from faas.errors import ConfigurationError, InvalidRequest
from faas.file_systems import NETWORK, file_system_of

from .changes import Changes

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

AnyRow: TypeAlias = "sa.Row[Unpack[tuple[Any, ...]]]"
"""A row whose columns are known to the statement, not to the type checker."""

CHANNEL = "faas_changes"
"""PostgreSQL notification channel that carries ``Changes`` between service replicas."""

_SYNCHRONOUS = "FULL"
"""An acknowledged write survives power loss."""
_REPEATABLE_SQLSTATES = {"40001", "40P01", "23505"}
"""Serialization failure, deadlock, unique violation: another transaction won; look again."""


class Overtaken(Exception):
    """Raised by work that finds its ground taken by another transaction meanwhile: it is undone, and repeated."""


class Transaction:
    """A transaction in progress: runs statements and collects what others must be told."""

    def __init__(self, connection: Connection, clock: Callable[[Connection], float]) -> None:
        self.connection = connection
        self.changes = Changes()
        self._clock = clock
        self._now: float | None = None

    @property
    def now(self) -> float:
        """Seconds since the epoch by the database's clock, the same throughout the transaction."""
        if self._now is None:
            self._now = self._clock(self.connection)
        return self._now

    @property
    def is_sqlite(self) -> bool:
        return self.connection.dialect.name == "sqlite"

    @property
    def driver(self) -> sqlite3.Connection:
        """SQLite's own connection: SQLAlchemy's ceremony around a statement costs more than a small statement does."""
        driver = self.connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        return driver

    def execute(self, statement: sa.Executable, parameters: Any = None) -> CursorResult[Unpack[tuple[Any, ...]]]:
        """Run one statement; a list of parameter sets runs it for each."""
        return self.connection.execute(statement, parameters)


class Database:
    """Runs the functions of this package in transactions.

    Args:
        url: SQLAlchemy URL, ``sqlite:///path`` or ``postgresql+psycopg://…``.
        on_commit: called with the ``Changes`` of every committed transaction, from a thread of the database.
        clock: replaces the database's clock in tests.

    Raises:
        ConfigurationError: the database cannot be reached or used; the message says how to mend it.
    """

    def __init__(
        self,
        url: str,
        *,
        on_commit: Callable[[Changes], None] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.url = _parsed(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.on_commit = on_commit or (lambda changes: None)
        self._clock = (lambda connection: clock()) if clock else self._database_clock
        if self.is_sqlite:
            _refuse_network_filesystem(Path(self.url.database or "."))
        self._reader, self._writer = self._engines()
        self._standing: dict[_Work, None] = {}
        self._glancing: Connection | None = None
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="registry-read")
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._writers = [
            threading.Thread(target=self._write_loop, name=f"registry-write-{number}", daemon=True)
            for number in range(1 if self.is_sqlite else 8)
        ]
        self._check_reachable()
        for writer in self._writers:
            writer.start()

    @property
    def engine(self) -> Engine:
        """For migrations and tests; everything else goes through ``write`` and ``read``."""
        return self._writer

    def write_soon(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Queue work for a writer; the future is done once the transaction is durable (or refused)."""
        item = _Work(lambda transaction: work(transaction, *args, **kwargs))
        self._work.put(item)
        return item.future

    async def write(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work(transaction, …)`` in a transaction; returns once that is durable."""
        return await asyncio.wrap_future(self.write_soon(work, *args, **kwargs))

    def stand_by(
        self, work: Callable[Concatenate[Transaction, P], T | None], *args: P.args, **kwargs: P.kwargs
    ) -> StandingWork[T]:
        """Have work done within the next transaction of somebody else that makes tasks ready, to share its commit.

        ``work`` is tried after each such transaction's own work until it returns something. It may be done although
        it was withdrawn in that moment, or not at all (PostgreSQL's transactions have no place for guests): whoever
        waits must be able to do it otherwise.
        """
        item = _Work(lambda transaction: work(transaction, *args, **kwargs))
        if self.is_sqlite:
            self._standing[item] = None
        return StandingWork(item, self._standing)

    async def glance(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run work that reads a few rows by their index, as ``read`` does; each statement sees its own moment.

        On SQLite that takes less time than the way to another thread and back, so it happens at once, in this one.
        """
        if not self.is_sqlite:
            return await self.read(work, *args, **kwargs)
        if self._glancing is None:
            self._glancing = self._alone()
        try:
            return work(Transaction(self._glancing, self._clock), *args, **kwargs)
        except _UNFIT as error:
            raise _unfit(error) from error

    async def read(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``work(transaction, …)``, which only reads, on a consistent snapshot."""

        def run() -> T:
            try:
                with self._reader.begin() as connection:
                    return work(Transaction(connection, self._clock), *args, **kwargs)
            except _UNFIT as error:
                raise _unfit(error) from error

        return await asyncio.wrap_future(self._readers.submit(run))

    def close(self) -> None:
        """Finish the work queued so far, then close every connection."""
        for _ in self._writers:
            self._work.put(None)
        for writer in self._writers:
            writer.join()
        self._readers.shutdown()
        if self._glancing is not None:
            self._glancing.close()
        self._reader.dispose()
        self._writer.dispose()

    def _write_loop(self) -> None:
        connection = self._alone() if self.is_sqlite else None
        try:
            while (first := self._work.get()) is not None:
                if connection is None:
                    self._commit_alone(first)
                    continue
                batch = [first]
                closing = self._drain(batch)
                self._commit_group(connection, batch)
                if closing:
                    return
        finally:
            if connection is not None:
                connection.close()

    def _drain(self, batch: list[_Work]) -> bool:
        """Add what else is waiting, up to a bound that keeps one commit short; True when closing."""
        while len(batch) < 64:
            try:
                item = self._work.get_nowait()
            except queue.Empty:
                return False
            if item is None:
                return True
            batch.append(item)
        return False

    def _commit_group(self, connection: Connection, batch: list[_Work]) -> None:
        changes = Changes()
        driver = Transaction(connection, self._clock).driver
        execute = driver.execute
        try:
            execute("BEGIN IMMEDIATE")
            for item in batch:
                self._run_apart(connection, item, changes)
            if changes.work:
                batch += self._run_standing(connection, changes)
            execute("COMMIT")
        except Exception as error:
            with suppress(sqlite3.Error):  # where the failure has not done it already
                execute("ROLLBACK")
            for item in batch:
                item.finish(item.error or error)
            return
        self._tell(changes)
        for item in batch:
            item.finish(item.error)

    def _run_apart(self, connection: Connection, item: _Work, changes: Changes) -> None:
        """Run one piece of work behind a savepoint: if it fails, it is undone alone."""
        transaction = Transaction(connection, self._clock)
        execute = transaction.driver.execute
        execute("SAVEPOINT work")
        try:
            item.result = item.run(transaction)
        except Exception as error:
            item.error = error
            execute("ROLLBACK TO work")
        else:
            changes.update(transaction.changes)
        execute("RELEASE work")

    def _run_standing(self, connection: Connection, changes: Changes) -> list[_Work]:
        """Try the work that stands by, the longest waiting first; returns what is done."""
        done = []
        for item in list(self._standing):
            self._run_apart(connection, item, changes)
            if item.result is not None or item.error is not None:
                self._standing.pop(item, None)
                done.append(item)
        return done

    def _commit_alone(self, item: _Work) -> None:
        for tries_left in reversed(range(10)):
            try:
                with self._writer.begin() as connection:
                    transaction = Transaction(connection, self._clock)
                    item.result = item.run(transaction)
                    if transaction.changes:
                        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, transaction.changes.to_notification())))
            except (sa.exc.DBAPIError, Overtaken) as error:
                if tries_left and (isinstance(error, Overtaken) or _lost_a_race(error)):
                    continue
                return item.finish(error)
            except Exception as error:
                return item.finish(error)
            self._tell(transaction.changes)
            return item.finish(None)

    def _tell(self, changes: Changes) -> None:
        if changes:
            try:
                self.on_commit(changes)
            except Exception:
                log.exception("a listener to database changes failed")

    def listen(self, stop: threading.Event) -> None:
        """Pass on changes committed by other replicas (PostgreSQL only); blocks until ``stop`` is set.

        A notification can be lost with its connection: waiters recheck every few seconds anyway.
        """
        import psycopg

        conninfo = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while not stop.is_set():
            try:
                with psycopg.connect(conninfo, autocommit=True) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    while not stop.is_set():
                        for notification in connection.notifies(timeout=1.0):
                            self._tell(Changes.from_notification(notification.payload))
            except psycopg.Error as error:
                log.warning("lost the database's notifications, trying again: %s", error)
                stop.wait(1.0)

    def _engines(self) -> tuple[Engine, Engine]:
        if not self.is_sqlite:
            engine = sa.create_engine(self.url, pool_size=12, max_overflow=4, pool_pre_ping=True, **_ENGINE)
            return engine.execution_options(isolation_level="REPEATABLE READ"), engine
        writer = sa.create_engine(self.url, poolclass=sa.pool.NullPool, **_ENGINE)
        reader = sa.create_engine(self.url, pool_size=4, **_ENGINE)
        for engine, begin in ((writer, "BEGIN IMMEDIATE"), (reader, "BEGIN")):
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", lambda connection, begin=begin: connection.exec_driver_sql(begin))
        return reader, writer

    def _alone(self) -> Connection:
        """A connection to SQLite for one thread, whose transactions are that thread's own business."""
        engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool, **_ENGINE)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine.connect()

    def _check_reachable(self) -> None:
        shown = self.url.render_as_string(hide_password=True)
        try:
            if self.is_sqlite and self.url.database:
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
            with self._writer.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        except (sa.exc.DBAPIError, OSError) as error:
            reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
            raise ConfigurationError(
                f"The database {shown} cannot be used: {reason} Start it, or name another one with FAAS_DATABASE_URL."
            ) from error

    def _database_clock(self, connection: Connection) -> float:
        if connection.dialect.name == "sqlite":
            return time.time()
        return float(connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


class StandingWork(Generic[T]):
    """Work that stands by, as whoever waits for it sees it."""

    def __init__(self, item: _Work, standing: dict[_Work, None]) -> None:
        self._item = item
        self._standing = standing

    def result(self) -> T | None:
        """What came of it; None while nothing has.

        Raises:
            Exception: what the work raised.
        """
        future: Future[T] = self._item.future
        return future.result() if future.done() else None

    def withdraw(self) -> None:
        """Stand by no longer."""
        self._standing.pop(self._item, None)


class _Work:
    """One piece of work, and the future that tells its caller."""

    __slots__ = ("error", "future", "result", "run")

    def __init__(self, run: Callable[[Transaction], Any]) -> None:
        self.run = run
        self.future: Future[Any] = Future()
        self.result: Any = None
        self.error: Exception | None = None

    def finish(self, error: Exception | None) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        if error is None:
            self.future.set_result(self.result)
        elif isinstance(error, _UNFIT):
            self.future.set_exception(_unfit(error))
        else:
            self.future.set_exception(error)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


_ENGINE: dict[str, Any] = {"json_serializer": _json, "hide_parameters": True}
"""For every engine; parameters are people's data and do not belong in error messages, which end in logs."""

_UNFIT = (sa.exc.DataError, OverflowError)
"""A value the database cannot hold: a NUL character (PostgreSQL), a number that is too large."""


def _unfit(error: Exception) -> InvalidRequest:
    reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
    return InvalidRequest(
        f"The database cannot hold a value of this request: {reason}.",
        fix="Leave out NUL characters and numbers beyond 64 bits.",
    )


def _parsed(url: str) -> sa.URL:
    """The URL with the one driver that is used for its kind of database, whatever others there are."""
    parsed = None
    with suppress(sa.exc.ArgumentError, ValueError):  # whose messages may hold the password
        parsed = sa.make_url(url)
    if parsed is not None and parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed is not None and parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    raise ConfigurationError(
        "The database's URL is not understood. Set FAAS_DATABASE_URL to postgresql+psycopg://user:password@host/name "
        "or sqlite:////directory/file, or leave it out for a file in the data directory."
    )


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(f"PRAGMA synchronous={_SYNCHRONOUS}")
    cursor.execute("PRAGMA cache_size=-32000")
    cursor.execute("PRAGMA wal_autocheckpoint=4000")
    cursor.close()


def _refuse_network_filesystem(path: Path) -> None:
    kind = file_system_of(path)
    if kind in NETWORK:
        raise ConfigurationError(
            f"The data directory of {path} is on a network filesystem ({kind}), where SQLite's locks are not safe. "
            "Name a local one with --data-dir, or use PostgreSQL with FAAS_DATABASE_URL."
        )


def _lost_a_race(error: sa.exc.DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _REPEATABLE_SQLSTATES


@contextmanager
def opened(url: str, **options: Any) -> Iterator[Database]:
    """A database that is closed at the end of the block."""
    database = Database(url, **options)
    try:
        yield database
    finally:
        database.close()
