"""Starts one of Parsl's programs (interchange, worker pool) so that it finds this package and nothing by accident.

Run as a script, ``python …/endpoints/pilot.py MODULE [ARGUMENT…]``: unlike ``python -m`` it keeps the
current directory, which may hold anything, off ``sys.path``, and unlike ``PYTHONPATH`` it leaves no
mark on the environment that users' functions see.
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the module named first on the command line as ``__main__``."""
    # In place of this script's own directory, which would make our modules top-level ones.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
