"""The smoke check: our own DAGs pass it as they are shipped, and every way of not being importable is found and
told.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coinbeam.errors import TerminalError
from deploy.check import check_release
from deploy.tree import Manifest, describe, shipped
from tests.deploy.conftest import Release

BROKEN = "dags/one_dag.py"
DEPLOYMENT = '{"environment": "production", "release": "abc", "google": {"project": "acme"}, "storage": {"bucket": "acme-coinbeam"}}'
SMALL = "from airflow.sdk import DAG\nfrom dags.tasks import SEEN\nwith DAG('-'.join(SEEN)) as dag:\n    pass\n"


def release_of(folder: Path) -> Release:
    """The release of a configured checkout."""
    content = {path: (folder / path).read_bytes() for path in shipped(folder)}
    return Manifest("abc", "production", tuple(describe(path, body) for path, body in content.items())), content


@pytest.mark.airflow
def test_our_dags_are_imported_from_the_release_with_no_checkout_in_reach(checkout: Path) -> None:
    (checkout / "config" / "deployment.json").write_text(DEPLOYMENT)
    manifest, content = release_of(checkout)
    shutil.rmtree(checkout)
    found = check_release(manifest, content, Path(sys.executable))
    assert found == [
        "crypto_backfill_dag",
        "crypto_etl_dag",
        "crypto_marts_dag",
        "crypto_stream_dag",
        "fear_greed_dag",
        "price_witness_dag",
    ]


FAULTS = {
    "a module that is not shipped": ({BROKEN: "import benchmarks.charts\n"}, "No module named 'benchmarks'"),
    "a cycle in a DAG": (
        {
            BROKEN: "from airflow.sdk import DAG, task\nwith DAG('x') as dag:\n"
            "    @task\n    def a(): ...\n    @task\n    def b(): ...\n    one, two = a(), b()\n    one >> two >> one\n"
        },
        "Cycle detected",
    ),
    "a module of ours from somewhere else": (
        {BROKEN: f"import sys, types\nsys.modules['coinbeam.elsewhere'] = types.ModuleType('elsewhere')\n{SMALL}"},
        "coinbeam.elsewhere was not imported from the release",
    ),
}


@pytest.mark.airflow
@pytest.mark.parametrize(("files", "said"), FAULTS.values(), ids=FAULTS)
def test_a_release_that_cannot_be_imported_is_refused_with_the_reason(
    make_release: Callable[..., Release], files: dict[str, str], said: str
) -> None:
    with pytest.raises(TerminalError, match=said):
        check_release(*make_release("new", **files), Path(sys.executable))


@pytest.mark.airflow
def test_a_release_without_a_dag_is_refused(make_release: Callable[..., Release]) -> None:
    manifest, content = make_release("new")
    files = tuple(file for file in manifest.files if file.path != BROKEN)
    with pytest.raises(TerminalError, match="it holds no DAG"):
        check_release(
            Manifest("new", "production", files),
            {file.path: content[file.path] for file in files},
            Path(sys.executable),
        )


def test_an_interpreter_that_cannot_parse_is_named(make_release: Callable[..., Release]) -> None:
    with pytest.raises(TerminalError, match="/bin/false could not parse"):
        check_release(*make_release("new"), Path("/bin/false"))
