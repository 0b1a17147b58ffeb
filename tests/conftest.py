"""What all tests share: the fixtures that start real services."""

from __future__ import annotations

pytest_plugins = ["tests.services.fixtures"]
