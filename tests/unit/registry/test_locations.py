"""Locations: who may use which copy, and that tasks go only where their files are to be had."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from faas.errors import InvalidRequest, NotFound
from faas.models import AllowedFunctions, Mount, Refusal, RunPolicy, SaveLocation, Submission
from registry import holdings, locations, objects
from registry.endpoints import Site
from registry.identities import Principal
from registry.leases import QueuedClass, Share
from registry.locations import Registered, key_in_bucket, location_of
from router.affinity import pick
from tests.unit.registry.federation import Federation, new_id

LETS_GRACE_IN = RunPolicy(identities={"grace": AllowedFunctions()})


def save(federation: Federation, name: str, url: str = "", *, read: str = "", write: str = "") -> None:
    admin = federation.person("admin", "admin")
    wanted = SaveLocation(name=name, url=url, readers=read.split(), writers=write.split())
    federation.write(locations.save, admin, wanted)


def submit(federation: Federation, owner: Principal, **fields: object) -> list[Refusal]:
    function_id = federation.function(owner, public=True)
    task = Submission(task_id=new_id(), function=function_id, **fields)  # type: ignore[arg-type]
    return federation.submit(owner, task).refused


def test_the_owner_may_use_what_an_endpoint_has(federation: Federation) -> None:
    ada = federation.person("ada")
    other = federation.agent(ada, "other")
    site = federation.agent(ada, locations={"raw": Mount()})
    assert submit(federation, ada, files=["raw:/a.h5"], outputs=["raw:/b.h5"]) == []
    assert other.lease() == []
    [granted] = site.lease()
    assert (granted.files, granted.outputs) == (["raw:/a.h5"], ["raw:/b.h5"])


def test_others_only_as_the_site_says(federation: Federation) -> None:
    ada, grace = federation.person("ada"), federation.person("grace")
    site = federation.agent(ada, policy=LETS_GRACE_IN, locations={"raw": Mount(readers=("grace",)), "own": Mount()})
    assert submit(federation, grace, files=["raw:/a.h5"]) == []
    [refusal] = submit(federation, grace, files=["own:/a.h5"])
    assert (refusal.status, refusal.field) == (400, "tasks[0].files")
    assert "own" in refusal.detail and "grace" in refusal.detail
    [refusal] = submit(federation, grace, outputs=["raw:/a.h5"])
    assert refusal.field == "tasks[0].outputs"
    assert len(site.lease()) == 1


def test_a_bucket_gives_what_no_site_has_to_those_it_is_for(federation: Federation) -> None:
    ada, grace = federation.person("ada"), federation.person("grace")
    save(federation, "raw", "s3://bucket/raw", read="ada", write="ada")
    site = federation.agent(ada, policy=LETS_GRACE_IN)
    assert submit(federation, ada, files=["raw:/a.h5", "s3://bucket/raw/b.h5"], outputs=["raw:/c.h5"]) == []
    assert len(site.lease()) == 1
    [refusal] = submit(federation, grace, files=["raw:/a.h5"])
    assert refusal.field == "tasks[0].files"
    [refusal] = submit(federation, grace, files=["s3://bucket/elsewhere/b.h5"])
    assert refusal.status == 404 and "location" in refusal.detail


def test_a_site_that_has_the_files_is_told_apart(federation: Federation) -> None:
    ada = federation.person("ada")
    save(federation, "raw", "s3://bucket/raw", read="*")
    far = federation.agent(ada, "far")
    near = federation.agent(ada, "near", locations={"raw": Mount()})
    submit(federation, ada, files=["raw:/a.h5"])
    federation.clock.advance(5)
    seen = []
    far.lease(choose=lambda site, waiting: seen.extend(waiting) or [])  # type: ignore[func-returns-value]
    [waiting] = seen
    assert not waiting.local and not waiting.local_elsewhere  # near has no workers yet
    assert waiting.waited_s == pytest.approx(5)
    federation.write(
        lambda transaction: transaction.execute(sa.text("UPDATE endpoints SET workers = 2 WHERE name = 'near'"))
    )
    seen.clear()
    far.lease(choose=lambda site, waiting: seen.extend(waiting) or [])  # type: ignore[func-returns-value]
    assert seen[0].local_elsewhere
    seen.clear()
    near.lease(choose=lambda site, waiting: seen.extend(waiting) or [])  # type: ignore[func-returns-value]
    assert seen[0].local


@pytest.mark.parametrize("name", ["raw", "raw:a.h5", "raw:/../a", "s3://bucket", "x\x00:/a", "raw:/a//b"])
def test_names_that_are_none_are_refused(federation: Federation, name: str) -> None:
    ada = federation.person("ada")
    federation.agent(ada, locations={"raw": Mount()})
    [refusal] = submit(federation, ada, files=[name])
    assert refusal.status in (400, 404) and refusal.field.endswith("files")


def test_what_is_shown_to_whom(federation: Federation) -> None:
    ada, grace = federation.person("ada"), federation.person("grace")
    save(federation, "raw", "s3://bucket/raw", read="grace")
    save(federation, "secret", "s3://bucket/secret", read="somebody")
    federation.agent(ada, "lab", locations={"raw": Mount(), "scratch": Mount()})
    shown = {each.name: each for each in federation.read(locations.shown, ada)}
    assert set(shown) == {"raw", "scratch"}
    assert (shown["raw"].url, shown["raw"].endpoints, shown["raw"].may_read) == ("", ["lab"], False)
    assert [each.name for each in federation.read(locations.shown, grace)] == ["raw"]
    everything = federation.read(locations.shown, federation.person("admin", "admin"))
    assert {each.name for each in everything} >= {"raw", "secret"}


@pytest.mark.parametrize(
    ("name", "url", "field"),
    [("a/b", "", "name"), ("", "", "name"), ("raw", "http://x", "url"), ("raw", "s3://", "url")],
)
def test_locations_that_cannot_be_are_refused(federation: Federation, name: str, url: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        save(federation, name, url)
    assert refused.value.field == field


def test_removing_what_is_not_there(federation: Federation) -> None:
    save(federation, "raw", "s3://bucket")
    federation.write(locations.remove, "raw")
    with pytest.raises(NotFound):
        federation.write(locations.remove, "raw")


def test_the_narrowest_location_covers_an_object() -> None:
    known = {
        name: Registered(name, url, frozenset(), frozenset())
        for name, url in {"all": "s3://bbb", "raw": "s3://bbb/raw?endpoint_url=x", "rawer": "s3://bbb/rawer"}.items()
    }
    assert location_of("s3://bbb/raw/a", known) == "raw"
    assert location_of("s3://bbb/rawest/a", known) == "all"
    assert key_in_bucket("raw:/x/a.h5", known["raw"]) == "raw/x/a.h5"
    assert key_in_bucket("s3://bbb/raw/ a+b.h5", known["raw"]) == "raw/ a+b.h5"


def test_tasks_go_to_the_copy_of_their_data(federation: Federation) -> None:
    ada = federation.person("ada")
    made = [
        federation.write(objects.create, ada.identity_id, "object", size_bytes=10**9, sha256=f"{number:064x}")
        for number in range(2)
    ]
    far = federation.agent(ada, "far")
    near = federation.agent(ada, "near", cached={made[1].sha256: 10**9})
    federation.write(lambda transaction: transaction.execute(sa.text("UPDATE endpoints SET workers = 2")))
    for each in made:
        assert submit(federation, ada, objects=[each.object_id]) == []
    assert [granted.objects for granted in far.lease(pick=pick)] == [[made[0].object_id]]
    assert [granted.objects for granted in near.lease(pick=pick)] == [[made[1].object_id]]
    submit(federation, ada, objects=[made[1].object_id])
    assert far.lease(pick=pick) == []
    federation.write(holdings.change, near.endpoint_id, {}, [made[1].sha256])
    assert len(far.lease(pick=pick)) == 1


def test_nothing_is_left_to_an_endpoint_that_may_not_run_it(federation: Federation) -> None:
    ada = federation.person("ada")
    save(federation, "raw", "s3://bucket/raw", read="*")
    made = federation.write(objects.create, ada.identity_id, "object", size_bytes=10**10, sha256="a" * 64)
    far = federation.agent(ada, "far")
    federation.agent(ada, "near", cached={made.sha256: 10**10}, locations={"raw": Mount()})
    federation.write(lambda transaction: transaction.execute(sa.text("UPDATE endpoints SET workers = 2")))
    assert submit(federation, ada, objects=[made.object_id], target="far") == []
    assert submit(federation, ada, files=["raw:/a.h5"], target="far") == []
    seen: list[QueuedClass] = []

    def look(site: Site, waiting: list[QueuedClass]) -> list[Share]:
        seen.extend(waiting)
        return [Share(each.class_id, 10) for each in waiting]

    assert len(far.lease(choose=look, pick=pick)) == 2
    assert not any(each.local_elsewhere for each in seen)
