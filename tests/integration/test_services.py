"""The fixtures themselves: databases are apart, missing software is said, nothing outlives the run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.services.ceph import CephGateway
from tests.services.moto_server import MotoServer
from tests.services.postgres import PostgresServer
from tests.services.processes import Process, ServiceFailed, runs, still_running
from tests.services.requirements import require

_SLEEPER = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]


class TestPostgres:
    @pytest.mark.parametrize("repetition", [1, 2])
    def test_each_test_has_its_own_database(self, postgres_url: str, repetition: int) -> None:
        with _connect(postgres_url) as connection:
            connection.execute("CREATE TABLE marker (id integer)")  # a leftover would make this fail

    def test_a_database_is_dropped_under_an_open_connection(self, postgres_server: PostgresServer) -> None:
        url = postgres_server.create_database()
        with _connect(url) as connection:
            postgres_server.drop_database(url)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")

    def test_a_durable_server_keeps_commits_through_a_kill(self) -> None:
        with PostgresServer(durable=True) as server:
            url = server.create_database()
            with _connect(url) as connection:
                connection.execute("CREATE TABLE kept (id integer)")
                connection.execute("INSERT INTO kept VALUES (42)")
            server.kill()
            server.start()
            with _connect(url) as connection:
                assert connection.execute("SELECT id FROM kept").fetchall() == [(42,)]


@pytest.fixture
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders are made in this test, but for pytest's; PostgreSQL's user may pass through it."""
    folder = Path(tempfile.mkdtemp(prefix="faas-test-"))
    folder.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("service", [PostgresServer, MotoServer, CephGateway])
def test_a_service_leaves_neither_processes_nor_files(
    service: type[PostgresServer] | type[MotoServer] | type[CephGateway], temporary_folder: Path
) -> None:
    before = _children()

    def fail_while_it_runs() -> None:
        with service():
            assert _children() > before
            assert list(temporary_folder.iterdir())
            raise RuntimeError("a test fails")

    with pytest.raises(RuntimeError, match="a test fails"):
        fail_while_it_runs()
    assert _children() == before
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_neither_processes_nor_files(
    interruption: signal.Signals, temporary_folder: Path, tmp_path: Path
) -> None:
    test = tmp_path / "test_waits.py"
    test.write_text(
        "import signal\n\n"
        "def test_waits(postgres_url: str, moto_server: object, pytestconfig) -> None:\n"
        "    pytestconfig.pluginmanager.getplugin('capturemanager').suspend_global_capture()\n"
        "    print('waiting', flush=True)\n"
        "    signal.pause()\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.services.fixtures", "-p", "no:cacheprovider", str(test)]
    environment = {**os.environ, "TMPDIR": str(temporary_folder)}
    run = subprocess.Popen(
        [*command, "--rootdir", str(tmp_path), "--basetemp", str(tmp_path / "base")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert run.stdout is not None
        assert any("waiting" in line for line in run.stdout)
        started = psutil.Process(run.pid).children(recursive=True)
        assert started
        run.send_signal(interruption)
        run.communicate(timeout=60)
    finally:
        run.kill()
    assert still_running(started) == []
    assert list(temporary_folder.iterdir()) == []


class TestProcess:
    def test_it_ends_when_the_run_is_killed(self, tmp_path: Path) -> None:
        program = (
            "import os, sys\nfrom pathlib import Path\nfrom tests.services.processes import Process\n"
            f"log = Path(sys.argv[1])\nprocess = Process({_SLEEPER!r}, log)\n"
            "process.wait_until(lambda: b'up' in log.read_bytes())\nprint(process.pid, flush=True)\n"
            "os.kill(os.getpid(), 9)\n"
        )
        run = subprocess.run([sys.executable, "-c", program, tmp_path / "log"], capture_output=True, text=True)
        assert run.returncode == -signal.SIGKILL, run.stderr
        try:
            orphan = psutil.Process(int(run.stdout))
        except psutil.NoSuchProcess:
            return  # it was quick
        if still_running([orphan]):
            orphan.kill()
            pytest.fail("it outlived the run")

    def test_one_that_does_not_listen_is_killed(self, tmp_path: Path) -> None:
        deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
        log = tmp_path / "log"
        process = Process([sys.executable, "-c", deaf], log)
        process.wait_until(lambda: b"deaf" in log.read_bytes())
        process.stop(timeout_s=0.1)
        process.stop()
        assert process.has_ended()
        assert not runs(process.pid)

    def test_its_last_words_are_told(self, tmp_path: Path) -> None:
        process = Process([sys.executable, "-c", "raise SystemExit('the last words')"], tmp_path / "log")
        with pytest.raises(ServiceFailed, match=r"(?s)ended with 1.*the last words"):
            process.wait_until(lambda: False)


class TestMissingSoftware:
    def test_it_skips_the_test_and_names_the_package(self) -> None:
        with pytest.raises(pytest.skip.Exception, match=r"no-such-program .*no-such-package.*make system-deps"):
            require("no-such-program", "no-such-package")

    @pytest.mark.parametrize(
        ("required", "ends"), [("", "3 skipped, 1 xfailed"), ("1", "1 failed, 1 xfailed, 2 errors")]
    )
    def test_every_skip_is_a_failure_where_all_is_required(self, tmp_path: Path, required: str, ends: str) -> None:
        (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_package')\n")
        (tmp_path / "test_tests.py").write_text(
            "import pytest\nfrom tests.services.requirements import require\n"
            "def test_a(): require('no-such-program', 'no-such-package')\n"
            "@pytest.mark.skipif(True, reason='for a reason')\ndef test_b(): pass\n"
            "@pytest.mark.xfail\ndef test_c(): assert False\n"
        )
        options = ["-p", "tests.services.requirements", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-rs", *options, "--rootdir", str(tmp_path), str(tmp_path)],
            env={**os.environ, "FAAS_TESTS_REQUIRE_ALL": required},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ends in ended.stdout, ended.stdout + ended.stderr
        for reason in ("make system-deps", "for a reason", "no_such_package"):
            assert reason in ended.stdout

    def test_what_is_there_is_found(self) -> None:
        assert os.access(require("sh", "dash"), os.X_OK)


def _connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def _children() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}
