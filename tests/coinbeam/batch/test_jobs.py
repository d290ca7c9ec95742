"""What a job and its DAG both know stands once: in ``coinbeam.batch.jobs``."""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinbeam.batch.jobs import JOBS, KNOWN_ASSETS_FILE, LOCAL_RUNNER, PIECES_FILE, RATES_REJECTS
from coinbeam.batch.kinds import FEEDS
from coinbeam.contracts import load_all

ROOT = Path(__file__).parents[3]
HOME = ROOT / "coinbeam" / "batch" / "jobs.py"
PACKAGES = ("coinbeam", "beam_pipelines", "dags", "console", "deploy", "local")
FILES = {KNOWN_ASSETS_FILE, PIECES_FILE} | {pattern for job in JOBS.values() for pattern in job.files.values()}
FOLDERS = {folder for job in JOBS.values() for folder in job.endpoints.values()}
TYPED = re.compile(
    "|".join(
        [
            *(rf"^{name}$" for name in [*sorted(JOBS), LOCAL_RUNNER]),
            *(rf"^(.*/)?{re.escape(file).replace(re.escape('*'), '.*')}$" for file in sorted(FILES)),
            *(rf"^([^ ]*/)?landing/{folder}\b" for folder in sorted(FOLDERS)),
            r"\breport_[^ ]*\.json$",
            r"\bfailure_[^ ]*\.txt$",
            r"\breturn code \d",
        ]
    )
)


def strings(source: str) -> Iterator[str]:
    """The strings of a module, docstrings left out; the holes of an f-string are ``*``."""
    tree = ast.parse(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)  # type: ignore[misc]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said | inside:
            yield node.value


def typed_twice(source: str) -> list[str]:
    """Strings that only ``coinbeam.batch.jobs`` may hold."""
    return [text for text in strings(source) if TYPED.search(text)]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_types_what_the_jobs_say(package: str) -> None:
    found = {
        str(path.relative_to(ROOT)): typed
        for path in (ROOT / package).rglob("*.py")
        if path != HOME and (typed := typed_twice(path.read_text(encoding="utf-8")))
    }
    assert found == {}, "take it from coinbeam.batch.jobs"


@pytest.mark.parametrize(
    "planted",
    [
        'load_task("date_dim", batch_id, "date_dim.csv")',
        'uri = f"{output}/crypto_{stamp}.csv"',
        'beam_job("fetch_crypto_data", options={})',
        'path = f"{folder}/report_{job}.json"',
        'names = bucket.names("landing/market_chart/usd")',
        'ends = error.endswith("return code 3")',
        'RUNNER = "FnApiRunner"',
    ],
)
def test_a_planted_copy_is_found(planted: str) -> None:
    assert typed_twice(planted)
    assert not typed_twice(f'"""It writes {planted!r}."""'.replace("'", ""))


def test_every_job_is_an_entry_module_that_says_what_its_template_says() -> None:
    for job in JOBS.values():
        spec = importlib.util.find_spec(f"beam_pipelines.{job.name}")
        assert spec is not None
        assert spec.origin is not None
        said = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
        assert " ".join(said.partition("\n\n")[0].split()) == job.description


def test_every_file_loads_a_table_of_a_contract() -> None:
    assert {table for job in JOBS.values() for table in job.files} <= set(load_all())
    for feed in FEEDS:
        assert set(feed.job.files) <= set(feed.staged)


def test_the_name_of_a_file_is_its_pattern_with_the_stamp() -> None:
    job = JOBS["fetch_crypto_data"]
    fact, rates, rejects = job.files
    assert (job.file(fact), job.file(fact, "2026-01-02")) == ("crypto_*.csv", "crypto_2026-01-02.csv")
    assert job.file(rates, "2026-01-02") == "exchange_rates_2026-01-02.csv"
    assert job.file(rejects, f"{RATES_REJECTS}2026-01-02") == "rejected_rates_2026-01-02.ndjson"
    assert job.file(rejects, "2026-01-02") == "rejected_2026-01-02.ndjson"
    assert job.report_path("batches/b") == "batches/b/report_fetch_crypto_data.json"
    assert job.failure_path("batches/b") == "batches/b/failure_fetch_crypto_data.txt"
