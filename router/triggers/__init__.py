"""Triggers: what has been uploaded becomes tasks, each version of an object exactly once."""
