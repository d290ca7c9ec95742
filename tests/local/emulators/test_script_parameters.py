"""Parameters of a script become literals that mean the same."""

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from local.emulators.script_parameters import inline_parameters


def _parameter(name: str, kind: str, value: str | None) -> dict[str, object]:
    return {"name": name, "parameterType": {"type": kind}, "parameterValue": {} if value is None else {"value": value}}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        pytest.param("STRING", "it's", '"it\'s"', id="a string with an apostrophe"),
        pytest.param("STRING", 'say "x"\n', r'"say \"x\"\n"', id="a string with quotes and a line break"),
        pytest.param("STRING", "🚀", '"🚀"', id="a character beyond the basic plane"),
        pytest.param("INT64", "-5", "-5", id="an integer"),
        pytest.param("BOOL", "true", "true", id="a boolean"),
        pytest.param("FLOAT64", "5e-324", 'CAST("5e-324" AS FLOAT64)', id="the smallest double"),
        pytest.param("DATE", "2026-01-02", 'CAST("2026-01-02" AS DATE)', id="a date"),
        pytest.param(
            "TIMESTAMP", "2026-01-02 03:04:05+00:00", 'CAST("2026-01-02 03:04:05+00:00" AS TIMESTAMP)', id="a timestamp"
        ),
        pytest.param("STRING", None, "CAST(NULL AS STRING)", id="a null keeps its type"),
    ],
)
def test_a_scalar_becomes_a_typed_literal(kind: str, value: str | None, expected: str) -> None:
    assert inline_parameters("SELECT @p;", [_parameter("p", kind, value)]) == f"SELECT {expected};"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        pytest.param(["a", "b'c"], 'ARRAY<STRING>["a", "b\'c"]', id="two strings"),
        pytest.param([], "ARRAY<STRING>[]", id="an empty array"),
    ],
)
def test_an_array_becomes_a_typed_array(items: list[str], expected: str) -> None:
    kind = {"type": "ARRAY", "arrayType": {"type": "STRING"}}
    parameter = {
        "name": "p",
        "parameterType": kind,
        "parameterValue": {"arrayValues": [{"value": item} for item in items]},
    }
    assert inline_parameters("SELECT @p", [parameter]) == f"SELECT {expected}"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("SELECT '@p'", id="in a string"),
        pytest.param('SELECT "@p", r"@p"', id="in double quotes"),
        pytest.param("SELECT '''it's @p'''", id="in triple quotes"),
        pytest.param("SELECT 1 -- @p", id="in a line comment"),
        pytest.param("SELECT 1 /* @p */", id="in a block comment"),
        pytest.param("SELECT @@p", id="as a system variable"),
        pytest.param("SELECT @other", id="as another name"),
        pytest.param("SELECT @pp", id="as the start of another name"),
    ],
)
def test_a_name_that_is_no_reference_stays(script: str) -> None:
    assert inline_parameters(script, [_parameter("p", "STRING", "value")]) == script


def test_every_reference_in_every_statement_is_replaced_and_the_rest_is_kept() -> None:
    script = "BEGIN TRANSACTION;\n  -- it's\n  DELETE FROM t WHERE a=@a AND b IN (@b,@A);\nCOMMIT TRANSACTION;"
    inlined = inline_parameters(script, [_parameter("a", "INT64", "1"), _parameter("b", "INT64", "2")])
    assert inlined == script.replace("@a", "1").replace("@b", "2").replace("@A", "1")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_any_text_survives_as_one_string_literal(text: str) -> None:
    inlined = inline_parameters("SELECT @p AS p", [_parameter("p", "STRING", text)])
    literal = sqlglot.parse_one(inlined, read="bigquery").find(exp.Literal)
    assert literal is not None
    assert inlined.startswith('SELECT "')
    assert inlined.endswith('" AS p')
    assert len(sqlglot.parse(inlined, read="bigquery")) == 1
