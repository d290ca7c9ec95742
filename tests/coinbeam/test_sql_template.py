"""The SQL files: what holds for every one of them."""

import re
from pathlib import Path

import jinja2
import pytest

from coinbeam.settings import ROOT
from coinbeam.sql_template import render

SQL_FILES = sorted((ROOT / "sql").rglob("*.sql"))
INSERT = re.compile(
    r"\bINSERT\b(?: INTO (?:\{\{ \w+ \}\}|[\w.`]+))?(?: \((?P<columns>[^()]*)\))? (?P<rows>.*)", re.IGNORECASE
)


def positional_inserts(sql: str) -> list[str]:
    """The inserts of a file that pair columns and values by their order in two places."""
    text = " ".join(re.sub(r"--.*|\{#.*?#\}", "", sql).split())
    faults = []
    for start in re.finditer(r"\bINSERT\b", text, re.IGNORECASE):
        found = INSERT.match(text, start.start())
        columns, rows = (found["columns"], found["rows"]) if found else (None, "")
        if columns == "{{ columns }}":
            named = rows.startswith(("VALUES ({{ values }})", "SELECT {{ columns }} FROM "))
        elif columns and rows.startswith("VALUES ("):  # both lists stand side by side, written out
            named = "{{" not in columns and columns.count(",") == rows.partition(")")[0].count(",")
        else:
            named = bool(columns) and rows.startswith(f"SELECT {columns} FROM ")
        faults += [] if named else [text[start.start() : start.start() + 80]]
    return faults


@pytest.mark.parametrize("path", SQL_FILES, ids=lambda path: path.relative_to(ROOT / "sql").as_posix())
def test_every_insert_names_its_columns(path: Path) -> None:
    assert positional_inserts(path.read_text(encoding="utf-8")) == []


def test_there_are_inserts_to_look_at() -> None:
    assert sum("INSERT" in path.read_text(encoding="utf-8") for path in SQL_FILES) > 10


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO {{ target }} SELECT a, b FROM c",
        "INSERT INTO {{ target }}\n({{ columns }})\nSELECT a.x, a.y FROM a",
        "INSERT INTO {{ target }} ({{ columns }}) WITH a AS (SELECT 1) SELECT * FROM a",
        "INSERT INTO t (a, b) SELECT b, a FROM c",
        "MERGE t USING s ON a WHEN NOT MATCHED THEN INSERT ROW",
        "WHEN NOT MATCHED THEN INSERT ({{ columns }}) VALUES (s.a, NULL)",
        "WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.a)",
        "INSERT INTO {{ a }} ({{ columns }}) SELECT {{ columns }} FROM b;\ninsert into c select * from d",
    ],
    ids=["no list", "a template's list", "a query", "another order", "a row", "values", "too few", "the second of two"],
)
def test_a_positional_insert_is_found(sql: str) -> None:
    assert len(positional_inserts(sql)) == 1


def test_a_name_without_a_value_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_text("SELECT {{ known }}, {{ unknown }}")
    with pytest.raises(jinja2.UndefinedError, match="'unknown' is undefined"):
        render(tmp_path / "x.sql", known=1)
