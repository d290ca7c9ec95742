"""Filters mean what is documented, and no text breaks the parser."""

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.pubsub.filters import FilterError, parse


@dataclass(frozen=True)
class Case:
    """A filter as text, and whether it lets the attributes ``ATTRIBUTES`` pass."""

    text: str
    passes: bool


ATTRIBUTES = {"a": "one", "b-2": "", "c d": "x"}

LEAVES = st.sampled_from(
    [
        Case("attributes:a", True),
        Case("attributes:z", False),
        Case('attributes.a="one"', True),
        Case('attributes.a != "one"', False),
        Case('attributes.z != "one"', True),
        Case('attributes.b-2 = ""', True),
        Case('attributes."c d" = "x"', True),
        Case('hasPrefix(attributes.a, "on")', True),
        Case('hasPrefix(attributes.z, "")', False),
    ]
)


def _negated(case: Case) -> Case:
    return Case(f"NOT ({case.text})", not case.passes)


def _all(cases: list[Case]) -> Case:
    return Case(" AND ".join(f"({case.text})" for case in cases), all(case.passes for case in cases))


def _any(cases: list[Case]) -> Case:
    return Case(" OR ".join(f"({case.text})" for case in cases), any(case.passes for case in cases))


def _larger(inner: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    several = st.lists(inner, min_size=2, max_size=3)
    return inner.map(_negated) | several.map(_all) | several.map(_any)


@given(st.recursive(LEAVES, _larger, max_leaves=6).filter(lambda case: len(case.text) <= 256))
def test_an_expression_of_any_depth_is_its_parts_joined(case: Case) -> None:
    assert parse(case.text)(ATTRIBUTES) is case.passes


@pytest.mark.parametrize(
    ("text", "passing", "other"),
    [
        ("", {}, None),
        ("attributes:a", {"a": ""}, {"b": "1"}),
        ('attributes:"a b"', {"a b": "1"}, {"a": "1"}),
        ("-attributes:a", {}, {"a": "1"}),
        ('NOT attributes.a = "1" AND attributes:b', {"b": ""}, {"a": "1", "b": ""}),
        ('attributes."iana.org/tag" = "en"', {"iana.org/tag": "en"}, {}),
        (r'attributes.a = "say \"x\" \\ \u00e9\x41\101\n"', {"a": 'say "x" \\ éAA\n'}, {"a": "say"}),
    ],
)
def test_filters_mean_what_is_documented(text: str, passing: dict[str, str], other: dict[str, str] | None) -> None:
    assert parse(text)(passing)
    assert other is None or not parse(text)(other)


@pytest.mark.parametrize(
    "text",
    [
        "attributes",
        "a = 1",
        "attributes.a",
        "attributes.a = string",
        'attributes.a.b = "1"',
        'attributes.a = "1',
        "attributes:a AND",
        "attributes:a and attributes:b",
        "(attributes:a",
        "attributes:a )",
        "attributes:a AND attributes:b OR attributes:c",
        "attributes:" + "x" * 256,
        "hasPrefix(attributes.a)",
        "!",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text)


@given(st.text(max_size=40) | st.text('attributes:.="()NOTADR- ', max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    with suppress(FilterError):
        parse(text)({"a": "1"})
