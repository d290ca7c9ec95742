"""Runs of the real DAG through real Airflow, against the emulators and the simulator, each in datasets of its own."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

import pytest
from google.cloud.bigquery import LoadJobConfig

from beam_pipelines.populate_date_dim import run as populate_date_dim
from coinbeam.clock import utc_now
from coinbeam.contracts import load_all, load_contract
from coinbeam.contracts.bigquery import staging_schema
from coinbeam.feeds.snapshot.request import present_instant
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from local.airflow import airflow_environment
from runs.airflow import DagRun
from tests.end_to_end.warm import WarmAirflow
from tests.temporary import LocalCloud, fresh_resources

FORM: dict[str, Any] = {
    "universe": "all",
    "ids": "",
    "top_n": 250,
    "category": "",
    "quote_currency": "usd",
    "refetch": False,
    "replay_date": None,
    "snapshot_at": None,
    "source": "",
    "dry_run": False,
}


VOLATILE = frozenset(
    {
        "started_at",
        "finished_at",
        "task_seconds",
        "checked_at",
        "ingested_at",
        "details_at",
        "published_at",
        "refreshed_at",
        "updated_at",
        "reserved_at",
        "settled_at",
        "touched_at",
        "audited_at",
        "attempt",
        "seals",
    }
)
"""Columns that tell when we did something, or which run did, and so differ between two runs over the same market."""


RUNS = frozenset({"ingestion_batch", "latest_ingestion_batch", "deduplication_stats"})
"""Tables that tell of each run what it did."""

COSTS = RUNS | {"api_call_budget"}
"""Tables that tell what runs cost: one that found landed bodies did not pay for them."""


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the age that a rule of freshness found: it grows between two runs."""
    return {
        name: value
        for name, value in row.items()
        if not (name == "value" and str(row.get("rule")).startswith("freshness"))
    }


@cache
def calendar() -> bytes:
    """The batch file of the calendar as its job writes it; once per process, since it is always the same."""
    with TemporaryDirectory() as folder:
        populate_date_dim([f"--output={folder}", "--runner=FnApiRunner"], Settings())
        return (Path(folder) / "date_dim.csv").read_bytes()


@dataclass(frozen=True)
class Ran:
    """A finished run."""

    code: int
    log: str


