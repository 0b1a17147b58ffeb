"""The simulator: what a workload would do over some sites, decided by the very code that decides in the service."""

from .bound import fluid_bound
from .comparison import Comparison, compare
from .controllers import find_controller
from .measures import Measures, measure
from .scenario import Scenario, find_scenario, scenario_names
from .world import World, simulate

__all__ = [
    "Comparison",
    "Measures",
    "Scenario",
    "World",
    "compare",
    "find_controller",
    "find_scenario",
    "fluid_bound",
    "measure",
    "scenario_names",
    "simulate",
]
