"""Wire models of locations: names for where files lie, at sites and in buckets."""

from __future__ import annotations

from .common import Model


class SaveLocation(Model, kw_only=True):
    """A location to register, or (same name) to replace."""

    name: str
    url: str = ""
    """The bucket and prefix that back it, ``s3://bucket/prefix?endpoint_url=…``; empty where only sites have it."""
    readers: list[str] = []
    """Names of identities that may read from the bucket; ``*`` for everybody."""
    writers: list[str] = []
    """Names of identities that may write to the bucket; ``*`` for everybody."""


class LocationInfo(Model, kw_only=True):
    """A location as shown: what backs it, and which endpoints have it on their own file systems."""

    name: str
    url: str = ""
    readers: list[str] = []
    writers: list[str] = []
    endpoints: list[str] = []
    """Names of the endpoints that have it and let the caller use it there."""
    may_read: bool = False
    """Whether the caller may read from the bucket."""
    may_write: bool = False
