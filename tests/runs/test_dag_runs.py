"""Several runs in one process, with a stand-in for Airflow's command line."""

import inspect
import json
import runpy
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from airflow.models import dagrun
from airflow.sdk import DAG

from coinbeam.settings import ROOT
from runs import dag_runs


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that Airflow was given; a DAG named ``broken`` fails."""
    commands: list[list[str]] = []

    def run_module(module: str, *, run_name: str, alter_sys: bool) -> None:
        assert (run_name, alter_sys) == ("__main__", True)
        commands.append([module, *sys.argv[1:]])
        if "broken" in sys.argv:
            raise SystemExit("DagRun failed")

    monkeypatch.setattr(runpy, "run_module", run_module)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(dagrun, "get_or_create_dagrun", dagrun.get_or_create_dagrun)  # so that it is put back
    return commands


def test_each_run_is_the_command_of_airflow(asked: list[list[str]]) -> None:
    runs = [["first", "2026-01-02T00:00:00Z", {"top_n": 5}], ["second", "2026-01-03T00:00:00Z", {}]]
    dag_runs.main([json.dumps(runs)])
    assert [command[:-2] for command in asked] == [
        ["airflow", "dags", "test", "first", "2026-01-02T00:00:00Z", "--conf", '{"top_n": 5}'],
        ["airflow", "dags", "test", "second", "2026-01-03T00:00:00Z", "--conf", "{}"],
    ]
    assert [command[-2:] for command in asked] == [
        ["--dagfile-path", str(ROOT / "dags" / f"{name}.py")] for name in ("first", "second")
    ]


def test_a_run_that_fails_is_the_last(asked: list[list[str]]) -> None:
    with pytest.raises(SystemExit, match="DagRun failed"):
        dag_runs.main([json.dumps([["broken", "2026-01-02T00:00:00Z", {}], ["second", "2026-01-02T00:00:00Z", {}]])])
    assert [command[3] for command in asked] == ["broken"]


def test_each_run_is_done_when_so_asked_and_the_end_still_fails(asked: list[list[str]]) -> None:
    runs = [["broken", "2026-01-02T00:00:00Z", {}], ["second", "2026-01-02T00:00:00Z", {}]]
    with pytest.raises(SystemExit, match="DagRun failed"):
        dag_runs.main([json.dumps(runs), dag_runs.EACH])
    assert [command[3] for command in asked] == ["broken", "second"]


def test_a_schema_is_checked_once_and_a_wrong_one_every_time() -> None:
    validator: Any = jsonschema.validators.extend(jsonschema.Draft202012Validator)
    checked: list[object] = []
    check = validator.check_schema
    validator.check_schema = lambda schema, **_: checked.append(schema) or check(schema)
    dag_runs.check_schemas_once(validator)
    for _ in range(3):
        jsonschema.validate(5, {"type": "integer", "minimum": 1}, cls=validator)
        with pytest.raises(jsonschema.ValidationError, match="less than the minimum"):
            jsonschema.validate(0, {"type": "integer", "minimum": 1}, cls=validator)
        with pytest.raises(jsonschema.SchemaError, match="'whole number' is not valid"):
            jsonschema.validate(5, {"type": "whole number"}, cls=validator)
    assert checked == [{"type": "integer", "minimum": 1}] + [{"type": "whole number"}] * 3


def test_a_run_starts_when_it_starts_and_not_at_its_logical_date() -> None:
    given: dict[str, Any] = {}
    models = SimpleNamespace(get_or_create_dagrun=lambda **values: given.update(values) or "run")
    dag_runs.start_runs_now(models)
    past = datetime(2020, 1, 2, tzinfo=UTC)
    assert models.get_or_create_dagrun(start_date=past, logical_date=past) == "run"
    assert given["logical_date"] == past
    assert datetime.now(UTC) - given["start_date"] < timedelta(minutes=1)


def test_airflow_still_asks_for_the_start_of_a_test_run_by_that_name() -> None:
    assert "start_date" in inspect.signature(dagrun.get_or_create_dagrun).parameters
    assert "import DagRun, get_or_create_dagrun" in inspect.getsource(DAG.test)
