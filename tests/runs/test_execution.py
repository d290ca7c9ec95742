"""How an execution ends: a small program stands for Airflow, and leaves a database as Airflow would."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coinbeam.landing.bucket import Bucket
from coinbeam.settings import ROOT, Settings
from runs import airflow as orchestrator
from runs.airflow import SNAPSHOT_DAG, DagRun, airflow_home, database
from runs.execution import TERMINATED, TURN, UNTIL_ALIVE, Attempt, Execution, Watched
from runs.lease import STALE, Lease
from tests.temporary import LocalCloud

pytestmark = pytest.mark.cloud
NOW = datetime(2026, 1, 2, tzinfo=UTC)
RUN = DagRun("2026-01-02T00:00:00Z", {}, dag_id=SNAPSHOT_DAG)
AUDIT = "[DAG TEST] running task <TaskInstance: crypto_etl_dag.audit manual__x ["
BLOCKED = "coinbeam.errors.PublishBlockedError: too many rejects"


@pytest.fixture
def settings(fresh_cloud: LocalCloud, tmp_path: Path) -> Settings:
    """A cloud, and a state folder whose database counts as migrated."""
    local = fresh_cloud.settings.local.model_copy(update={"state_dir": tmp_path / "state"})
    made = fresh_cloud.settings.model_copy(update={"local": local})
    airflow_home(made).mkdir(parents=True)
    return made


@pytest.fixture
def airflow(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lay out what Airflow says, its exit code, and the task that failed with the tries that it had."""
    monkeypatch.setattr("runs.execution.migrate_database", lambda *_: None)

    def ends(code: int, failed: tuple[int, int] | None = None) -> None:
        program = f"print({AUDIT!r}); print({BLOCKED!r}); raise SystemExit({code})"
        monkeypatch.setattr(orchestrator, "command", lambda *_: [sys.executable, "-u", "-c", program])
        database(settings).unlink(missing_ok=True)
        with sqlite3.connect(database(settings)) as made:
            made.execute("CREATE TABLE dag_run (dag_id, run_id, logical_date)")
            made.execute("CREATE TABLE task_instance (dag_id, run_id, task_id, state, try_number, max_tries, end_date)")
            made.execute(f"INSERT INTO dag_run VALUES ('{SNAPSHOT_DAG}', 'r', '2026-01-02 00:00:00.000000')")
            if failed:
                made.execute(
                    f"INSERT INTO task_instance VALUES ('{SNAPSHOT_DAG}', 'r', 'audit', 'failed', ?, ?, 1)", failed
                )

    return ends


def execute(settings: Settings, number: int = 0) -> tuple[int, list[str]]:
    said: list[str] = []
    return Execution(settings, Attempt("coinbeam-daily-x", number), said.append).run(RUN), said


def test_a_failed_job_is_told_in_its_own_words() -> None:
    watched = Watched(lambda _: None)
    watched.line("[DAG TEST] running task <TaskInstance: crypto_etl_dag.fetch manual__x [")
    watched.line("[error] Coinbeam: crypto_etl_dag.fetch failed: Run manual__x. ApiTerminalError: the key is refused.")
    watched.line("AirflowException: Apache Beam process failed with return code 3")
    assert watched.words("crypto_etl_dag.fetch") == "ApiTerminalError: the key is refused."


def test_a_run_that_ends_well_leaves_nothing_behind(settings: Settings, airflow: Callable[..., None]) -> None:
    airflow(0)
    assert execute(settings)[0] == 0
    assert Bucket(settings).names("jobs/") == []


def test_a_terminal_failure_ends_the_second_attempt_at_once(settings: Settings, airflow: Callable[..., None]) -> None:
    airflow(1, failed=(1, 2))
    code, said = execute(settings)
    words = "crypto_etl_dag.audit failed: PublishBlockedError: too many rejects"
    assert (code, said[-1]) == (1, words)
    airflow(0)
    assert execute(settings, number=1) == (1, [f"Attempt 1 ends at once: {words}"])
    assert execute(settings, number=0)[0] == 0, "a person who starts it anew is heard"


