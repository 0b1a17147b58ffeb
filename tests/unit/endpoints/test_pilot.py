"""The pilot's own watches: it does not stay when what it waits for is not to come."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import zmq

from endpoints import pilot

LIMIT_MS = 60_000
PROGRAM = f"""
import runpy, sys
watched = runpy.run_path({pilot.__file__!r})
watched["main"].__globals__["ANSWER_S"] = 0.5
watched["main"]()
"""


def test_a_pilot_whose_interchange_is_gone_when_it_has_found_it_ends(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as interchange:
        interchange.linger = 0
        port = interchange.bind_to_random_port("tcp://127.0.0.1")
        options = [
            f"--port={port}",
            "--addresses=127.0.0.1",
            "--cert_dir=None",
            f"--logdir={tmp_path}",
            "--block_id=b1",
        ]
        options += ["--max_workers_per_node=1", "--mem_per_worker=None", "--drain_period=None"]
        options += ["--cpu-affinity=none", "--mpi-launcher=mpiexec"]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "parsl.executors.high_throughput.process_worker_pool", *options],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            start_new_session=True,
        )
        try:
            asked = []
            for _ in range(2):
                assert interchange.poll(LIMIT_MS), "the pilot did not ask"
                name, message = interchange.recv_multipart()
                asked.append(pickle.loads(message)["type"])
                if len(asked) == 1:  # that is the last that it hears
                    interchange.send_multipart([name, b""])
            assert asked == ["connection_probe"] * 2
            _, said = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    assert process.returncode == -signal.SIGTERM, said
    assert "has not answered" in said
