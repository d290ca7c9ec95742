"""A DAG run as a subprocess: its environment, its output, and its end. A small Python program stands in for Airflow."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT, Environment, LineageSettings, Settings
from local.airflow import airflow_environment, migrate_database, run_dag
from runs import airflow as orchestrator
from runs.airflow import MARTS_DAG, SNAPSHOT_DAG, DagRun, command, lineage_environment, lineage_file
from tests.temporary import temporary_settings

RUN = DagRun("2026-01-02T00:00:00Z", {"universe": "top", "top_n": 5}, {"COINBEAM_MARKET__SOURCE": "simulator"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A local environment with a state folder of its own."""
    return temporary_settings(tmp_path / "state")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a program run where Airflow would; it finds Airflow's arguments in ``sys.argv``."""

    def install(program: str) -> None:
        monkeypatch.setattr(
            orchestrator, "command", lambda *arguments: [sys.executable, "-u", "-c", program, *arguments]
        )

    return install


def test_airflow_lives_in_the_state_folder_and_sees_only_our_dags(settings: Settings) -> None:
    variables = airflow_environment(settings)
    home = settings.local.state_dir.resolve() / "airflow"
    assert variables["AIRFLOW_HOME"] == str(home)
    assert variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{home}/airflow.db"
    assert variables["AIRFLOW__CORE__DAGS_FOLDER"] == str(ROOT / "dags")
    assert variables["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"


def test_airflow_listens_on_loopback_and_talks_to_the_emulators(settings: Settings) -> None:
    variables = airflow_environment(settings)
    ports = settings.local.ports
    assert variables["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert variables["AIRFLOW__API__PORT"] == str(ports.airflow)
    assert variables["BIGQUERY_EMULATOR_HOST"] == f"http://127.0.0.1:{ports.bigquery}"
    assert variables["COINBEAM_LOCAL__PORTS__SIMULATOR"] == str(ports.simulator)


def test_the_python_path_keeps_what_was_there(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert airflow_environment(settings)["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/elsewhere"]
    monkeypatch.delenv("PYTHONPATH")
    assert airflow_environment(settings)["PYTHONPATH"] == str(ROOT), "an empty entry would mean the working folder"


def test_no_variable_of_airflow_holds_the_api_key(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINGECKO_API_KEY", "CG-sentinelsecret")
    assert "sentinelsecret" not in json.dumps(airflow_environment(settings))


def test_lineage_goes_to_one_file_on_one_machine(settings: Settings) -> None:
    variables = airflow_environment(settings)
    transport = json.loads(variables["AIRFLOW__OPENLINEAGE__TRANSPORT"])
    assert transport == {"type": "file", "log_file_path": str(lineage_file(settings)), "append": True}
    assert lineage_file(settings).is_relative_to(settings.local.state_dir.resolve())
    assert lineage_file(settings).parent.is_dir(), "the transport does not make it"
    assert variables["AIRFLOW__OPENLINEAGE__NAMESPACE"] == "coinbeam"
    assert variables["AIRFLOW__OPENLINEAGE__DISABLED"] == "False"
    (rule,) = json.loads(variables["AIRFLOW__OPENLINEAGE__EMISSION_POLICY"])
    assert rule == {"scope": {}, "controls": {"include_source_code": False, "hook_lineage": False}}


def test_lineage_goes_where_the_setting_says(settings: Settings) -> None:
    transport = '{"type": "http", "url": "https://lineage.example"}'
    chosen = settings.model_copy(update={"lineage": LineageSettings(transport=SecretStr(transport), namespace="acme")})
    variables = lineage_environment(chosen)
    assert variables["AIRFLOW__OPENLINEAGE__TRANSPORT"] == transport
    assert variables["AIRFLOW__OPENLINEAGE__NAMESPACE"] == "acme"
    assert not lineage_file(chosen).parent.exists()


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"lineage": LineageSettings(enabled=False)}, id="it is switched off"),
        pytest.param({"environment": Environment.PRODUCTION}, id="there is nowhere to tell it"),
    ],
)
def test_without_lineage_the_provider_is_off(settings: Settings, changes: dict[str, object]) -> None:
    quiet = settings.model_copy(update=changes)
    assert lineage_environment(quiet) == {"AIRFLOW__OPENLINEAGE__DISABLED": "True"}
    assert not lineage_file(quiet).parent.exists()


def test_a_command_is_of_this_python() -> None:
    assert command("airflow", "version") == [sys.executable, "-m", "airflow", "version"]


