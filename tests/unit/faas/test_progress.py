"""Progress: where a bar is shown, and what it says."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from unittest import mock

import pytest
from rich.console import Console

from faas.progress import NotebookBar, Silent, TerminalBar, bar_html, progress_of

STATES = {"succeeded": 3, "dependency_failed": 1, "queued": 6}


def test_a_bar_is_shown_where_somebody_can_see_it() -> None:
    assert isinstance(progress_of("x", False), Silent)
    with mock.patch("sys.stderr.isatty", return_value=True):
        assert isinstance(progress_of("x"), TerminalBar)
    with mock.patch("sys.stderr.isatty", return_value=False):
        assert isinstance(progress_of("x"), Silent)
        assert isinstance(progress_of("x", True), TerminalBar)
    with notebook(lambda *_, **__: None):
        assert isinstance(progress_of("x"), NotebookBar)


def notebook(display: Callable[..., object]) -> mock._patch_dict:
    kernel = SimpleNamespace(kernel=object())
    fake = SimpleNamespace(get_ipython=lambda: kernel, display=SimpleNamespace(display=display))
    return mock.patch.dict("sys.modules", {"IPython": fake, "IPython.display": fake.display})


def test_a_terminal_shows_how_many_are_done() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with TerminalBar("group x", console) as bar:
        bar.show(STATES)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "4/10" in shown
    assert "1 dependency failed, 6 queued" in shown


def test_a_notebook_shows_one_bar_and_moves_it() -> None:
    place = mock.Mock()
    display = mock.Mock(return_value=place)
    with notebook(display), NotebookBar("group <x>") as bar:
        bar.show({"queued": 2})
        bar.show({"succeeded": 2})
    assert display.call_count == 1
    [moved] = place.update.call_args.args
    assert '<progress value="2" max="2"' in moved["text/html"]
    assert "group &lt;x&gt;" in moved["text/html"]


@pytest.mark.parametrize("states", [{}, STATES])
def test_a_bar_in_html(states: dict[str, int]) -> None:
    assert f'value="{4 if states else 0}"' in bar_html("x", states)
