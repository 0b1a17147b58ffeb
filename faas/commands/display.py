"""How answers look: tables that fit a terminal, JSON for programs, times and ids people can read."""

from __future__ import annotations

import base64
import json
import shutil
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from faas.models import Spent

if TYPE_CHECKING:
    from rich.table import Table

SHORTEST_ID = 8
"""Characters of an id that are shown at least."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with full ids.")]


def print_json(value: Any) -> None:
    """Print wire models (or lists of them) as JSON, all fields, defaults included."""
    print(json.dumps(_plain(value), indent=2, default=str))


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {field: _plain(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole: int = 1, empty: str) -> None:
    """Print a table, one line a row, cut with an ellipsis where the terminal is too narrow.

    Args:
        columns: headings.
        rows: cells; control characters are taken out, for they may be anybody's.
        whole: that many columns from the left are never cut.
        empty: what to say in place of a table without rows.
    """
    from rich.console import Console

    table = rich_table(columns, rows, whole=whole)
    if table.row_count:
        Console(highlight=False).print(table)
    else:
        typer.echo(empty, err=True)


def rich_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, whole: int = 1) -> Table:
    """A table to print; see :func:`print_table`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=index < whole)
    for row in rows:
        table.add_row(*(Text(one_line(cell), no_wrap=True, overflow="ellipsis") for cell in row))
    return table


def print_fields(fields: Mapping[str, str], *, wrapped: bool = False) -> None:
    """Print names and values below each other; empty values are left out.

    Args:
        fields: what to print.
        wrapped: whether values go on in the next line where the terminal is too narrow.
    """
    width = max((len(name) for name, value in fields.items() if value), default=0)
    for name, value in fields.items():
        if value and wrapped:
            print_wrapped(f"{name:<{width}}  {value}", indent=width + 2)
        elif value:
            print(f"{name:<{width}}  {one_line(value)}")


def print_wrapped(text: str, *, indent: int = 0) -> None:
    """Print text, broken between words where the terminal is too narrow; words, such as paths, stay whole.

    Args:
        text: what to print.
        indent: blanks before its second line and those that follow.
    """
    columns = shutil.get_terminal_size().columns
    lines = textwrap.wrap(
        one_line(text), columns, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )
    print("\n".join(lines))


def one_line(text: str) -> str:
    """The text without line breaks and terminal control sequences."""
    return "".join(character if character.isprintable() else " " for character in text)


def abbreviate(ids: Iterable[str]) -> dict[str, str]:
    """Each id's beginning, just long enough to tell these ids apart (eight characters at least).

    Example:
        >>> abbreviate(["0123456789ab", "012345678cde"])
        {'0123456789ab': '0123456789', '012345678cde': '012345678c'}
    """
    known = set(ids)
    longest = max(map(len, known), default=0)
    for length in range(SHORTEST_ID, longest):
        if len({one[:length] for one in known}) == len(known):
            return {one: one[:length] for one in known}
    return {one: one for one in known}


def moment(seconds: float | None) -> str:
    """A time since the epoch as ``2026-01-31 12:00:00 UTC``; empty for none."""
    return "" if not seconds else f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def ago(seconds: float | None) -> str:
    """How long a time since the epoch has passed: ``12 s ago``; empty for none."""
    return "" if not seconds else f"{span(max(1, round(time.time() - seconds)))} ago".replace(".0", "")


def span(seconds: float | None) -> str:
    """A length of time in the unit that suits it: ``8.1 ms``, ``12 s``, ``3 h``; empty for none."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, length_s, up_to in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds < length_s * up_to:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def size(count: int) -> str:
    """A number of bytes in the unit that suits it: ``312 B``, ``4.2 MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def amounts(resources: Mapping[str, float]) -> str:
    """Resources as ``cores=4,gpus=1``, as they are typed."""
    return ",".join(f"{name}={amount:.10g}" for name, amount in resources.items())


def pairs(values: Mapping[str, str]) -> str:
    """Labels or tags as ``k=v, k=v``."""
    return ", ".join(f"{key}={value}" for key, value in sorted(values.items()))


def costs(spent: Spent | None) -> str:
    """Node-hours in a line; empty where there are none, or where they are not told."""
    if spent is None or not spent.total_node_hours:
        return ""
    text = f"{spent.day_node_hours:.2f} node-hours today (UTC), {spent.total_node_hours:.2f} in total"
    return f"{text}, {spent.reserved_node_hours:.2f} of it reserved" if spent.reserved_node_hours else text
