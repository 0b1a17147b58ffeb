"""What `faas up` checks before it starts anything: its data directory, and its port."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from faas.errors import ConfigurationError

CREDENTIALS = "credentials.json"
ADMIN_CREDENTIALS = "admin-credentials.json"


def prepare_directory(directory: Path) -> None:
    """Make the data directory, private to its owner, and see that it can be used.

    Raises:
        ConfigurationError: it cannot be made or written, or holds the credentials of another service.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=directory):
            pass
        (directory / "logs").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigurationError(
            f"The data directory {directory} cannot be written: {error.strerror}. Choose another with --data-dir."
        ) from error
    if (directory / CREDENTIALS).exists() and not (directory / ADMIN_CREDENTIALS).exists():
        raise ConfigurationError(
            f"{directory / CREDENTIALS} belongs to a service that does not live in {directory}, and would be "
            "overwritten. Choose another directory with --data-dir."
        )


@contextlib.contextmanager
def sole_user(directory: Path) -> Iterator[None]:
    """Hold the data directory against a second `faas up`; the kernel lets go when this process ends.

    Raises:
        ConfigurationError: another one holds it; the message has its pid.
    """
    descriptor = os.open(directory / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise ConfigurationError(
                f"`faas up` runs on {directory} already (pid {pid}). Stop it first, or use another --data-dir."
            ) from None
        except OSError:
            pass  # a file system without locks: the port still tells two of them apart
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def check_port(host: str, port: int) -> None:
    """See that the service will be able to listen.

    Raises:
        ConfigurationError: the port is in use or reserved, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise ConfigurationError(f"--host {host}: {error.strerror}. Use an address of this machine.") from None
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"Port {port} on {host} is in use. Choose another with --port.",
            errno.EACCES: f"Port {port} needs root. Choose one above 1023 with --port.",
            errno.EADDRNOTAVAIL: f"--host {host} is not an address of this machine.",
        }
        unforeseen = f"Cannot listen on {host}, port {port}: {error.strerror}."
        raise ConfigurationError(reasons.get(error.errno or 0, unforeseen)) from None


def own_url(host: str, port: int, *, tls: bool) -> str:
    """The URL at which this machine itself reaches a service bound to ``host``."""
    with contextlib.suppress(ValueError):
        if ip_address(host).is_unspecified:  # every address, so loopback too
            host = "::1" if ":" in host else "127.0.0.1"
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
