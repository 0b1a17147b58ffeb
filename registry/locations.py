"""Locations: what backs them with a bucket and for whom, and who may use which copy.

Whoever has a copy decides who may use it: a site's configuration for what it has mounted, the registered
location for its bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import sqlalchemy as sa

from faas.errors import InvalidRequest, NotFound
from faas.files import LOCATION_NAME, split_name, split_s3_name
from faas.models import LocationInfo, SaveLocation

from .database import Transaction
from .endpoints import usable
from .identities import Principal
from .requirements import EVERYBODY, Requirements
from .schema import locations

_S3 = "s3://"
_LONGEST_URL = 1_000
_MOST_NAMES = 1_000


@dataclass(frozen=True)
class Registered:
    """A registered location."""

    name: str
    url: str
    readers: frozenset[str]
    writers: frozenset[str]

    def may_read(self, identity: str) -> bool:
        """Whether an identity may read from its bucket."""
        return bool(self.url) and bool({identity, EVERYBODY} & self.readers)

    def may_write(self, identity: str) -> bool:
        """Whether an identity may write to its bucket."""
        return bool(self.url) and bool({identity, EVERYBODY} & self.writers)

    def covers(self, bucket: str, key: str) -> bool:
        """Whether an object lies in its part of a bucket."""
        parts = urlsplit(self.url)
        prefix = parts.path.strip("/")
        return bool(self.url) and parts.netloc == bucket and (not prefix or key.startswith(f"{prefix}/"))


def save(transaction: Transaction, principal: Principal, wanted: SaveLocation) -> None:
    """Register a location, or replace the one of this name.

    Raises:
        InvalidRequest: a name or the URL cannot be used.
    """
    if not LOCATION_NAME.fullmatch(wanted.name):
        raise InvalidRequest(
            f"{wanted.name[:80]!r} is no name for a location.",
            fix="Use 1 to 64 letters, digits, '-', '_' or '.', starting with a letter or digit.",
            field="name",
        )
    _check_url(wanted.url)
    for field in ("readers", "writers"):
        names: list[str] = getattr(wanted, field)
        if len(names) > _MOST_NAMES or not all(name and len(name) <= 200 and name.isprintable() for name in names):
            raise InvalidRequest(
                f"{field} is no list of names.", fix="Name identities, or * for everybody.", field=field
            )
    transaction.execute(sa.delete(locations).where(locations.c.name == wanted.name))
    transaction.execute(
        sa.insert(locations).values(
            name=wanted.name,
            owner_id=principal.identity_id,
            url=wanted.url or None,
            readers=sorted(set(wanted.readers)),
            writers=sorted(set(wanted.writers)),
            created_at=transaction.now,
        )
    )
    transaction.changes.work = True


def remove(transaction: Transaction, name: str) -> None:
    """Forget a location; tasks that need its bucket wait for it to come back.

    Raises:
        NotFound: there is none.
    """
    if not transaction.execute(sa.delete(locations).where(locations.c.name == name)).rowcount:
        raise NotFound(f"There is no location {name!r}.", fix="`faas location list` shows them.", field="name")


def registered(transaction: Transaction) -> dict[str, Registered]:
    """Every registered location, by name."""
    return {
        row.name: Registered(row.name, row.url or "", frozenset(row.readers), frozenset(row.writers))
        for row in transaction.execute(sa.select(locations).order_by(locations.c.name))
    }


def shown(transaction: Transaction, principal: Principal) -> list[LocationInfo]:
    """The locations that the caller may use somewhere, by name; all registered ones for an admin."""
    found: dict[str, LocationInfo] = {}
    for each in registered(transaction).values():
        info = LocationInfo(
            name=each.name, may_read=each.may_read(principal.identity), may_write=each.may_write(principal.identity)
        )
        if principal.scope == "admin":
            info.url, info.readers, info.writers = each.url, sorted(each.readers), sorted(each.writers)
        elif info.may_read or info.may_write:
            info.url = each.url
        else:
            continue
        found[each.name] = info
    for site in sorted(usable(transaction, principal), key=lambda site: site.name):
        for name in site.offering.locations if site.offering else ():
            if site.mounts(name, principal.identity_id, principal.identity):
                found.setdefault(name, LocationInfo(name=name)).endpoints.append(site.name)
    return sorted(found.values(), key=lambda info: info.name)


def backed(needed: Requirements, known: Mapping[str, Registered], identity: str) -> frozenset[tuple[str, str]]:
    """Of what a task needs, what buckets give this identity leave to: ``reads`` or ``writes``, and the location."""
    found = {("reads", name) for name in needed.reads if name in known and known[name].may_read(identity)}
    found |= {("writes", name) for name in needed.writes if name in known and known[name].may_write(identity)}
    return frozenset(found)


def location_of(name: str, known: Mapping[str, Registered]) -> str:
    """The location that a file is in: the one it names, or the narrowest that covers an object in a bucket.

    Args:
        name: ``location:/path`` or ``s3://bucket/key``.
        known: the registered locations.

    Raises:
        ValueError: the name is none.
        NotFound: no location covers the object.
    """
    if not name.startswith(_S3):
        return split_name(name)[0]
    bucket, key = split_s3_name(name)
    covering = [each for each in known.values() if each.covers(bucket, key)]
    if not covering:
        raise NotFound(
            f"No location that you may read covers {name}.",
            fix="Ask an admin: faas location add NAME s3://bucket/prefix --read YOU.",
            field="files",
        )
    return max(covering, key=lambda each: len(each.url)).name


def key_in_bucket(name: str, location: Registered) -> str:
    """The key in a location's bucket that a file goes by.

    Example:
        >>> key_in_bucket("als-raw:/scan1.h5", Registered("als-raw", "s3://b/raw", frozenset(), frozenset()))
        'raw/scan1.h5'
    """
    if name.startswith(_S3):
        return split_s3_name(name)[1]
    prefix = urlsplit(location.url).path.strip("/")
    path = split_name(name)[1].lstrip("/")
    return f"{prefix}/{path}" if prefix else path


def locations_of(names: Iterable[str], known: Mapping[str, Registered], field: str) -> tuple[str, ...]:
    """The locations that files are in, each once.

    Raises:
        InvalidRequest: a name is none.
        NotFound: no location covers an object.
    """
    try:
        return tuple(sorted({location_of(name, known) for name in names}))
    except ValueError as error:
        raise InvalidRequest(str(error), field=field) from None


def _check_url(url: str) -> None:
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc or parts.fragment or len(url) > _LONGEST_URL or not url.isprintable():
        raise InvalidRequest(
            f"{url[:80]!r} does not name a bucket.",
            fix="Write s3://bucket/prefix, or leave it out where only sites have the location.",
            field="url",
        )
