"""Variables of a Globus Compute configuration: filled in word for word, and named where they are missing."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoints.globus_config.template import fill_in
from faas.errors import ConfigurationError

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co"]), min_size=1)


@settings(deadline=None)
@given(WORDS)
def test_no_words_of_a_person_are_taken_for_yaml(words: str) -> None:
    text = 'a: {{ X }}\nb: "#PBS -A {{ X }}"\nc: |\n  {{ X }}!\nd: {{ X | default("none") }}\n'
    assert fill_in(text, {"X": words}, "f") == {"a": words, "b": f"#PBS -A {words}", "c": f"{words}!\n", "d": words}


@settings(deadline=None)
@given(st.one_of(st.integers(), st.booleans()))
def test_numbers_and_truth_stay_what_they_are(value: int | bool) -> None:
    assert fill_in("a: {{ X }}", {"X": value}, "f") == {"a": value}


def test_defaults_are_read_as_yaml_as_globus_compute_does() -> None:
    text = 'a: {{ A|default("null") }}\nb: {{ B|default(4) }}\nc: {{ C|default("x y") }}\nd: {{ D|default() }}\n'
    assert fill_in(text, {}, "f") == {"a": None, "b": 4, "c": "x y", "d": None}


def test_logic_sees_the_values() -> None:
    text = "{% if GPU == 'a100' %}a: {{ N * 2 }}{% else %}a: 0{% endif %}\n{% for x in L %}{{ x }}: 1\n{% endfor %}"
    assert fill_in(text, {"GPU": "a100", "N": 2, "L": ["k"]}, "f") == {"a": 4, "k": 1}
    assert fill_in("a: {{ X | shell_escape }}", {"X": "a b"}, "f") == {"a": "'a b'"}
    assert fill_in("{# a: {{ NOBODY }} #}b: 1", {}, "f") == {"b": 1}


def test_the_environment_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE", "lab")
    assert fill_in("a: {{ env.SITE }}\nb: {{ _GC.env.SITE }}", {}, "f") == {"a": "lab", "b": "lab"}


@pytest.mark.parametrize(
    ("text", "variables", "complaint"),
    [
        (
            "a: {{ X }}\nb: {{ Y }}\n{% if Z %}c: 1{% endif %}",
            {"Y": 1},
            "f has no value for X, Z. Give it: --set X=… --set Z=…",
        ),
        ("a: {{ ACCOUNT|default(1) }}", {"ACOUNT": 1}, "f has no variable ACOUNT. Did you mean ACCOUNT?"),
        ("a: 1", {"Q": 1}, "f has no variable Q. It has: none."),
        ("a: {{ X", {}, "f, line 1: "),
        ("a: {{ X.y }}", {"X": 1}, "f: "),
        ("a: {{ ''.__class__.__mro__ }}", {}, "f: "),
        ("a: {{ mapped_identity.local.uname }}", {}, "an endpoint of many people"),
        ("a: [1", {}, "f is not YAML"),
    ],
)
def test_what_is_wrong_is_named(text: str, variables: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        fill_in(text, variables, "f")
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_plain_yaml_is_plain_yaml() -> None:
    text = "a: 1\nb: [x, {c: null}]\n"
    assert fill_in(text, {}, "f") == yaml.safe_load(text)
