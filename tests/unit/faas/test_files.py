"""Names of files: what they may be, and what is said of those that may not."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import faas
from faas.files import split_name, split_s3_name


def test_names_are_told_apart_and_travel() -> None:
    assert split_name("als-raw:/2026/scan 12.h5") == ("als-raw", "/2026/scan 12.h5")
    assert split_s3_name("s3://beamline/raw//scan:12.h5") == ("beamline", "raw//scan:12.h5")
    for reference in (faas.File("als-raw:/a"), faas.OutputFile("als-raw:/a"), faas.S3("s3://raw/a")):
        back = pickle.loads(pickle.dumps(reference))
        assert back == reference == copy.deepcopy(reference)
        assert type(back) is type(reference)
        assert hash(back) == hash(reference)
        assert repr(reference) == f"{type(reference).__name__}({reference.name!r})"
    assert faas.File("als-raw:/a") != faas.OutputFile("als-raw:/a")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scan12.h5", "is not like 'location:/path'"),
        ("/global/cfs/als/scan12.h5", "is not like 'location:/path'"),
        ("als-raw:scan12.h5", "is not like 'location:/path'"),
        ("als raw:/x", "'als raw' cannot name a location"),
        (":/x", "'' cannot name a location"),
        ("als:/../etc/passwd", "'.' and '..' have no place"),
        ("als:/a/./b", "'.' and '..' have no place"),
        ("als:/", "a name between every two slashes"),
        ("als:/a//b", "a name between every two slashes"),
        ("als:/a/", "one after the last"),
        ("als:/a\nb", "cannot be printed"),
        ("als:/" + "a" * 201, "too long"),
        ("als:/" + "a/" * 600 + "b", "too long"),
        ("s3://raw/x", "use faas.S3('s3://raw/x')"),
        (12, "is a text like"),
    ],
)
def test_names_in_locations_that_are_refused(name: str, words: str) -> None:
    for kind in (faas.File, faas.OutputFile):
        with pytest.raises(ValueError, match=re.escape(words)):
            kind(name)


@pytest.mark.parametrize(
    "name", ["als-raw:/x", "s3://raw", "s3://raw/", "s3:///x", "s3://a b/x", "s3://raw/a/../b", ""]
)
def test_names_in_buckets_that_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is not like|have no place"):
        faas.S3(name)


@given(st.text())
def test_any_text_is_a_name_or_a_value_error(text: str) -> None:
    try:
        location, path = split_name(text)
    except ValueError:
        return
    assert f"{location}:{path}" == text
    assert not {"", ".", ".."} & set(path[1:].split("/"))
