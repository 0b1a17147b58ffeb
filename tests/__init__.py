"""Tests; a package by name, so that no "tests" of an installed distribution takes its place."""