def test_a_run_hands_over_instant_form_and_variables(
    settings: Settings, stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    stand_in(
        "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ['COINBEAM_MARKET__SOURCE'], "
        "os.environ['AIRFLOW_HOME']]))"
    )
    lines: list[str] = []
    log = tmp_path / "logs" / "run.log"
    assert run_dag(settings, RUN, log, lines.append) == 0
    arguments, source, home = json.loads(lines[0])
    assert arguments[0] == "runs.dag_runs"
    assert json.loads(arguments[1]) == [[SNAPSHOT_DAG, "2026-01-02T00:00:00Z", {"universe": "top", "top_n": 5}]]
    assert source == "simulator"
    assert home == str(orchestrator.airflow_home(settings))
    assert log.read_text() == lines[0] + "\n"


def test_a_second_run_of_one_instant_says_that_the_first_is_running(
    settings: Settings, stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    stand_in("")
    with orchestrator._alone(RUN, tmp_path / "first.log"):
        said = rf"{SNAPSHOT_DAG} runs for {RUN.logical_date} already: process {os.getpid()} since .*first.log"
        with pytest.raises(TerminalError, match=said):
            run_dag(settings, RUN, tmp_path / "second.log", print)
        other = replace(RUN, logical_date="2026-01-03T00:00:00Z")
        assert run_dag(settings, other, tmp_path / "third.log", print) == 0
    assert run_dag(settings, RUN, tmp_path / "second.log", print) == 0, "the lock ended with its holder"


def test_runs_that_follow_are_handed_to_the_same_process(
    settings: Settings, stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    stand_in("import sys; print(sys.argv[2])")
    lines: list[str] = []
    marts = DagRun("2026-01-03T00:00:00Z", {}, dag_id=MARTS_DAG)
    assert run_dag(settings, RUN, tmp_path / "run.log", lines.append, [marts]) == 0
    assert [one[:2] for one in json.loads(lines[0])] == [
        [SNAPSHOT_DAG, RUN.logical_date],
        [MARTS_DAG, "2026-01-03T00:00:00Z"],
    ]


def test_errors_and_odd_bytes_reach_the_log_too(
    settings: Settings, stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    stand_in("import os; os.write(2, b'bad \\xff byte\\n'); os.write(1, 'é\\n'.encode()); raise SystemExit(3)")
    lines: list[str] = []
    assert run_dag(settings, RUN, tmp_path / "run.log", lines.append) == 3
    assert lines == ["bad � byte", "é"]


SILENT = "import time; print('started', flush=True); time.sleep(600)"
TALKING = "import time\nwhile True: print('still here', flush=True); time.sleep(0.02)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('started', flush=True); time.sleep(600)"
)
PARENT = (
    "import subprocess, sys, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print(child.pid, flush=True); time.sleep(600)"
)
ORPHAN = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True)"


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(SILENT, id="that prints nothing more"),
        pytest.param(TALKING, id="that prints for ever"),
        pytest.param(STUBBORN, id="that ignores being asked"),
        pytest.param(PARENT, id="that has a child"),
        pytest.param(ORPHAN, id="whose child holds on to its output"),
    ],
)
def test_a_run_that_does_not_end_is_stopped_with_its_whole_group(
    program: str, settings: Settings, stand_in: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orchestrator, "RUN_TIMEOUT_SECONDS", 0.8)
    monkeypatch.setattr(orchestrator, "_STOP_SECONDS", 0.5)
    stand_in(program)
    lines: list[str] = []
    before, started = set(psutil.Process().children(recursive=True)), time.monotonic()
    with pytest.raises(TerminalError, match=r"did not end within 0\.8 s and was stopped.*run\.log"):
        run_dag(settings, RUN, tmp_path / "run.log", lines.append)
    assert time.monotonic() - started < 10
    assert lines, "it had really started"
    assert set(psutil.Process().children(recursive=True)) <= before
    if lines[0].isdigit():
        assert not alive(int(lines[0]))


def alive(pid: int) -> bool:
    """Whether a process still runs; a moment is given to the system to tidy up."""
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return False
        time.sleep(0.02)
    return True


def test_a_reader_that_fails_leaves_no_process_behind(
    settings: Settings, stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    stand_in(PARENT)
    seen: list[int] = []

    def fail(line: str) -> None:
        seen.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_dag(settings, RUN, tmp_path / "run.log", fail)
    assert not alive(seen[0])


def test_the_database_is_prepared_once_per_version(
    settings: Settings, stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    stand_in(f"import sys; open({str(tmp_path / 'calls')!r}, 'a').write(' '.join(sys.argv[1:]) + chr(10))")
    migrate_database(settings)
    migrate_database(settings)
    assert (tmp_path / "calls").read_text() == "airflow db migrate\n"
    (orchestrator.airflow_home(settings) / "migrated").write_text("2.0.0")
    migrate_database(settings)
    assert (tmp_path / "calls").read_text().count("\n") == 2, "another version migrates again"


def test_a_migration_that_fails_says_why_and_is_tried_again(
    settings: Settings, stand_in: Callable[[str], None]
) -> None:
    stand_in("raise SystemExit('no space left')")
    with pytest.raises(TerminalError, match=r"could not be prepared: no space left.*Delete"):
        migrate_database(settings)
    stand_in("pass")
    migrate_database(settings)
    assert (orchestrator.airflow_home(settings) / "migrated").is_file()


def test_a_migration_that_hangs_is_bounded(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, float] = {}

    def run(*_: object, timeout: float, **__: object) -> subprocess.CompletedProcess[str]:
        seen["timeout"] = timeout
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    migrate_database(settings)
    assert 0 < seen["timeout"] <= 300
