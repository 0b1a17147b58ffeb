"""Several tasks for one request."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from faas.identifiers import new_id
from faas.models import INLINE_ARGUMENT_BYTES, Submission
from faas.options import TaskOptions
from faas.packing import pack_arguments

REQUEST_TASKS = 1_000
"""Tasks sent in one request, at most."""
REQUEST_BYTES = 4 * 1024 * 1024
"""Their arguments in one request, at most (but for the last)."""
_DEFAULT_OPTIONS = TaskOptions()


class Batch:
    """Tasks collected for :meth:`faas.Client.batch_run`.

    Args:
        task_group_id: the group to add them to; a new one by default.

    Example:
        >>> batch = client.create_batch()                      # doctest: +SKIP
        >>> for number in range(100):                          # doctest: +SKIP
        ...     batch.add(function_id, args=(number,))
        >>> client.batch_run("any", batch)["tasks"]            # doctest: +SKIP
    """

    def __init__(self, task_group_id: str | None = None) -> None:
        self.task_group_id = task_group_id
        self.submissions: list[Submission] = []

    def __len__(self) -> int:
        return len(self.submissions)

    def __bool__(self) -> bool:
        return bool(self.submissions)

    def __repr__(self) -> str:
        return f"<Batch of {len(self)} tasks>"

    def add(
        self,
        function_id: str,
        args: tuple[Any, ...] | list[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        *,
        task_options: TaskOptions = _DEFAULT_OPTIONS,
        resources: Mapping[str, float] | None = None,
        environment: str | None = None,
    ) -> str:
        """Add a call.

        Args:
            function_id: id of a registered function, or the name of one of yours.
            args: positional arguments.
            kwargs: keyword arguments.
            task_options: how the task is to be treated.
            resources: what its worker must have, over and above the options; see :class:`faas.TaskOptions`.
            environment: where to run, in place of what the options say.

        Returns:
            The id the task will have.

        Raises:
            TypeError: args is no tuple or list, or kwargs no dictionary with names as keys.
            ValueError: the resources or the environment are impossible.
            SerializationFailed: an argument cannot be packed.
        """
        if not isinstance(args, (tuple, list, type(None))):
            raise TypeError(f"args: expected a tuple or list, got {type(args).__name__}: write args=(value,).")
        if not isinstance(kwargs, (dict, type(None))) or not all(isinstance(name, str) for name in kwargs or ()):
            raise TypeError("kwargs: expected a dictionary with names as keys.")
        packed = pack_arguments(tuple(args or ()), kwargs or {})
        task_id = new_id()
        self.submissions.append(
            Submission(
                task_id=task_id,
                function=str(function_id),
                payload=packed.payload,
                dependencies=packed.dependencies,
                objects=packed.objects,
                files=packed.files,
                outputs=packed.outputs,
                **task_options.needing(resources, environment).fields,
            )
        )
        return task_id

    def requests(self) -> list[list[Submission]]:
        """The tasks in portions for one request each."""
        portions: list[list[Submission]] = [[]]
        size = 0
        for submission in self.submissions:
            bytes_inline = len(submission.payload) if len(submission.payload) <= INLINE_ARGUMENT_BYTES else 0
            if portions[-1] and (len(portions[-1]) >= REQUEST_TASKS or size + bytes_inline > REQUEST_BYTES):
                portions.append([])
                size = 0
            portions[-1].append(submission)
            size += bytes_inline
        return portions if portions[0] else []

    def by_function(self) -> dict[str, list[str]]:
        """Task ids by function, in the order they were added."""
        tasks: dict[str, list[str]] = defaultdict(list)
        for submission in self.submissions:
            tasks[submission.function].append(submission.task_id)
        return dict(tasks)

    def sent(self) -> None:
        """Give the tasks new ids: running the same batch again makes new tasks. Until then it is a repeat."""
        for submission in self.submissions:
            submission.task_id = new_id()
            submission.argument_object = ""
