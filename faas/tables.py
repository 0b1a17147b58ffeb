"""Lists and dictionaries that notebooks show as tables, and that are lists and dictionaries to everybody else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from html import escape
from typing import Any, TypeVar

T = TypeVar("T")

_MOST_ROWS = 60
_LONGEST_TEXT = 80


class Table(list[T]):
    """A list whose items notebooks show as rows.

    Args:
        items: models or dictionaries.
        columns: what to show of each; ``times.ended_at`` goes into a dictionary within.

    Example:
        >>> table = Table([{"name": "theta", "workers": 4}], ("name", "workers"))
        >>> table == [{"name": "theta", "workers": 4}]
        True
        >>> "<td>theta</td>" in table._repr_html_()
        True
    """

    def __init__(self, items: Iterable[T] = (), columns: Sequence[str] = ()) -> None:
        super().__init__(items)
        self._columns = tuple(columns)

    def __reduce__(self) -> Any:
        return list, (list(self),)  # at a site there may be no faas to unpickle it with

    def _repr_html_(self) -> str:
        rows = [[shown(_find(item, column), column) for column in self._columns] for item in self[:_MOST_ROWS]]
        headings = [column.rpartition(".")[2].removesuffix("_at").replace("_", " ") for column in self._columns]
        more = f"<p>… and {len(self) - _MOST_ROWS} more</p>" if len(self) > _MOST_ROWS else ""
        return html_table(headings, rows) + more if self else "<p>none</p>"


class Record(dict[str, Any]):
    """A dictionary that notebooks show as a table of its entries; empty ones are left out.

    Example:
        >>> "<td>queued</td>" in Record(status="queued", message="")._repr_html_()
        True
    """

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def _repr_html_(self) -> str:
        entries: dict[str, Any] = {}
        for name, value in self.items():
            entries |= value if name == "times" and isinstance(value, Mapping) else {name: value}
        rows = [
            [escape(name), shown(value, name)] for name, value in entries.items() if value not in (None, "", [], {})
        ]
        return html_table(["", ""], rows)


def html_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in HTML; headings are escaped here, cells are HTML already."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings) if any(headings) else ""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>{'<thead><tr>' + head + '</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"


def shown(value: Any, name: str = "") -> str:
    """A value as HTML: escaped, cut where it is long, times as times.

    Args:
        value: anything.
        name: what it is called; times are known by ``_at``.
    """
    if value is None:
        return ""
    if name.endswith("_at") and isinstance(value, float):
        return f"{datetime.fromtimestamp(value, timezone.utc):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return f"{len(value)}" if value and isinstance(value[0], dict) else escape(_cut(", ".join(map(str, value))))
    if isinstance(value, Mapping):
        return escape(_cut(", ".join(f"{key}={each}" for key, each in value.items())))
    return escape(_cut(str(value)))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _find(item: Any, column: str) -> Any:
    for name in column.split("."):
        item = item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)
    return item