@dataclass(frozen=True)
class Pipeline:
    """The DAG on one local cloud.

    Attributes:
        settings: of the cloud, with fresh bucket and datasets.
        folder: for logs.
        airflow: what runs the DAGs.
    """

    settings: Settings
    folder: Path
    airflow: WarmAirflow

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(self.settings)

    @property
    def bucket(self) -> Bucket:
        return Bucket(self.settings)

    def elsewhere(self) -> "Pipeline":
        """The same DAG and market on another bucket and other datasets."""
        folder = self.folder / "elsewhere"
        folder.mkdir()
        return Pipeline(fresh_resources(LocalCloud(self.settings, {})).settings, folder, self.airflow)

    def fill_calendar(self) -> None:
        """Publish the calendar as an earlier run would have left it, so that this one need not."""
        contract = load_contract("date_dim")
        ensure_schema(self.warehouse)
        config = LoadJobConfig(
            schema=staging_schema(contract.file_columns), skip_leading_rows=1, write_disposition="WRITE_APPEND"
        )
        name = f"{self.settings.google.project}.{self.warehouse.table(contract)}"
        self.warehouse.client.load_table_from_file(BytesIO(calendar()), name, job_config=config).result(timeout=60)

    @property
    def today(self) -> str:
        return present_instant(utc_now(), self.settings)

    def run(self, variables: Mapping[str, str] | None = None, **form: Any) -> Ran:
        """Run the DAG to its end, from the simulator unless the form names files."""
        conf = FORM | {"snapshot_at": form.get("snapshot_at") or self.today} | form
        if conf["replay_date"]:
            conf["snapshot_at"] = None
        run = DagRun(conf["snapshot_at"] or f"{conf['replay_date']}T00:00:00Z", conf)
        return self._run([run], {"COINBEAM_MARKET__MAX_DETAILS": "3", **(variables or {})})

    def run_on_dataflow(self, dataflow: tuple[str, str], variables: Mapping[str, str]) -> Ran:
        """Run the DAG of the present day on a service that stands for Dataflow, at its REST and gRPC address."""
        conf = FORM | {"snapshot_at": self.today}
        return self._run([DagRun(self.today, conf)], variables, dataflow=dataflow)

    def run_all(self, runs: Sequence[Mapping[str, Any]]) -> Ran:
        """Run the DAG for several forms, one after the other in one Airflow; each names its instant."""
        listed = [DagRun(str(form["snapshot_at"]), FORM | dict(form)) for form in runs]
        return self._run(listed, {"COINBEAM_MARKET__MAX_DETAILS": "3"})

    def run_other(self, dag_id: str, variables: Mapping[str, str] | None = None, **form: Any) -> Ran:
        """Run another DAG to its end, under the present day."""
        return self._run([DagRun(self.today, form, dag_id=dag_id)], variables or {})

    def kill(self, seconds: float, dag_id: str, variables: Mapping[str, str], **form: Any) -> bool:
        """Start a run and kill it and everything that it started, without a chance to clean up; whether it still
        ran.
        """
        return (
            self._run([DagRun(self.today, form, dag_id=dag_id)], variables, seconds, kill=True).code == -signal.SIGKILL
        )

    def _run(
        self,
        runs: Sequence[DagRun],
        variables: Mapping[str, str],
        seconds: float = 280,
        kill: bool = False,
        dataflow: tuple[str, str] | None = None,
    ) -> Ran:
        log = self.folder / f"run-{len(list(self.folder.glob('run-*.log')))}.log"
        given = airflow_environment(self.settings) | {"COINBEAM_MARKET__SOURCE": "simulator", **variables}
        code = self.airflow.run(runs, given, log, seconds, kill, dataflow)
        return Ran(code, log.read_text(encoding="utf-8", errors="replace"))

    def batches(self) -> list[dict[str, Any]]:
        return self.rows(
            "SELECT * FROM `{ops}.ingestion_batch` WHERE snapshot_date >= '2000-01-01' ORDER BY batch_id, started_at"
        )

    def rows(self, sql: str) -> list[dict[str, Any]]:
        names = self.settings.warehouse
        datasets = {kind: getattr(names, f"{kind}_dataset") for kind in ("data", "marts", "ops", "staging")}
        return self.warehouse.rows(sql.format(**datasets))

    def tables(self, volatile: bool = False) -> dict[str, list[str]]:
        """Every row of every table, as text, sorted: what "the same warehouse" means.

        Args:
            volatile: with the columns that tell when something was done.
        """
        left_out = set() if volatile else VOLATILE
        content = {}
        for contract in load_all().values():
            names = ", ".join(c.name for c in contract.columns if c.name not in left_out)
            where = f" WHERE {contract.partition_column} >= '1970-01-01'" if contract.partition_column else ""
            rows = self.warehouse.rows(f"SELECT {names} FROM `{self.warehouse.table(contract)}`{where}")
            content[contract.name] = sorted(json.dumps(timeless(row), default=str, sort_keys=True) for row in rows)
        return content

    def faults(self, **order: Any) -> None:
        """Order faults of the simulator."""
        self._control("faults", order)

    def simulator_stats(self) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.settings.local.ports.simulator}/_control/stats", timeout=10) as answer:
            return dict(json.load(answer))

    def freeze(self, instant: str | None) -> None:
        """Let the simulated market stand still, so that two runs see the same prices."""
        self._control("clock", {"at": instant})

    def _control(self, name: str, body: Mapping[str, Any]) -> None:
        url = f"http://127.0.0.1:{self.settings.local.ports.simulator}/_control/{name}"
        with urlopen(Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}), timeout=10):
            pass

    def coinbeam(self, *arguments: str) -> str:
        """The command line as a user would call it, on this cloud."""
        done = subprocess.run(
            [sys.executable, "-m", "console", *arguments], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout


@pytest.fixture
def pipeline(fresh_cloud: LocalCloud, warm_airflow: WarmAirflow, tmp_path: Path) -> Iterator[Pipeline]:
    """The DAG on datasets of this test alone, with a market without faults."""
    ready = Pipeline(fresh_cloud.settings, tmp_path, warm_airflow)
    ready._control("reset", {})
    ready.faults(profile="none")
    yield ready
    ready.faults(profile="none")
