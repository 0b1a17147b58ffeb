"""The database's door: group commit, repeats after lost races, changes told, and failures that say what to do."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from faas.errors import ConfigurationError, InvalidRequest, NotFound
from faas.file_systems import file_system_of
from registry import database as module
from registry import identities, schema
from registry.changes import Changes
from registry.database import Database, StandingWork, Transaction, opened
from tests.services.postgres import PostgresServer
from tests.services.processes import free_port
from tests.unit.registry.federation import ANSWER_S, Federation, new_id


class Gate:
    """Work that holds a writer until it is opened, so that what is queued meanwhile forms one group."""

    def __init__(self, database: Database) -> None:
        self._reached, self._open = threading.Event(), threading.Event()
        self.done = database.write_soon(self._hold)
        assert self._reached.wait(ANSWER_S)

    def _hold(self, transaction: Transaction) -> None:
        self._reached.set()
        assert self._open.wait(ANSWER_S)

    def open(self) -> None:
        self._open.set()


def _name(transaction: Transaction, name: str) -> str:
    transaction.changes.groups.add(name)
    return identities.create_identity(transaction, name)


def _name_then_fail(transaction: Transaction, name: str) -> None:
    _name(transaction, name)
    raise NotFound("on purpose")


def _names(federation: Federation) -> set[str]:
    return set(federation.read(identities.list_identities).values())


# Group commit


def _grouped(federation: Federation) -> tuple[list[Future[Any]], Future[Any]]:
    """Five pieces of work in one group on SQLite, the third of which fails."""
    gate = Gate(federation.database)
    write = federation.database.write_soon
    before = [write(_name, name) for name in "ab"]
    failing = write(_name_then_fail, "broken")
    after = [write(_name, name) for name in "cd"]
    gate.open()
    return [*before, *after], failing


def test_a_failing_piece_of_work_is_undone_alone(federation: Federation) -> None:
    good, failing = _grouped(federation)
    with pytest.raises(NotFound, match="on purpose"):
        failing.result(ANSWER_S)
    assert len({each.result(ANSWER_S) for each in good}) == 4
    assert _names(federation) == {"a", "b", "c", "d"}


def test_a_database_error_undoes_its_own_work_alone(federation: Federation) -> None:
    def doubled(transaction: Transaction) -> None:
        _name(transaction, "broken")
        row = {"identity_id": new_id(), "name": "broken", "created_at": 0.0}
        transaction.execute(sa.insert(schema.identities), [row])

    gate = Gate(federation.database)
    write = federation.database.write_soon
    futures: list[Future[Any]] = [write(_name, "a"), write(doubled), write(_name, "b")]
    gate.open()
    assert isinstance(futures[1].exception(ANSWER_S), sa.exc.IntegrityError)
    assert futures[0].exception(ANSWER_S) is futures[2].exception(ANSWER_S) is None
    assert _names(federation) == {"a", "b"}


def test_changes_are_told_of_what_was_committed(federation: Federation) -> None:
    good, failing = _grouped(federation)
    for each in [*good, failing]:
        each.exception(ANSWER_S)
    told = Changes()
    for change in federation.changes:
        told.update(change)
    assert told.groups == {"a", "b", "c", "d"}
    if federation.database.is_sqlite:
        assert len(federation.changes) == 1, "they shared one commit"


def test_a_lone_failure_leaves_nothing(federation: Federation) -> None:
    with pytest.raises(NotFound):
        federation.write(_name_then_fail, "broken")
    assert _names(federation) == set()
    assert federation.changes == []


def test_work_that_changed_nothing_wakes_nobody(federation: Federation) -> None:
    federation.write(identities.create_identity, "ada")
    assert federation.changes == []


def test_a_failing_listener_harms_nobody(registry_url: str) -> None:
    def fail(changes: Changes) -> None:
        raise RuntimeError("listener")

    with opened(registry_url, on_commit=fail) as database:
        name = new_id()
        database.write_soon(_name, name).result(ANSWER_S)
        assert name in asyncio.run(database.read(identities.list_identities)).values()
        database.write_soon(lambda transaction: transaction.execute(sa.delete(schema.identities))).result(ANSWER_S)


def test_closing_finishes_what_was_queued(registry_url: str) -> None:
    database = Database(registry_url)
    futures = [database.write_soon(_name, new_id()) for _ in range(100)]
    database.close()
    assert all(each.done() and each.exception() is None for each in futures)
    with opened(registry_url) as database:
        assert len(asyncio.run(database.read(identities.list_identities))) == 100
        database.write_soon(lambda transaction: transaction.execute(sa.delete(schema.identities))).result(ANSWER_S)


def test_written_is_readable_when_the_answer_comes(federation: Federation) -> None:
    async def write_and_read() -> None:
        for number in range(20):
            await federation.database.write(_name, str(number))
            assert str(number) in (await federation.database.read(identities.list_identities)).values()

    asyncio.run(write_and_read())


def test_a_read_sees_one_moment(federation: Federation) -> None:
    """What is committed between two statements of a read shows in neither."""

    def twice(transaction: Transaction) -> tuple[int, int]:
        count = sa.select(sa.func.count()).select_from(schema.identities)
        before = transaction.execute(count).scalar_one()
        federation.write(identities.create_identity, "meanwhile")
        return before, transaction.execute(count).scalar_one()

    assert federation.read(twice) == (0, 0)
    assert _names(federation) == {"meanwhile"}


def test_the_clock_stands_still_within_a_transaction(registry_url: str) -> None:
    ticks = iter(range(100))
    with opened(registry_url, clock=lambda: float(next(ticks))) as database:
        assert database.write_soon(lambda transaction: (transaction.now, transaction.now)).result(ANSWER_S) == (0, 0)
        assert database.write_soon(lambda transaction: transaction.now).result(ANSWER_S) == 1


def test_the_databases_own_clock_is_used(registry_url: str) -> None:
    with opened(registry_url) as database:
        first = database.write_soon(lambda transaction: transaction.now).result(ANSWER_S)
        assert first > 1_700_000_000
        assert database.write_soon(lambda transaction: transaction.now).result(ANSWER_S) >= first


@pytest.mark.parametrize("value", [2**70, "a\x00b"])
def test_a_value_no_database_holds_is_the_callers_mistake(federation: Federation, value: object) -> None:
    column = schema.tasks.c.sequence if isinstance(value, int) else schema.tasks.c.task_id

    def look(transaction: Transaction) -> int:
        return len(transaction.execute(sa.select(schema.tasks.c.sequence).where(column == value)).all())

    for run in (federation.read, federation.write):
        with contextlib.suppress(InvalidRequest):  # one database can look for it, the other cannot
            assert run(look) == 0
    assert _names(federation) == set()


# Work that stands by


def _note_work(transaction: Transaction, name: str) -> str:
    transaction.changes.work = True
    return _name(transaction, name)


def _follow(transaction: Transaction, wanted: str) -> str | None:
    """Names what came of the work it waits for, once that is there."""
    if wanted not in identities.list_identities(transaction).values():
        return None
    return identities.create_identity(transaction, f"after {wanted}")


def test_work_that_stands_by_shares_the_commit_it_waited_for(sqlite_registry: Federation) -> None:
    database = sqlite_registry.database
    standing = database.stand_by(_follow, "b")
    database.write_soon(_note_work, "a").result(ANSWER_S)
    assert standing.result() is None, "it found nothing yet, and stands by on"
    sqlite_registry.changes.clear()
    database.write_soon(_note_work, "b").result(ANSWER_S)
    assert len(sqlite_registry.changes) == 1
    assert {"b", "after b"} <= _names(sqlite_registry)
    assert standing.result() is not None
    database.write_soon(_note_work, "c").result(ANSWER_S)
    assert _names(sqlite_registry) == {"a", "b", "after b", "c"}, "it is done once"


def test_work_that_stands_by_sleeps_through_what_makes_no_work(sqlite_registry: Federation) -> None:
    standing = sqlite_registry.database.stand_by(_follow, "a")
    sqlite_registry.database.write_soon(_name, "a").result(ANSWER_S)
    assert standing.result() is None


def test_withdrawn_work_is_not_done(sqlite_registry: Federation) -> None:
    standing = sqlite_registry.database.stand_by(_follow, "a")
    standing.withdraw()
    sqlite_registry.database.write_soon(_note_work, "a").result(ANSWER_S)
    assert standing.result() is None
    assert _names(sqlite_registry) == {"a"}


def test_standing_work_that_fails_is_undone_alone(sqlite_registry: Federation) -> None:
    standing: StandingWork[Any] = sqlite_registry.database.stand_by(_name_then_fail, "broken")
    sqlite_registry.database.write_soon(_note_work, "a").result(ANSWER_S)
    with pytest.raises(NotFound, match="on purpose"):
        standing.result()
    assert _names(sqlite_registry) == {"a"}


def test_postgresql_has_no_place_for_guests(postgres_registry: str) -> None:
    with opened(postgres_registry) as database:
        standing = database.stand_by(_follow, "a")
        database.write_soon(_note_work, "a").result(ANSWER_S)
        assert standing.result() is None
        database.write_soon(lambda transaction: transaction.execute(sa.delete(schema.identities))).result(ANSWER_S)


def test_a_glance_sees_what_is_committed(federation: Federation) -> None:
    async def look() -> set[str]:
        return set((await federation.database.glance(identities.list_identities)).values())

    assert asyncio.run(look()) == set()
    federation.write(_name, "a")
    assert asyncio.run(look()) == {"a"}
    federation.write(_name, "b")
    assert asyncio.run(look()) == {"a", "b"}, "a glance holds on to no snapshot"


def test_a_group_that_cannot_be_committed_fails_whole(sqlite_registry: Federation) -> None:
    def dangling(transaction: Transaction) -> None:
        transaction.driver.execute("PRAGMA defer_foreign_keys=ON")
        transaction.driver.execute("ROLLBACK")

    database = sqlite_registry.database
    with pytest.raises(sqlite3.OperationalError):
        database.write_soon(dangling).result(ANSWER_S)
    assert database.write_soon(_name, "a").result(ANSWER_S)
    assert _names(sqlite_registry) == {"a"}, "the writer goes on"


# PostgreSQL


def test_changes_reach_other_replicas(postgres_registry: str) -> None:
    heard, told = threading.Event(), []

    def note(changes: Changes) -> None:
        told.append(changes)
        heard.set()

    stop = threading.Event()
    with opened(postgres_registry, on_commit=note) as listener, opened(postgres_registry) as writer:
        thread = threading.Thread(target=listener.listen, args=(stop,))
        thread.start()
        try:
            while not heard.wait(0.05):  # until it listens
                writer.write_soon(lambda transaction: transaction.changes.groups.add("g")).result(ANSWER_S)
        finally:
            stop.set()
            thread.join(ANSWER_S)
    assert told[0] == Changes(groups={"g"})


def test_work_is_repeated_after_a_lost_race_for_a_unique_key(postgres_registry: str) -> None:
    name = new_id()
    tries: list[int] = []
    with opened(postgres_registry) as database, opened(postgres_registry) as rival:

        def work(transaction: Transaction) -> str:
            found = identities.list_identities(transaction)
            if not tries:
                rival.write_soon(_name, name).result(ANSWER_S)
            tries.append(len(found))
            transaction.execute(sa.select(schema.identities))
            return next((key for key, value in found.items() if value == name), "") or _insert(transaction, name)

        winner = database.write_soon(work).result(ANSWER_S)
        assert len(tries) == 2
        assert asyncio.run(database.read(identities.list_identities)) == {winner: name}
        database.write_soon(lambda transaction: transaction.execute(sa.delete(schema.identities))).result(ANSWER_S)


def _insert(transaction: Transaction, name: str) -> str:
    transaction.execute(sa.insert(schema.identities), [{"identity_id": new_id(), "name": name, "created_at": 0.0}])
    raise AssertionError("the name was taken meanwhile")


def test_a_race_that_is_always_lost_ends(postgres_registry: str) -> None:
    tries = []

    def work(transaction: Transaction) -> None:
        tries.append(1)
        for _ in range(2):
            transaction.execute(sa.insert(schema.identities), [{"identity_id": "x", "name": "x", "created_at": 0.0}])

    with opened(postgres_registry) as database:
        assert isinstance(database.write_soon(work).exception(ANSWER_S), sa.exc.IntegrityError)
        assert len(tries) == 10
        assert asyncio.run(database.read(identities.list_identities)) == {}


# What cannot be used says why


def _refusal(url: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        Database(url)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert "FAAS_DATABASE_URL" in message
    return message


def test_an_unreachable_postgresql_is_named() -> None:
    port = free_port()
    message = _refusal(f"postgresql+psycopg://ada:hunter2@127.0.0.1:{port}/faas")
    assert f"127.0.0.1:{port}/faas" in message
    assert "refused" in message
    assert "hunter2" not in message


def test_a_wrong_password_is_not_shown(postgres_server: PostgresServer) -> None:
    message = _refusal(f"postgresql+psycopg://postgres:hunter2@127.0.0.1:{postgres_server.port}/postgres")
    assert "password authentication failed" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("url", ["nonsense", "", "mysql://ada:hunter2@host/db", "http://ada:hunter2@host"])
def test_a_url_of_another_kind_is_explained(url: str) -> None:
    message = _refusal(url)
    assert "postgresql+psycopg://" in message
    assert "hunter2" not in message


def test_the_usual_way_to_write_postgresql_is_understood(postgres_registry: str) -> None:
    with opened(postgres_registry.replace("+psycopg", "")) as database:
        assert not database.is_sqlite
        assert asyncio.run(database.read(identities.list_identities)) == {}


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no database\n" * 1000)
    assert str(path) in _refusal(f"sqlite:///{path}")
    assert path.read_text().startswith("no database")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in _refusal(f"sqlite:///{tmp_path}/file/registry.db")


def test_the_folder_of_a_new_database_is_made(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/deep/er/registry.db"):
        assert (tmp_path / "deep" / "er" / "registry.db").exists()


def test_sqlite_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/registry.db") as database:

        def pragma(transaction: Transaction, name: str) -> object:
            return transaction.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()

        assert database.write_soon(pragma, "journal_mode").result(ANSWER_S) == "wal"
        assert database.write_soon(pragma, "synchronous").result(ANSWER_S) == 2


# Network filesystems


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "gpfs", "cifs"])
def test_sqlite_on_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"rootfs / ext4 rw 0 0\nserver:/x {tmp_path} {kind} rw 0 0\n")
    monkeypatch.setattr(module, "file_system_of", lambda path: file_system_of(path, table))
    message = _refusal(f"sqlite:///{tmp_path}/data/registry.db")
    assert kind in message
    assert "--data-dir" in message
    assert not (tmp_path / "data").exists()
