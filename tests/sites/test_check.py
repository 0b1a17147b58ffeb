"""`faas endpoint check`, dry runs, and stopping from another login node, at a real Slurm."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import faas
from endpoints.session import SessionState
from tests.services.federation import COMMAND, Federation
from tests.services.hosts import on_host
from tests.services.processes import Process
from tests.sites.cluster import Cluster
from tests.sites.node_processes import job_processes
from tests.sites.site import QUICK_BLOCKS, SCHEDULER, SETTINGS, site

LIMIT_S = 180


def run(federation: Federation, cluster: Cluster, *arguments: str, code: int = 0) -> str:
    ended = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={**os.environ, **cluster.environment(), "FAAS_HOME": str(federation.directory)},
    )
    assert ended.returncode == code, ended.stderr + ended.stdout
    return ended.stdout if code == 0 else ended.stdout + ended.stderr


def findings(text: str) -> dict[str, tuple[str, str, str]]:
    return {each["what"]: (each["state"], each["told"], each["fix"]) for each in json.loads(text)}


def test_all_is_well_and_nothing_stays(slurm: Cluster, tmp_path: Path) -> None:
    with Federation(tmp_path / "f") as federation:
        federation.faas("endpoint", "configure", "lab")
        federation.reconfigure("lab", SETTINGS + SCHEDULER)
        found = findings(run(federation, slurm, "endpoint", "check", "lab", "--json"))
        assert {state for state, _, _ in found.values()} <= {"ok", "warn"}
        assert {"python", "proxy", "service", "token", "clock", "disk", "scheduler", "block"} <= found.keys()
        assert "to start at" in found["account and partition"][1]
        assert found["block"][0] == found["call in environment default"][0] == "ok"
        assert len([job for job in slurm.jobs() if job.name.startswith("faas")]) == 1
        assert slurm.left_jobs() == []
        assert not (federation.directory / "endpoints" / "lab" / "check").exists()


def test_what_is_wrong_is_said_with_the_fix(slurm: Cluster, tmp_path: Path) -> None:
    with Federation(tmp_path / "f") as federation:
        federation.faas("endpoint", "configure", "lab")
        bad = "scheduler: {account: newcomers, status_period_s: 1}\nenvironments: {old: {python: /no/python}}\n"
        federation.reconfigure("lab", SETTINGS + bad)
        lines = run(federation, slurm, "endpoint", "check", "lab", code=1).splitlines()
        assert any(
            re.match(r"FAIL  account and partition: .*Invalid account.* - correct `scheduler:`", x) for x in lines
        )
        assert any(re.match(r"FAIL  block: .*Invalid account", x) for x in lines)
        assert any(re.match(r"warn  environment old: /no/python: No such file.* - correct", x) for x in lines)
        federation.reconfigure("lab", SETTINGS + "scheduler: {worker_init: 'echo no module >&2; exit 3'}\n")
        assert "no module" in run(federation, slurm, "endpoint", "check", "lab", code=1)
        assert slurm.left_jobs() == []


def test_a_busy_queue_is_a_warning(slurm: Cluster, tmp_path: Path) -> None:
    with Federation(tmp_path / "f") as federation:
        federation.faas("endpoint", "configure", "lab")
        federation.reconfigure("lab", SETTINGS + SCHEDULER)
        slurm.close_queue("debug")
        found = findings(run(federation, slurm, "endpoint", "check", "lab", "--block-wait", "4", "--json"))
        assert found["block"][0] == "warn" and "queued" in found["block"][1]
        assert slurm.left_jobs() == []


def test_a_dry_run_prints_what_is_submitted(slurm: Cluster, tmp_path: Path) -> None:
    shapes = "shapes: {small: {cores: 1, workers: 2}, big: {cores: 2, memory_gb: 2, workers: 1}}\n"
    with site(tmp_path / "f", slurm, SCHEDULER + QUICK_BLOCKS + shapes) as lab:
        printed = run(lab.federation, slurm, "endpoint", "start", "lab", "--dry-run")
        assert slurm.jobs() == []
        small, big = (part.partition("\n") for part in printed.split("# Shape ")[1:])
        assert small[0].startswith("small; submitted with: sbatch /") and big[0].startswith("big;")
        assert "#SBATCH --mem=2g" in big[2]
        with lab.executor() as executor:
            assert executor.submit(pow, 2, 3).result(LIMIT_S) == 8
        (script,) = (lab.federation.directory / "endpoints" / "lab" / "run" / "engine" / "small").glob(
            "submit_scripts/faas*-1.*[0-9]"
        )

        def alike(text: str) -> str:
            """Without a session's nonce, the moment, and the port that was free."""
            text = re.sub(r"faas[0-9a-f]{8}-1(\.[0-9.]+[0-9])?", "NAME", text)
            return re.sub(r"--port=\w+", "--port=PORT", text).strip()

        assert alike(small[2]) == alike(script.read_text())


def test_jobs_of_a_dead_host_are_cancelled_from_another(slurm: Cluster, tmp_path: Path) -> None:
    with Federation(tmp_path / "f") as federation:
        federation.faas("endpoint", "configure", "lab")
        federation.reconfigure("lab", SETTINGS + SCHEDULER + QUICK_BLOCKS)
        agent = Process(
            on_host("login1", [*COMMAND, "endpoint", "start", "lab"]),
            tmp_path / "login1.log",
            environment={**slurm.environment(), "FAAS_HOME": str(federation.directory)},
        )
        agent.wait_until(lambda: federation.state("lab").host == "login1" and federation.state("lab").ready)
        with faas.Executor(client=federation.client(), endpoint_id="lab") as executor:
            assert executor.submit(pow, 2, 3).result(LIMIT_S) == 8
            (job,) = slurm.live_jobs()
            # Pilots that find no agent end within seconds; these do not get to.
            for process in job_processes(slurm.slurm_conf):
                process.suspend()
            agent.kill()
            assert "already runs on host login1" in run(federation, slurm, "endpoint", "stop", "lab", code=1)
            assert [each.job_id for each in slurm.live_jobs()] == [job.job_id]
            said = ""
            while "is dead" not in said:  # the service takes a while to notice
                said = subprocess.run(
                    [*COMMAND, "endpoint", "stop", "lab"],
                    capture_output=True,
                    text=True,
                    check=False,
                    env={**os.environ, **slurm.environment(), "FAAS_HOME": str(federation.directory)},
                ).stdout
            assert "1 batch job(s)" in said
        assert slurm.left_jobs() == []
        assert SessionState.load(federation.directory / "endpoints" / "lab" / "state.json") is None
