"""How fast data travels by reference, against plain boto3 at the same server: `python -m tests.benchmarks.data`.

One large result from a worker to the client, and many of 100 kB, each beside the same bytes put and got by boto3 in the
same run; and what the service's memory grows by meanwhile. The S3 server, the service, the worker and the client share
this machine with whatever else runs on it: look at its load first.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

import faas
from tests.services.ceph import CephGateway
from tests.services.federation import Federation

MARKS = {"large": 0.8, "many": 0.7, "service_growth_mb": 30.0}
_LIMIT_S = 600.0
_THREADS = 8
_MANY_BYTES = 100_000


def piece(length: int) -> bytes:
    """A result of this length, made at once."""
    return b"x" * length


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="of the large result")
    parser.add_argument("--results", type=int, default=2000, help="of 100 kB")
    parser.add_argument("--rounds", type=int, default=2, help="of each; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    with (
        tempfile.TemporaryDirectory(prefix="faas-data-") as directory,
        CephGateway() as gateway,
        gateway.account.bucket() as bucket,
    ):
        environment = {**gateway.account.environment, "FAAS_STORE": f"s3://{bucket}/results"}
        s3 = gateway.account.client()
        with Federation(Path(directory) / "federation", environment) as federation:
            federation.add_endpoint("lab", workers=2)
            with federation.client() as client:
                figures = {
                    **_large(client, federation, s3, bucket, Path(directory), arguments.megabytes * 10**6, arguments),
                    **_many(client, s3, bucket, arguments),
                }
    figures["load"] = os.getloadavg()[0]
    _show(console, figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def _large(
    client: faas.Client, federation: Federation, s3: Any, bucket: str, directory: Path, size: int, arguments: Any
) -> dict[str, float]:
    source, copy = directory / "source", directory / "copy"
    source.write_bytes(piece(size))
    function_id = client.register_function(piece)
    client.get_result(client.run(2_000_000, function_id=function_id), _LIMIT_S)
    service = psutil.Process(federation.service_pid)
    before = service.memory_info().rss

    def plain() -> None:
        s3.upload_file(str(source), bucket, "plain")
        s3.download_file(bucket, "plain", str(copy))
        s3.delete_object(Bucket=bucket, Key="plain")

    def ours() -> None:
        assert len(client.get_result(client.run(size, function_id=function_id), _LIMIT_S)) == size

    plain_s, ours_s = _side_by_side(plain, ours, arguments.rounds)
    return {
        "large_plain_mb_s": 2 * size / 1e6 / plain_s,
        "large_ours_mb_s": 2 * size / 1e6 / ours_s,
        "large": plain_s / ours_s,
        "service_growth_mb": max(0.0, (service.memory_info().rss - before) / 1e6),
    }


def _many(client: faas.Client, s3: Any, bucket: str, arguments: Any) -> dict[str, float]:
    count, data = arguments.results, piece(_MANY_BYTES)

    def plain() -> None:
        def there_and_back(number: int) -> None:
            s3.put_object(Bucket=bucket, Key=f"plain/{number}", Body=data)
            s3.get_object(Bucket=bucket, Key=f"plain/{number}")["Body"].read()

        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(there_and_back, range(count)))

    def ours() -> None:
        with faas.Executor(client=client, endpoint_id="lab") as executor:
            assert sum(map(len, executor.map(piece, [_MANY_BYTES] * count))) == count * _MANY_BYTES

    plain_s, ours_s = _side_by_side(plain, ours, arguments.rounds)
    return {"many_plain_per_s": count / plain_s, "many_ours_per_s": count / ours_s, "many": plain_s / ours_s}


def _side_by_side(plain: Callable[[], None], ours: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Medians, in seconds, of rounds that take turns, so that both see the same machine."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for call, times in zip((plain, ours), taken, strict=True):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
    return median(taken[0]), median(taken[1])


def _show(console: Console, figures: dict[str, float]) -> None:
    table = Table("figure", "value", "mark")
    for name, value in figures.items():
        mark = MARKS.get(name)
        bound = "" if mark is None else f"{'<' if name.endswith('_mb') else '>='} {mark:g}"
        table.add_row(name, f"{value:,.2f}", bound)
    console.print(table)


if __name__ == "__main__":
    main()
