"""`faas simulate`: what a workload would do over some sites, by policy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faas.commands.display import AsJson, print_fields, print_json, print_table, print_wrapped, span
from faas.errors import ConfigurationError

if TYPE_CHECKING:
    from router.simulation.comparison import Comparison

_DEFAULT_POLICIES = ["round_robin", "shortest_backlog", "first_free", "fastest"]


def simulate(
    scenario: Annotated[str | None, typer.Argument(help="Name of a shipped scenario, or a YAML file.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show the scenarios that are shipped.")] = False,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help="A policy to try; several times for several. [default: all]")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="How often, each time with other luck.")] = 5,
    figure: Annotated[Path | None, typer.Option(help="Draw it to this file (.png, .svg, .pdf).")] = None,
    controller: Annotated[str, typer.Option(help="The pilot controller that judges blocks.")] = "standard",
    as_json: AsJson = False,
) -> None:
    """Predict how a workload runs over some sites, by policy.

    Decided by the very policies, site model and pilot controller that decide in the service and at the sites. Shown
    are means over the seeds: of the makespan, also by the bound, which is what somebody could reach who knew every
    queue wait and run time beforehand; of a task's turnaround, median and 95th percentile; of the node-hours, also by
    the work in them.
    """
    from router.simulation.comparison import compare
    from router.simulation.controllers import find_controller
    from router.simulation.scenario import find_scenario, scenario_names

    if listed:
        names = scenario_names()
        if as_json:
            print_json([{"name": name, "about": about} for name, about in names.items()])
        else:
            print_fields(names, wrapped=True)
        return
    if scenario is None:
        raise ConfigurationError("Which scenario? Name one that `faas simulate --list` shows, or a YAML file.")
    found = find_scenario(scenario)
    policies = policy or _DEFAULT_POLICIES

    with typer.progressbar(length=seeds * len(policies), label=found.name, file=sys.stderr, hidden=as_json) as bar:
        result = compare(found, policies, seeds, find_controller(controller), lambda name, seed: bar.update(1))
    if figure is not None:
        _draw(result, figure)
    if as_json:
        print_json(
            {
                "scenario": result.scenario,
                "about": result.about,
                "seeds": result.seeds,
                "policies": {name: measures.as_dict() for name, measures in result.measures.items()},
            }
        )
    else:
        _show(result)


def _show(result: Comparison) -> None:
    print_wrapped(f"{result.scenario}: {result.about} Means of {result.seeds} {'runs' if result.seeds > 1 else 'run'}.")
    print()
    print_table(
        ["policy", "makespan", "by bound", "median", "p95", "node-h", "by work", "failed"],
        [
            (
                name,
                span(one.makespan_s),
                f"{one.over_bound:.3f}",
                span(one.turnaround_median_s),
                span(one.turnaround_p95_s),
                f"{one.node_hours:.1f}",
                f"{one.node_hours_by_work:.3f}",
                f"{one.failed:g}",
            )
            for name, one in result.measures.items()
        ],
        empty="No policy.",
    )


def _draw(result: Comparison, path: Path) -> None:
    from router.simulation.figure import draw

    try:
        draw(result, path)
    except ImportError as error:
        raise ConfigurationError(
            f"A figure needs the package {error.name!r}. Install it with: pip install 'faas-federation[notebook]'"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The figure cannot be written to {path}: {error}") from error
