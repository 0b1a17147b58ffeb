"""What a trigger makes of an upload: the task, with the file as its argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from faas.files import S3, File, OutputFile
from faas.models import Submission, TriggerSettings, UploadEvent
from faas.objects import ObjectRef
from faas.packing import pack_arguments
from registry.triggers import Known
from router.triggers.matching import completeness, fill, progress

TAG = "trigger"
"""Key of the tag that names a task's trigger."""


class FromSettings:
    """Decides what a trigger's settings say, see ``registry.trigger_events.Decisions``."""

    def submission(self, trigger: Known, task_id: str, uploads: Sequence[UploadEvent], dataset: str) -> Submission:
        """The task for an upload, or for all uploads of a dataset.

        Raises:
            ValueError: the file has a name that no task can refer to.
        """
        settings = trigger.settings
        files = [_file(settings, upload) for upload in uploads]
        events = [msgspec.to_builtins(upload) for upload in uploads]
        whole: dict[str, Any] = {
            "{file}": files if dataset else files[0],
            "{event}": events if dataset else events[0],
        }
        last = uploads[-1]
        named = {
            name: whole[template] if template in whole else fill(template, last, dataset)
            for name, template in settings.arguments.items()
        }
        named |= {name: OutputFile(fill(template, last, dataset)) for name, template in settings.outputs.items()}
        first = () if settings.arguments else (whole["{file}"],)
        packed = pack_arguments(first, named)
        return Submission(
            task_id=task_id,
            function=trigger.function,
            payload=packed.payload,
            objects=packed.objects,
            files=packed.files,
            outputs=packed.outputs,
            target=trigger.target,
            tags={**settings.tags, TAG: trigger.name},
        )

    def missing(self, trigger: Known, keys: Sequence[str], manifest: str | None) -> str:
        """What a dataset lacks, in words; empty when it is complete."""
        return progress(completeness(trigger.settings.complete_when), keys, manifest).missing

    def names(self, trigger: Known, upload: UploadEvent) -> list[str]:
        """What a task that wrote this file may have called it."""
        if upload.mtime_ns is None:
            return [f"s3://{upload.bucket}/{upload.key}"]
        return [_in_location(trigger.settings.location, upload.key)] if trigger.settings.location else []


def _file(settings: TriggerSettings, upload: UploadEvent) -> Any:
    if upload.object_id:
        name = upload.key.rpartition("/")[2]
        return ObjectRef(upload.object_id, upload.size_bytes, upload.sha256, "bytes", name)
    if upload.mtime_ns is None:
        return S3(f"s3://{upload.bucket}/{upload.key}")
    if settings.location:
        return File(_in_location(settings.location, upload.key))
    return f"{upload.bucket}/{upload.key}"


def _in_location(folder: str, key: str) -> str:
    location, _, path = folder.partition(":")
    return f"{location}:/{'/'.join(part for part in (path.strip('/'), key) if part)}"
