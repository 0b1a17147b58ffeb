"""What all tests share: the fixtures that start real services, and the rule for what is not installed."""

from __future__ import annotations

pytest_plugins = ["tests.services.requirements", "tests.services.fixtures"]
