"""Which uploads a trigger takes, what tells them apart, which dataset they belong to, and what the function is told."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from faas.errors import InvalidRequest
from faas.models.triggers import TriggerSettings, UploadEvent

PLACEHOLDERS = ("bucket", "key", "name", "stem", "folder", "size", "etag", "version", "time", "uri", "group")
"""What may stand in braces in an argument."""
WHOLE = ("{file}", "{event}")
"""What stands for itself: the file, and all that is known of it."""
_COMPLETE = re.compile(r"count=([1-9]\d{0,8})|marker=(.{1,500})|manifest=(.{1,500})")


@dataclass(frozen=True)
class Completeness:
    """When a dataset is complete: exactly one of these is set."""

    count: int = 0
    marker: str = ""
    """The name of the file that comes last."""
    manifest: str = ""
    """The name of a file that lists the others, one on each line."""


def check_settings(settings: TriggerSettings) -> None:
    """Refuse settings with which a trigger could not work.

    Raises:
        InvalidRequest: the message names the setting and the fix.
    """
    try:
        expression = re.compile(settings.group_by)
    except re.error as error:
        raise InvalidRequest(
            f"group_by is {settings.group_by!r}, which is no regular expression: {error}.", field="settings.group_by"
        ) from None
    if settings.group_by and not expression.groups:
        raise InvalidRequest(
            f"group_by is {settings.group_by!r}, which names no dataset.",
            fix="Put parentheses around the part of the key that the files of a dataset have in common.",
            field="settings.group_by",
        )
    if bool(settings.group_by) != bool(settings.complete_when):
        raise InvalidRequest(
            "group_by and complete_when go together.",
            fix="Say both which files make a dataset and when it is complete.",
            field="settings.complete_when" if settings.group_by else "settings.group_by",
        )
    completeness(settings.complete_when)
    for name, template in (*settings.arguments.items(), *settings.outputs.items()):
        if not name.isidentifier():
            raise InvalidRequest(f"{name!r} is no name of a parameter.", field="settings.arguments")
        if template in WHOLE:
            continue
        for placeholder in _placeholders(template):
            if placeholder not in PLACEHOLDERS:
                raise InvalidRequest(
                    f"{name}={template} has {{{placeholder}}} in it, which stands for nothing.",
                    fix=f"There are {', '.join(PLACEHOLDERS)}; a brace by itself is written twice.",
                    field="settings.arguments",
                )


def completeness(text: str) -> Completeness:
    """What ``complete_when`` says.

    Raises:
        InvalidRequest: it says nothing that is known.

    Example:
        >>> completeness("count=3")
        Completeness(count=3, marker='', manifest='')
    """
    if not text:
        return Completeness()
    found = _COMPLETE.fullmatch(text)
    if found is None:
        raise InvalidRequest(
            f"complete_when is {text[:80]!r}.",
            fix="Write count=N, marker=NAME or manifest=NAME.",
            field="settings.complete_when",
        )
    count, marker, manifest = found.groups()
    return Completeness(int(count or 0), marker or "", manifest or "")


def matches(settings: TriggerSettings, upload: UploadEvent) -> bool:
    """Whether a trigger takes an upload."""
    if not upload.key.startswith(settings.prefix):
        return False
    if not settings.group_by:
        return upload.key.endswith(settings.suffix)
    if dataset(settings, upload) is None:
        return False
    said = completeness(settings.complete_when)
    name = PurePosixPath(upload.key).name
    return upload.key.endswith(settings.suffix) or name in (said.marker, said.manifest)


def identity(upload: UploadEvent) -> str:
    """What tells one version of an object from every other, however often and in whatever order it is told of.

    The version where the bucket keeps versions, else what is in it: its ETag and size; of files size and time.

    Example:
        >>> once = UploadEvent(bucket="raw", key="a.h5", etag="9b", size_bytes=5, sequencer="1")
        >>> again = UploadEvent(bucket="raw", key="a.h5", etag="9b", size_bytes=5, sequencer="2", event_time=3.0)
        >>> identity(once) == identity(again)
        True
    """
    if upload.version_id:
        version = ["version", upload.version_id]
    elif upload.mtime_ns is not None:
        version = ["file", str(upload.size_bytes), str(upload.mtime_ns)]
    else:
        version = ["etag", upload.etag, str(upload.size_bytes)]
    # Keys may hold any character, so each part's length goes before it.
    parts = [upload.bucket, upload.key, *version]
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")).hexdigest()


def dataset(settings: TriggerSettings, upload: UploadEvent) -> str | None:
    r"""The name of the dataset that a file belongs to; None if it belongs to none.

    Example:
        >>> dataset(TriggerSettings(group_by=r"(scan\d+)/"), UploadEvent(bucket="raw", key="run/scan7/f1.h5"))
        'scan7'
    """
    found = _expression(settings.group_by).search(upload.key)
    if found is None or not any(found.groups()):
        return None
    return "/".join(part for part in found.groups() if part is not None)


@dataclass(frozen=True)
class Progress:
    """How far a dataset is."""

    complete: bool
    missing: str
    """What is not there yet, in words; empty when it is complete."""


def progress(said: Completeness, keys: Collection[str], manifest: str | None = None) -> Progress:
    """Whether a dataset is complete.

    Args:
        said: when it is.
        keys: the keys of the files that have come.
        manifest: the text of its manifest, where that has come.

    Example:
        >>> progress(Completeness(count=2), ["a/1.h5"]).missing
        '1 of 2 files'
    """
    names = {PurePosixPath(key).name for key in keys}
    if said.count:
        left = said.count - len(set(keys))
        return Progress(left <= 0, f"{left} of {said.count} files" if left > 0 else "")
    if said.marker:
        return Progress(said.marker in names, "" if said.marker in names else f"its marker {said.marker}")
    if manifest is None:
        return Progress(False, f"its manifest {said.manifest}")
    listed = [line.strip() for line in manifest.splitlines() if line.strip() and not line.startswith("#")]
    absent = [each for each in listed if not any(key == each or key.endswith(f"/{each}") for key in keys)]
    shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
    return Progress(not absent, shown)


def fill(template: str, upload: UploadEvent, group: str = "") -> str:
    """A text with its placeholders filled in; each once, so that a key with braces in it stays a key.

    Example:
        >>> fill("{folder}/out-{stem}.json", UploadEvent(bucket="raw", key="run/a.h5"))
        'run/out-a.json'
    """
    path = PurePosixPath(upload.key)
    values = {
        "bucket": upload.bucket,
        "key": upload.key,
        "name": path.name,
        "stem": path.stem,
        "folder": "" if str(path.parent) == "." else str(path.parent),
        "size": str(upload.size_bytes),
        "etag": upload.etag,
        "version": upload.version_id,
        "time": "" if upload.event_time is None else repr(upload.event_time),
        "uri": f"s3://{upload.bucket}/{upload.key}" if upload.mtime_ns is None else f"{upload.bucket}/{upload.key}",
        "group": group,
    }
    return "".join(text + (values[name] if name is not None else "") for text, name in _parsed(template))


def _placeholders(template: str) -> list[str]:
    try:
        return [name for _, name in _parsed(template) if name is not None]
    except ValueError as error:
        raise InvalidRequest(
            f"{template[:80]!r} cannot be filled in: {error}.",
            fix="A brace by itself is written twice.",
            field="settings.arguments",
        ) from None


def _parsed(template: str) -> list[tuple[str, str | None]]:
    """Literal texts, each with the placeholder after it. Nothing but names: no attributes, indices or formats."""
    parts: list[tuple[str, str | None]] = []
    for text, name, form, conversion in string.Formatter().parse(template):
        if form or conversion:
            raise ValueError("formats have no place in it")
        parts.append((text, name))
    return parts


@lru_cache(maxsize=1_000)
def _expression(text: str) -> re.Pattern[str]:
    return re.compile(text)
