"""A real local run, recorded between the clients and the emulator."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
from sqlglot import exp

from coinbeam import sql_template as templates
from coinbeam.contracts import load_all
from coinbeam.settings import Settings
from coinbeam.warehouse.client import DATASETS
from console.partitions import statements
from tests.end_to_end.conftest import Pipeline
from tests.end_to_end.warm import WarmAirflow
from tests.temporary import LocalCloud, fresh_resources
from tests.warehouse.activity import do_everything_else
from tests.warehouse.googlesql import Columns, GoogleSql
from tests.warehouse.wiretap import Request, wiretap


@dataclass(frozen=True)
class Recorded:
    """What a run said to BigQuery.

    Attributes:
        settings: of the run; its BigQuery is the proxy.
        dag: requests of the snapshot DAG, most of them by stock operators.
        rest: requests of everything else.
        templates: the SQL templates that were rendered in this process.
    """

    settings: Settings
    dag: tuple[Request, ...]
    rest: tuple[Request, ...]
    templates: frozenset[Path]

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests, in order."""
        return self.dag + self.rest

    @cached_property
    def statements(self) -> list[exp.Expr]:
        """The statements of the different SQL texts, as sqlglot reads them as BigQuery's."""
        texts = dict.fromkeys(request.sql for request in self.requests if request.sql)
        return [statement for text in texts for statement in statements(text)]

    @property
    def tables(self) -> dict[str, Columns]:
        """The columns of every table and view of the contracts, under each of its names, and of every staging table as
        it was asked for.
        """
        staged = {
            f"{request.json['tableReference']['datasetId']}.{request.json['tableReference']['tableId']}": {
                field["name"]: field["type"] for field in request.json["schema"]["fields"]
            }
            for request in self.requests
            if request.method == "POST" and request.path.endswith("/tables") and request.json.get("schema")
        }
        known = {f"{getattr(self.settings.warehouse, DATASETS[c.dataset])}.{c.name}": c for c in load_all().values()}
        columns = {name: {column.name: column.type for column in c.columns} for name, c in known.items()}
        return staged | columns | {f"{self.settings.google.project}.{name}": found for name, found in columns.items()}


@pytest.fixture(scope="session")
def googlesql_folder(pytestconfig: pytest.Config) -> Path:
    """Where Google's analyser is kept as machine code, from one run of the tests to the next."""
    return pytestconfig.cache.mkdir("googlesql")


@pytest.fixture(scope="module")
def analyser(recorded: Recorded, googlesql_folder: Path) -> GoogleSql:
    """Google's analyser, with the tables of the recorded run."""
    return GoogleSql(googlesql_folder, recorded.tables)


@pytest.fixture(scope="module")
def recorded(
    local_cloud: LocalCloud, warm_airflow: WarmAirflow, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recorded]:
    """One run of the snapshot DAG for one asset, and everything else once."""
    fresh = fresh_resources(local_cloud)
    local = fresh.settings.local
    with wiretap(local.ports.bigquery) as tap:
        ports = local.ports.model_copy(update={"bigquery": tap.port})
        settings = fresh.settings.model_copy(update={"local": local.model_copy(update={"ports": ports})})
        run_the_dag(Pipeline(settings, tmp_path_factory.mktemp("recorded"), warm_airflow))
        dag = tuple(tap.requests)
        with rendered_templates() as rendered:
            do_everything_else(settings)
        yield Recorded(settings, dag, tuple(tap.requests[len(dag) :]), frozenset(rendered))


def run_the_dag(pipeline: Pipeline) -> None:
    """The smallest run: one asset, without a call for details."""
    pipeline._control("reset", {})
    pipeline.faults(profile="none")
    ran = pipeline.run({"COINBEAM_MARKET__MAX_DETAILS": "0"}, universe="ids", ids="bitcoin")
    assert ran.code == 0, ran.log[-4000:]


@contextmanager
def rendered_templates() -> Iterator[set[Path]]:
    """The templates that become SQL while the ``with`` block runs, in whichever module."""
    found: set[Path] = set()
    original = templates.render

    def render(template: Path, **values: object) -> str:
        found.add(template)
        return original(template, **values)

    with pytest.MonkeyPatch.context() as patch:
        for module in [module for name, module in sys.modules.items() if name.startswith("coinbeam.")]:
            if getattr(module, "render", None) is original:
                patch.setattr(module, "render", render)
        yield found
