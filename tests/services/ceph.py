"""A real S3 server for tests: Ceph's RADOS gateway over one monitor and one storage daemon that keeps all in memory."""

from __future__ import annotations

import http.client
import secrets
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path
from types import TracebackType

from tests.services.processes import Process, ServiceFailed, free_port
from tests.services.requirements import require
from tests.services.s3_account import S3Account

_PROGRAMS = {
    "ceph": "ceph-common",
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "monmaptool": "ceph-common",
    "radosgw": "radosgw",
    "radosgw-admin": "radosgw",
}
_STARTS = 3
_STORAGE_STARTS = 8
"""A start of the storage daemon now and then ends with 'wrong fsid': it asks the monitor before it knows its name."""

# Why these: no keys between the daemons, one replica, small delays, and tcp_nodelay, without which every
# GET takes 44 ms. "public addr" belongs to [osd] alone.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{monitor_port}
ms bind msgr2 = false
ms bind ipv6 = false
ms type = async+posix
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
run dir = {folder}/run
pid file =
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
log to stderr = false
crash dir = {folder}/log
mon cluster log file = {folder}/log/cluster.log
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon allow pool delete = true
mon max pg per osd = 2000
mon data avail crit = 1
mon data avail warn = 2
paxos propose interval = 0.05
paxos min wait = 0.01
debug ms = 0/0
debug rgw = 0/0
debug osd = 0/0
debug mon = 0/0
debug paxos = 0/0
debug rocksdb = 0/0
[mon]
mon data = {folder}/mon/$id
[osd]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd data = {folder}/osd/$id
osd objectstore = memstore
osd max object name len = 460
osd max object namespace len = 64
osd memory target = 939524096
osd class load list = *
osd class default list = *
memstore device bytes = {memory_bytes}
[client.rgw.a]
rgw data = {folder}/run
rgw frontends = beast endpoint=127.0.0.1:{gateway_port} tcp_nodelay=1
rgw enable usage log = false
rgw enable ops log = false
rgw lc debug interval = 5
rgw gc max objs = 4
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw gc processor max time = 5
rgw num control oids = 1
rgw override bucket index max shards = 1
rgw thread pool size = 32
rgw run sync thread = false
rgw dynamic resharding = false
"""


class CephGateway:
    """Ceph's S3 server on 127.0.0.1 and free ports; a context manager.

    A day of an object's life in a lifecycle rule lasts five seconds here.

    Args:
        memory_bytes: what the objects may take.

    Example:
        >>> with CephGateway() as gateway, gateway.account.bucket() as bucket:
        ...     gateway.account.client().put_object(Bucket=bucket, Key="a", Body=b"b")
    """

    def __init__(self, *, memory_bytes: int = 4 * 1024**3) -> None:
        self._programs = {name: require(name, package) for name, package in _PROGRAMS.items()}
        self._memory_bytes = memory_bytes
        self._daemons: dict[str, Process] = {}
        self._storage_starts = 0
        self._folder: Path | None = None
        self.account = S3Account("", secrets.token_hex(10), secrets.token_hex(20))

    def __enter__(self) -> CephGateway:
        for tries_left in reversed(range(_STARTS)):
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="faas-ceph-"))
                self._start(self._folder)
                break
            except BaseException as error:
                self._remove()
                # Somebody may have taken a port.
                if not tries_left or not isinstance(error, ServiceFailed):
                    raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _start(self, folder: Path) -> None:
        for name in ("mon", "osd/0", "run", "log"):
            (folder / name).mkdir(parents=True)
        identity, monitor_port, gateway_port = str(uuid.uuid4()), free_port(), free_port()
        (folder / "ceph.conf").write_text(
            _CONFIGURATION.format(
                fsid=identity,
                folder=folder,
                monitor_port=monitor_port,
                gateway_port=gateway_port,
                memory_bytes=self._memory_bytes,
            )
        )
        monitors = folder / "monitors"
        self._run(
            "monmaptool", "--create", "--fsid", identity, "--addv", "a", f"[v1:127.0.0.1:{monitor_port}]", monitors
        )
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitors)
        self._daemon("ceph-mon", "-i", "a")
        storage = str(uuid.uuid4())
        self._run("ceph", "--connect-timeout", "30", "osd", "new", storage)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", storage)
        self._daemon("ceph-osd", "-i", "0")
        # A gateway that comes up before the storage daemon waits five seconds for it.
        self._daemons["ceph-mon"].wait_until(self._storage_is_up)
        self._daemon("radosgw", "-n", "client.rgw.a").wait_until(
            lambda: self._storage_is_up() and _answers(gateway_port)
        )
        self._create_account(gateway_port)

    def _create_account(self, port: int) -> None:
        account = S3Account(f"http://127.0.0.1:{port}", self.account.access_key, self.account.secret_key)
        # Its own log and no socket: those of this name are the gateway's.
        names = ["-n", "client.rgw.a", "--admin-socket=", "--log-file=/dev/null"]
        keys = [f"--access-key={account.access_key}", f"--secret-key={account.secret_key}"]
        self._run("radosgw-admin", *names, "user", "create", "--uid=test", "--display-name=test", *keys)
        self.account = account

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [self._programs[program], *self._configuration(program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=False)
        if done.returncode:
            raise ServiceFailed(f"{program} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _daemon(self, program: str, *arguments: str) -> Process:
        assert self._folder is not None
        command = [self._programs[program], *self._configuration(program), "-f", *arguments]
        self._daemons[program] = Process(command, self._folder / "log" / program, stop_signal=signal.SIGKILL)
        return self._daemons[program]

    def _storage_is_up(self) -> bool:
        """Tell whether the storage daemon runs, having started it again if it ended."""
        assert self._folder is not None
        socket = self._folder / "run" / "osd.0.asok"
        if self._daemons["ceph-osd"].has_ended():
            self._storage_starts += 1
            if self._storage_starts >= _STORAGE_STARTS:
                raise ServiceFailed(f"ceph-osd ended {self._storage_starts} times")
            socket.unlink(missing_ok=True)
            self._daemon("ceph-osd", "-i", "0")
        return socket.exists()

    def _configuration(self, program: str) -> list[str | Path]:
        assert self._folder is not None
        return [] if program == "monmaptool" else ["-c", self._folder / "ceph.conf"]

    def _remove(self) -> None:
        # Killed, not asked: nothing is to be kept, and an orderly end takes five seconds.
        for daemon in reversed(self._daemons.values()):
            daemon.stop()
        self._daemons.clear()
        self._storage_starts = 0
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
