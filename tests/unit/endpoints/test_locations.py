"""Names of files to paths: only below the mount, only for those who may, with words for everybody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints.configuration import MountedLocation
from endpoints.locations import Locations, NotHere
from faas.models import AttemptKey, LeasedTask

OWNER = "11111111-1111-4111-8111-111111111111"


def task_of(owner: str = "owner") -> LeasedTask:
    owner_id = OWNER if owner == "owner" else "22222222-2222-4222-8222-222222222222"
    return LeasedTask(attempt=AttemptKey(1, 1), task_id="t", owner_id=owner_id, owner=owner, function_id="f")


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    mount = tmp_path / "als"
    (mount / "2026").mkdir(parents=True)
    (mount / "2026" / "scan.h5").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x")
    return mount


def locations(mount: Path, **rights: tuple[str, ...]) -> Locations:
    return Locations({"als": MountedLocation(path=str(mount), **rights)}, OWNER)


def test_files_are_given_where_they_lie(mount: Path) -> None:
    (mount / "link.h5").symlink_to(mount / "2026" / "scan.h5")
    here = locations(mount)
    assert here.path("als:/2026/scan.h5", task_of()) == (mount / "2026" / "scan.h5").resolve()
    assert here.path("als:/link.h5", task_of()).read_bytes() == b"x"
    assert here.place("als:/new/deep/x.h5", task_of()) == mount.resolve() / "new" / "deep" / "x.h5"
    assert here.has("als:/a")
    assert not here.has("other:/a")
    assert not here.has("s3://als/a")


@pytest.mark.parametrize("name", ["als:/../secret", "als:/2026/../../secret", "als:/./x", "als://secret", "als:/a//b"])
def test_dots_and_empty_parts_are_refused(mount: Path, name: str) -> None:
    for ask in (locations(mount).path, locations(mount).place):
        with pytest.raises(ValueError, match=r"'\.' and '\.\.'|a name between every two slashes"):
            ask(name, task_of())


def test_symbolic_links_that_lead_out_are_refused(mount: Path, tmp_path: Path) -> None:
    (mount / "out").symlink_to(tmp_path)
    (mount / "relative").symlink_to("..")
    (mount / "file.h5").symlink_to(tmp_path / "secret")
    (mount / "chain").symlink_to(mount / "out")
    (mount / "self").symlink_to(".")
    here = locations(mount)
    for name in ("als:/out/secret", "als:/relative/secret", "als:/file.h5", "als:/chain/secret"):
        with pytest.raises(NotHere, match="leads out of its location"):
            here.path(name, task_of())
    for name in ("als:/out/x", "als:/relative/x", "als:/chain/x", "als:/out/new/deep/x"):
        with pytest.raises(NotHere, match="leads out of its location"):
            here.place(name, task_of())
    assert here.path("als:/self/2026/scan.h5", task_of()).exists()
    # An output takes the place of a link; it is not written through it.
    assert here.place("als:/file.h5", task_of()) == mount.resolve() / "file.h5"


def test_a_sibling_with_the_same_beginning_is_outside(mount: Path, tmp_path: Path) -> None:
    (tmp_path / "als-private").mkdir()
    (tmp_path / "als-private" / "x").write_bytes(b"x")
    (mount / "near").symlink_to(tmp_path / "als-private")
    with pytest.raises(NotHere, match="leads out"):
        locations(mount).path("als:/near/x", task_of())


def test_rights_are_by_identity_and_apart_for_reading_and_writing(mount: Path) -> None:
    here = locations(mount, readers=("ada",), writers=("*",))
    assert here.path("als:/2026/scan.h5", task_of("ada"))
    assert here.place("als:/x", task_of("grace"))
    with pytest.raises(NotHere, match=r"Tasks of grace may not read .*readers: \[…\]"):
        here.path("als:/2026/scan.h5", task_of("grace"))
    with pytest.raises(NotHere, match="may not write"):
        locations(mount, readers=("*",)).place("als:/x", task_of("grace"))


def test_what_is_not_there_is_told_in_words(mount: Path, tmp_path: Path) -> None:
    here = locations(mount)
    with pytest.raises(NotHere, match=f"There is no file als:/nothing at this site .*{mount}/nothing") as missing:
        here.path("als:/nothing", task_of())
    assert missing.value.kind == "serialization"
    with pytest.raises(NotHere, match="has no location 'other'"):
        here.path("other:/x", task_of())
    with pytest.raises(NotHere, match="is a directory"):
        here.place("als:/2026", task_of())
    with pytest.raises(NotHere, match="is no directory"):
        locations(tmp_path / "unmounted").path("als:/x", task_of())


PART = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["..", ".", "up", "2026", ""])


@given(st.lists(PART, max_size=6).map("/".join))
def test_no_name_leads_out(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    root = tmp_path_factory.getbasetemp() / "contained"
    if not root.exists():
        (root / "als" / "2026").mkdir(parents=True)
        (root / "als" / "up").symlink_to(root)
        (root / "secret").write_bytes(b"x")
    here = locations(root / "als")
    for ask in (here.path, here.place):
        try:
            found = ask(f"als:/{path}", task_of())
        except (NotHere, ValueError):
            continue
        # An output takes the place of its name, be that a link.
        assert (found.parent.resolve() / found.name).is_relative_to((root / "als").resolve())
        assert ask == here.place or found.resolve() == found
