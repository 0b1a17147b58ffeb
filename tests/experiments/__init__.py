"""Experiments: whole campaigns at real schedulers, with figures, as the reference ran them on its machines."""

import sys
from pathlib import Path

# The analyses are those that people start from, and are imported as they import them.
sys.path.append(str(Path(__file__).parents[2] / "notebooks"))
