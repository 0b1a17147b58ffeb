"""Shows how far many tasks are: a bar in a terminal, a bar in a notebook, nothing where output goes to a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from faas.models import TERMINAL_STATES

if TYPE_CHECKING:
    from typing_extensions import Self


class Progress(Protocol):
    """A bar, open while it is a context."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, states: Mapping[str, int]) -> None:
        """Show how many tasks are in each state."""


def progress_of(title: str, wanted: bool | None = None) -> Progress:
    """A progress bar for wherever this runs.

    Args:
        title: what to write before it.
        wanted: False for none; None for one where somebody can see it.
    """
    if wanted is False:
        return Silent()
    if in_notebook():
        return NotebookBar(title)
    if wanted or sys.stderr.isatty():
        return TerminalBar(title)
    return Silent()


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel, which shows HTML."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    return shell is not None and hasattr(shell, "kernel")


def done_of(states: Mapping[str, int]) -> tuple[int, int]:
    """How many tasks have ended, and how many there are.

    Example:
        >>> done_of({"succeeded": 3, "failed": 1, "queued": 6})
        (4, 10)
    """
    return sum(count for state, count in states.items() if state in TERMINAL_STATES), sum(states.values())


def counted(states: Mapping[str, int]) -> str:
    """The states that are not just success, in words.

    Example:
        >>> counted({"succeeded": 3, "failed": 1, "queued": 6})
        '1 failed, 6 queued'
    """
    return ", ".join(
        f"{count} {state.replace('_', ' ')}" for state, count in sorted(states.items()) if state != "succeeded"
    )


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, states: Mapping[str, int]) -> None:
        """Shows nothing."""


class TerminalBar:
    """A bar on the standard error, by Rich."""

    def __init__(self, title: str, console: Any = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[states]}"),
            console=console or Console(stderr=True),
        )
        self._task = self._bar.add_task(title, total=None, states="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, states: Mapping[str, int]) -> None:
        """Move the bar."""
        done, total = done_of(states)
        self._bar.update(self._task, completed=done, total=total, states=counted(states))


class NotebookBar:
    """A bar in a notebook's output, as plain HTML: it needs no widgets, and is still there when the file is opened."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._place: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, states: Mapping[str, int]) -> None:
        """Draw the bar, or draw it anew."""
        picture = {"text/html": bar_html(self._title, states), "text/plain": f"{self._title}: {counted(states)}"}
        if self._place is None:
            from IPython import display

            show: Any = display.display
            self._place = show(picture, raw=True, display_id=True)
        else:
            self._place.update(picture, raw=True)


def bar_html(title: str, states: Mapping[str, int]) -> str:
    """A bar with its numbers, in HTML."""
    done, total = done_of(states)
    told = f"{done} of {total}" + (f" · {counted(states)}" if counted(states) else "")
    return (
        f"<div>{escape(title)} "
        f'<progress value="{done}" max="{max(total, 1)}" style="width:20em"></progress> {escape(told)}</div>'
    )