def test_a_failure_that_used_up_its_tries_may_be_tried_again(settings: Settings, airflow: Callable[..., None]) -> None:
    airflow(1, failed=(3, 2))
    assert execute(settings)[0] == 1
    airflow(0)
    assert execute(settings, number=1)[0] == 0


def test_an_airflow_that_dies_before_a_task_failed_says_so(settings: Settings, airflow: Callable[..., None]) -> None:
    airflow(137)
    code, said = execute(settings)
    assert (code, said[-1]) == (1, "Airflow ended before a task failed: see the log above.")
    assert Bucket(settings).names("jobs/") == []


@pytest.mark.usefixtures("settings")
def test_an_execution_that_is_asked_to_end_says_what_was_running() -> None:
    airflow = f"import time; print({AUDIT!r}, flush=True); time.sleep(60)"
    program = f"""
import sys
from pathlib import Path
from coinbeam.settings import load_settings
from runs import airflow, execution
airflow.command = lambda *_: [sys.executable, "-u", "-c", {airflow!r}]
execution.migrate_database = lambda *_: None
job = execution.Execution(load_settings(), execution.Attempt("x"), lambda line: print(line, flush=True))
raise SystemExit(job.run(airflow.DagRun("2026-01-02T00:00:00Z", {{}})))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert "crypto_etl_dag.audit" in process.stdout.readline()
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    said = process.stdout.read()
    assert process.wait(20) == TERMINATED == 143
    assert "Stopped from outside (SIGTERM): crypto_etl_dag.audit was running, since " in said
    assert time.monotonic() - started < 10, "Cloud Run waits so long"


def test_the_attempt_is_as_cloud_run_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_RUN_EXECUTION", "coinbeam-daily-abc")
    monkeypatch.setenv("CLOUD_RUN_TASK_ATTEMPT", "1")
    assert Attempt.present() == Attempt("coinbeam-daily-abc", 1)
    monkeypatch.delenv("CLOUD_RUN_EXECUTION")
    monkeypatch.delenv("CLOUD_RUN_TASK_ATTEMPT")
    assert Attempt.present().number == 0


def held(settings: Settings, work: str, looks: int) -> tuple[Execution, list[str], list[float]]:
    """An execution of which another one holds the work, and gives it back after some looks."""
    bucket, said, slept = Bucket(settings), list[str](), list[float]()
    path = f"jobs/{work}.lease"
    bucket.write_text(path, Lease(bucket, path, "another", lambda: NOW)._text())

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == looks:
            bucket.delete(path)

    return Execution(settings, Attempt("coinbeam-daily-y"), said.append, lambda: NOW, sleep), said, slept


def test_what_a_person_or_a_file_started_waits_for_its_turn(settings: Settings, airflow: Callable[..., None]) -> None:
    airflow(0)
    execution, said, slept = held(settings, SNAPSHOT_DAG, looks=3)
    assert execution.run(RUN) == 0
    assert len(slept) == 3
    assert said[0].endswith("This one waits.")
    assert AUDIT in said


def test_a_run_whose_turn_does_not_come_has_failed(settings: Settings, airflow: Callable[..., None]) -> None:
    airflow(0)
    execution, said, slept = held(settings, SNAPSHOT_DAG, looks=-1)
    assert execution.run(RUN) == 1
    assert sum(slept) == TURN.total_seconds()
    assert said[-1].endswith("for its turn: start it again.")
    assert AUDIT not in said


def test_what_is_due_is_left_to_an_execution_that_lives(settings: Settings, airflow: Callable[..., None]) -> None:
    airflow(0)
    execution, said, slept = held(settings, "due", looks=-1)
    assert execution.run_due() == 0
    assert STALE.total_seconds() < sum(slept) <= UNTIL_ALIVE.total_seconds()
    assert said[-1].endswith("It does what is due.")
