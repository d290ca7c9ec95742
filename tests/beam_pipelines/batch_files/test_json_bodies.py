"""A body is read by the fastest parser that can, and its answer found where the APIs put it."""

import gzip
import math
from typing import Any

import pytest
import simdjson

from beam_pipelines.batch_files.json_bodies import ARRAYS, OBJECTS, BodyFault, Document, answer, plain, read_json


def test_lazy_values_come_only_to_those_who_ask_for_them() -> None:
    lazy, eager = read_json(b'{"a": [1]}', lazy=True), read_json(b'{"a": [1]}')
    assert isinstance(lazy, Document)
    assert type(lazy.value) is simdjson.Object
    assert plain(lazy.value) == {"a": [1]}
    assert eager == Document({"a": [1]})


@pytest.mark.parametrize("lazy", [False, True])
def test_numbers_that_only_python_reads_are_marked(lazy: bool) -> None:
    document = read_json(b"[NaN, 1" + b"0" * 5_000 + b"]", lazy=lazy)
    assert isinstance(document, Document)
    assert document.may_hold_nan
    assert math.isnan(document.value[0])
    assert document.value[1] == math.inf


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b'[{"a": 1', b"[" * 200_000])
def test_a_body_that_no_parser_reads_is_a_fault(body: bytes) -> None:
    assert read_json(body) == read_json(body, lazy=True) == BodyFault("not_json")


@pytest.mark.parametrize(
    ("document", "kinds", "field", "expected"),
    [
        ([1], ARRAYS, None, [1]),
        ({"data": [1]}, ARRAYS, None, [1]),
        ({"data": {"a": 1}}, OBJECTS, "a", {"a": 1}),
        ({"a": 1, "data": None}, OBJECTS, "a", {"a": 1, "data": None}),
        ({"b": 1}, OBJECTS, "a", BodyFault("other")),
        (17, ARRAYS, None, BodyFault("other")),
        ({"error": "x"}, ARRAYS, None, BodyFault("error_body")),
        ({"status": {"error_code": 429}}, OBJECTS, "a", BodyFault("error_body")),
    ],
)
def test_an_answer_stands_bare_or_as_data(document: Any, kinds: Any, field: str | None, expected: Any) -> None:
    assert answer(document, kinds, "other", field) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (gzip.compress(b"{}")[:-4], "damaged_gzip"),
        (b"PK\x03\x04", "zip_archive"),
        (b'{"a":1}\n{"a":2}\n', "json_lines"),
        (b'{"a"\n{"a":2}\n', "not_json"),
    ],
)
def test_a_body_in_another_form_is_called_what_it_is(body: bytes, reason: str) -> None:
    assert read_json(body) == BodyFault(reason)
