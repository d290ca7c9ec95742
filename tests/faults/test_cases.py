"""Every case of the fault suite, as a user would run it: the real command line, DAGs and jobs, on the emulators."""

import json
import os
import runpy
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from coinbeam.clock import utc_now
from coinbeam.settings import Settings, load_settings
from console import main
from local.airflow import airflow_environment
from runs.airflow import DagRun
from tests.end_to_end.conftest import Pipeline
from tests.end_to_end.conftest import pipeline as pipeline
from tests.faults.case import CASES, Case, Step, filled, folders, read

QUICK = {"COINBEAM_RETRY__RETRIES": "0", "COINBEAM_MARKET__MAX_DETAILS": "0", "COINBEAM_MARKET__SOURCE": "simulator"}


class Shell:
    """Runs the commands of a case in this process, in a copy of its folder."""

    def __init__(self, pipeline: Pipeline, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._pipeline, self._patch, self._capsys = pipeline, patch, capsys
        self._logs: list[Path] = []
        patch.setattr("console.dags.run_dag", self._run_dag)
        for name in ("console.dags.start_services", "console.dags.start_local_cloud", "console.run.start_local_cloud"):
            patch.setattr(name, lambda _: None)  # it runs

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """The exit code of a command, and all that it printed."""
        self._capsys.readouterr()
        load_settings.cache_clear()
        code = 0
        try:
            self._start(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        shown = self._capsys.readouterr()
        load_settings.cache_clear()
        return code, " ".join(f"{shown.out} {shown.err}".split())

    def log(self) -> str:
        """What Airflow printed, for the person who reads a failure."""
        return "".join(path.read_text(encoding="utf-8", errors="replace")[-3000:] for path in self._logs)

    def _start(self, words: Sequence[str]) -> None:
        match words:
            case ["coinbeam", *_]:
                self._patch.setattr("sys.argv", list(words))
                main()
            case ["python", "-m", module, *_]:
                self._patch.setattr("sys.argv", [module, *words[3:]])
                runpy.run_module(module, run_name="__main__", alter_sys=True)
            case _:
                pytest.fail(f"A case runs `coinbeam ...` or `python -m ...`, not {words[0]}.")

    def _run_dag(
        self, settings: Settings, run: DagRun, log: Path, on_line: Callable[[str], None], then: Sequence[DagRun] = ()
    ) -> int:
        """As ``local.airflow.run_dag``, by the Airflow that is loaded anyway."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self._logs.append(log)
        given = airflow_environment(settings) | dict(run.variables)
        code = self._pipeline.airflow.run([run, *then], _own(given), log)
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            on_line(line)
        return code


def _own(given: dict[str, str]) -> dict[str, str]:
    """The variables of a run with those of the case, which stand in this process only."""
    return {name: value for name, value in os.environ.items() if name.startswith("COINBEAM_")} | given


@pytest.mark.airflow
@pytest.mark.cloud
@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_case(
    folder: Path,
    pipeline: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case, shell = read(folder), Shell(pipeline, monkeypatch, capsys)
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "case"))
    pipeline.fill_calendar()
    values = {"output": str(tmp_path / "output"), "today": f"{utc_now():%Y-%m-%d}"}
    for step in case.in_steps():
        with monkeypatch.context() as patch:
            for name, value in (QUICK | step.environment).items():
                patch.setenv(name, value)
            _check(step, shell, pipeline, values)


def _check(step: Step, shell: Shell, pipeline: Pipeline, values: dict[str, str]) -> None:
    pipeline.faults(**{"profile": "none", **step.simulator})
    code, said = 0, ""
    for command in step.commands:
        assert code == 0, f"{said}\n{shell.log()}"
        code, said = shell.run(filled(command, values))
    expect = step.expect
    assert code == expect.exit, f"{said}\n{shell.log()}"
    assert [words for words in expect.says if words not in said] == [], said
    assert [words for words in expect.never_says if words in said] == [], said
    for query in expect.queries:
        found = json.loads(json.dumps(pipeline.rows(query.sql), default=str))
        assert found == query.rows, query.sql


def test_every_folder_is_a_case_with_a_title_of_its_own() -> None:
    titles = [read(folder).title for folder in folders()]
    assert len(titles) == len(set(titles)) > 0
    assert [path.name for path in CASES.iterdir() if not path.is_dir()] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"comands": [["coinbeam"]]},
        {"expect": {"exit": 0, "say": ["typo"]}},
        {"steps": [{"commands": [["coinbeam"]], "expect": {"exit": 0}}]},
        {"commands": []},
    ],
    ids=["unknown key", "unknown key below", "both forms", "no command"],
)
def test_a_case_that_is_written_wrongly_is_refused(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {"title": "t", "commands": [["coinbeam", "status"]], "expect": {"exit": 0}}
    assert Case.model_validate(right).in_steps()
    with pytest.raises(ValidationError):
        Case.model_validate(right | wrong)
