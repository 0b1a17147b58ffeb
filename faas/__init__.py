"""The federation's Python library: register functions, run them anywhere, get results back."""

from __future__ import annotations

__version__ = "0.1.0"
