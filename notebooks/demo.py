"""The demo: measured X-ray fluorescence spectra, fitted with PyMca5 at whichever of two sites has room.

Starts a service and two endpoints on this machine, registers the analysis once, invokes it by its ID on many
spectra, checks that the elements known to be in the samples were found, and stops everything it started.

    python notebooks/demo.py [--copies N] [--directory DIR]
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import faas
import xrf_fit
import xrf_spectra
from demo_sites import SiteFailed, federation

SITES = ["beamline", "campus"]
"""Two endpoints; on real ground, the computer beside the instrument and a cluster elsewhere."""
SEED = 20_241_122


@dataclass(frozen=True)
class Analysed:
    """A spectrum, what the analysis made of it, and the task that did it."""

    spectrum: xrf_spectra.Spectrum
    result: dict[str, Any]
    task: dict[str, Any]

    @property
    def run_s(self) -> float:
        """Run time of the attempt that gave the result."""
        attempt = self.task["attempts"][-1]
        return float(attempt["run_s"] or 0.0)


def main() -> int:
    """Run the demo.

    Returns:
        The exit code: 1 when a known element was not found, 130 when interrupted.
    """
    parser = argparse.ArgumentParser(description="Fit measured X-ray fluorescence spectra at two sites.")
    parser.add_argument("--copies", type=int, default=40, help="noisy copies of each kind of the cobalt standard")
    parser.add_argument("--directory", type=Path, help="keep everything here; by default a new temporary directory")
    arguments = parser.parse_args()
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="faas-demo-"))
    console = Console(highlight=False)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with federation(directory.absolute(), SITES, workers=1, say=console.print) as client:
            analysed = analyse(client, arguments.copies, console)
            report(analysed, console)
            say_where_results_lie(analysed, directory, console)
            complaints = [line for one in analysed for line in xrf_spectra.missing(one.spectrum, one.result)]
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything is stopped.")
        return 130
    except (SiteFailed, faas.FaasError) as error:
        Console(stderr=True, highlight=False).print(f"The demo failed: {error}", style="bold red")
        return 1
    if complaints:
        failures = Console(stderr=True, highlight=False)
        failures.print(f"{len(complaints)} known elements were NOT found as they should be:", style="bold red")
        for line in complaints[:20]:
            failures.print(f"  {line}", style="red")
        return 1
    console.print(f"All {sum(len(one.spectrum.known) for one in analysed)} amounts known beforehand were found.")
    return 0


def analyse(client: faas.Client, copies: int, console: Console) -> list[Analysed]:
    """Register the analysis, invoke it on every spectrum wherever there is room, and collect the results."""
    function_id = client.register_function(
        xrf_fit.fit_spectrum, name="fit-xrf-spectrum", description="Fit an XRF spectrum.", modules=[xrf_fit]
    )
    console.print(f"Registered fit-xrf-spectrum as {function_id}")

    # The cobalt in the standard fixes the beam's flux, once; with it all other spectra are measured.
    standard = xrf_spectra.cobalt_standard()
    task_id = client.run(standard.counts, standard.configuration, function_id=function_id, endpoint_id="any")
    flux = client.get_result(task_id)["flux"]
    console.print(f"The standard's cobalt fixes the scale: {flux:.4g} photons/s\n")

    random = numpy.random.default_rng(SEED)
    spectra = _interleaved(
        _with_copies(xrf_spectra.steel(), copies // 4, random),
        _with_copies(xrf_spectra.cobalt_standard(flux), copies, random),
    )
    bar = Progress(
        TextColumn("Fitting spectra"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )
    start = time.monotonic()
    with faas.Executor(client=client, endpoint_id="any") as executor:
        try:
            futures = {
                executor.submit_to_registered_function(
                    function_id, args=(spectrum.counts, spectrum.configuration, spectrum.exposure)
                ): spectrum
                for spectrum in spectra
            }
            with bar:
                counting = bar.add_task("", total=len(futures))
                for future in as_completed(futures):
                    future.result()
                    bar.advance(counting)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    console.print(f"{len(spectra)} spectra in {time.monotonic() - start:.1f} s\n")
    return [
        Analysed(spectrum, future.result(), client.get_task(str(future.task_id)))
        for future, spectrum in futures.items()
    ]


def _with_copies(
    measured: xrf_spectra.Spectrum, copies: int, random: numpy.random.Generator
) -> list[xrf_spectra.Spectrum]:
    """The measured spectrum, repeated measurements, and measurements a tenth as long."""
    return [measured, *measured.with_noise(copies, 1.0, random), *measured.with_noise(copies, 0.1, random)]


def _interleaved(*groups: list[xrf_spectra.Spectrum]) -> list[xrf_spectra.Spectrum]:
    """Spread each group over the whole, as experiments at the same time would."""
    spread = [(index / len(group), spectrum) for group in groups for index, spectrum in enumerate(group)]
    return [spectrum for _, spectrum in sorted(spread, key=lambda placed: placed[0])]


def report(analysed: list[Analysed], console: Console) -> None:
    """Print a table: copies of one kind that ran at one site share a line."""
    kinds: dict[tuple[str, bool, float, str], list[Analysed]] = defaultdict(list)
    for one in analysed:
        spectrum = one.spectrum
        kinds[spectrum.name, spectrum.copy_number > 0, -spectrum.exposure, one.task["endpoint"]].append(one)
    table = Table(width=min(80, console.width), pad_edge=False)
    table.add_column("spectrum")
    table.add_column("site")
    table.add_column("no.", justify="right")
    table.add_column("found (mean ± scatter)", ratio=1)
    table.add_column("run", justify="right")
    previous = ""
    for (name, copied, exposure, site), group in sorted(kinds.items()):
        if previous and previous != name:
            table.add_section()
        previous = name
        kind = "measured" if not copied else "repeated" if exposure == -1 else f"{-exposure:g} of the time"
        run_s = f"{statistics.median(one.run_s for one in group):.1f} s"
        table.add_row(f"{name}\n{kind}", site, str(len(group)), _amounts(group), run_s)
    console.print(table)
    console.print("Steel: mass per cent, certified Cr 18.37, Fe 64.31, Ni 12.35, Mn 1.62, Cu 0.175.")
    console.print("Standard: its header vouches for 500 ppm of Co, which set the scale.\n")


def _amounts(group: list[Analysed]) -> str:
    """The known elements with their amounts, then the other elements found in every spectrum of a group."""
    first = group[0]
    shown = []
    for name in first.spectrum.known:
        fractions = [one.result["groups"][name]["mass_fraction"] for one in group]
        noise = statistics.stdev(fractions) if len(group) > 1 else first.result["groups"][name]["mass_fraction_sigma"]
        shown.append(f"{name.split()[0]} {_amount(statistics.fmean(fractions), noise)}")
    known = {name.split()[0] for name in first.spectrum.known}
    others = dict.fromkeys(
        name.split()[0]
        for name in first.result["groups"]
        if all(one.result["groups"][name]["found"] for one in group) and name.split()[0] not in known
    )
    named = " ".join(others) if first.spectrum.copy_number == 0 else f"{len(others)} others"
    return f"{', '.join(shown)}; also {named}" if others else ", ".join(shown)


def _amount(fraction: float, noise: float) -> str:
    if fraction < 1e-3:
        return f"{1e6 * fraction:.0f}±{1e6 * noise:.0f} ppm"
    digits = 2 if fraction > 1e-2 else 3
    return f"{1e2 * fraction:.{digits}f}±{1e2 * noise:.{digits}f} %"


def say_where_results_lie(analysed: list[Analysed], directory: Path, console: Console) -> None:
    """Tell where the store keeps the results, with one of them as an example."""
    keys = sorted({one.task["location_key"] for one in analysed})
    console.print(f"The {len(analysed)} results are ranges of {len(keys)} objects in {directory / 'store'}")
    example = analysed[0]
    location = example.task["location"]
    offset, length = location["offset"], location["length_bytes"]
    console.print(f"  {example.spectrum.name}: bytes {offset} to {offset + length} of")
    console.print(f"  {example.task['location_key']}\n", soft_wrap=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
