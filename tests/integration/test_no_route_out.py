"""Compute nodes with no way out: workers in a network of their own, where the agent's host is all they can reach."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faas
from faas.models import PART_BYTES
from tests.services.federation import Federation
from tests.services.requirements import missing, require

LIMIT_S = 120
OUTSIDE = "192.0.2.1"


@contextmanager
def secluded_network() -> Iterator[tuple[str, str]]:
    """A network namespace with one wire to this host; yields its name and this host's address there."""
    ip = require("ip", "iproute2")
    if os.geteuid() != 0:
        missing("root is needed to make a network")
    name = f"faas{os.getpid()}"
    subnet = f"10.231.{os.getpid() % 250}"
    inside: list[str | Path] = [ip, "-n", name]
    subprocess.run([ip, "netns", "add", name], check=True)
    try:
        commands: list[list[str | Path]] = [
            [ip, "link", "add", name, "type", "veth", "peer", "name", "wire", "netns", name],
            [ip, "address", "add", f"{subnet}.1/30", "dev", name],
            [ip, "link", "set", name, "up"],
            [*inside, "link", "set", "lo", "up"],
            [*inside, "address", "add", f"{subnet}.2/30", "dev", "wire"],
            [*inside, "link", "set", "wire", "up"],
        ]
        for command in commands:
            subprocess.run(command, check=True)
        yield name, f"{subnet}.1"
    finally:
        subprocess.run([ip, "netns", "delete", name], check=True)


def look_around(data: bytes, *places: tuple[str, int]) -> tuple[bytes, int, list[str]]:
    """What it was given, the network it is in, and the places it can reach."""
    import pathlib
    import socket

    reached = []
    for host, port in places:
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex((host, port)) == 0:
                reached.append(host)
    return data[::-1], pathlib.Path("/proc/self/ns/net").stat().st_ino, reached


def zeros(length: int) -> bytes:
    """A result too large for one upload."""
    return bytes(length)


def test_results_go_through_the_agent(tmp_path: Path) -> None:
    with secluded_network() as (network, address), Federation(tmp_path) as federation:
        go_there = f'[ -n "$SECLUDED" ] || SECLUDED=1 exec ip netns exec {network} bash "$0"'
        settings = f"engine: {{address: {address}}}\nscheduler:\n  worker_init: '{go_there}'\n"
        federation.add_endpoint("lab", workers=1, settings=settings)
        places = [("127.0.0.1", federation.port), (address, federation.port), (OUTSIDE, 443)]
        with federation.client() as client, faas.Executor(client=client, endpoint_id="lab") as executor:
            for data in (b"small", bytes(range(256)) * 30_000):
                reversed_data, where, reached = executor.submit(look_around, data, *places).result(LIMIT_S)
                assert reversed_data == data[::-1]
                assert where != Path("/proc/self/ns/net").stat().st_ino
                assert reached == []
            large = executor.submit(zeros, PART_BYTES + 1)
            assert large.result(LIMIT_S) == bytes(PART_BYTES + 1)
            assert client.get_task(large.task_id)["location_key"].startswith("results/")
