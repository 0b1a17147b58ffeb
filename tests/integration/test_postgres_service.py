"""The PostgreSQL fixture itself: databases are apart, and a durable server keeps commits through a kill."""

from __future__ import annotations

import psycopg
import pytest

from tests.services.postgres import PostgresServer


def _connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


@pytest.mark.parametrize("repetition", [1, 2])
def test_each_test_has_its_own_database(postgres_url: str, repetition: int) -> None:
    with _connect(postgres_url) as connection:
        connection.execute("CREATE TABLE marker (id integer)")  # a leftover would make this fail


def test_a_database_is_dropped_under_an_open_connection(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    with _connect(url) as connection:
        postgres_server.drop_database(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_durable_server_keeps_commits_through_a_kill() -> None:
    with PostgresServer(durable=True) as server:
        url = server.create_database()
        with _connect(url) as connection:
            connection.execute("CREATE TABLE kept (id integer)")
            connection.execute("INSERT INTO kept VALUES (42)")
        server.kill()
        server.start()
        with _connect(url) as connection:
            assert connection.execute("SELECT id FROM kept").fetchall() == [(42,)]
