"""What Airflow makes of our DAGs, as JSON: run in an interpreter of its own, with the network closed while the files
are parsed.
"""

import json
import os
import socket
import sys
from typing import Any, NoReturn

MARK = "RESULT"


def main() -> None:
    """Parse the folder and print the description of every DAG in it."""
    _close_network()
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    described = {
        "errors": bag.import_errors,
        "imported": sorted(name for name in ("apache_beam",) if name in sys.modules),
        "dags": {name: _dag(dag) for name, dag in bag.dags.items()},
        "decisions": _decisions(),
    }
    print(MARK + json.dumps(described, default=str))


def read(output: str) -> Any:
    """The description in what a process printed."""
    line = next(line for line in output.splitlines() if line.startswith(MARK))
    return json.loads(line.removeprefix(MARK))


def _close_network() -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("network at parse time")

    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse


def _dag(dag: Any) -> dict[str, Any]:
    condition = getattr(dag.timetable, "asset_condition", None)
    return {
        "doc": dag.doc_md,
        "description": dag.description,
        "owner": dag.default_args["owner"],
        "tags": sorted(dag.tags),
        "schedule": getattr(dag.timetable, "expression", None),
        "first_run": _first_run(dag),
        "assets": sorted(_leaves(condition)) if condition else [],
        "needs_all_assets": type(condition).__name__ == "AssetAll",
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "timeout": dag.dagrun_timeout.total_seconds(),
        "params": {name: _param(dag.params.get_param(name)) for name in dag.params},
        "tasks": {task.task_id: _task(task) for task in dag.tasks},
    }


def _first_run(dag: Any) -> dict[str, str] | None:
    """When the scheduler makes the run that is due at 2026-03-02 or next after it, and what the run is filed under."""
    import pendulum
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    timetable = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)).timetable
    restriction = TimeRestriction(pendulum.datetime(2026, 3, 2, tz="UTC"), None, catchup=True)
    info = (
        timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=restriction)
        if timetable.can_be_scheduled
        else None
    )
    return info and {"logical_date": str(info.logical_date), "run_after": str(info.run_after)}


def _leaves(condition: Any) -> list[str]:
    """Names of the assets of a condition, however it is nested."""
    return (
        [condition.name]
        if hasattr(condition, "name")
        else [name for part in condition.objects for name in _leaves(part)]
    )


def _param(param: Any) -> dict[str, Any]:
    return param.schema | {"description": param.description, "default": param.value}


def _task(task: Any) -> dict[str, Any]:
    return {
        "down": sorted(task.downstream_task_ids),
        "rule": task.trigger_rule.value,
        "teardown": task.is_teardown,
        "timeout": task.execution_timeout.total_seconds() if task.execution_timeout else 0,
        "policy": type(task.retry_policy).__name__ if task.retry_policy else None,
        "on_failure": _names(task.on_failure_callback),
        "on_success": _names(task.on_success_callback),
        "retries": task.retries,
        "outlets": sorted(asset.name for asset in task.outlets),
        "doc": task.doc_md,
        "kind": type(task).__name__,
        "is_mapped": task.get_closest_mapped_task_group() is not None,
        "width": task.max_active_tis_per_dagrun,
        "deferrable": getattr(task, "deferrable", False),
    }


def _names(callbacks: Any) -> list[str]:
    listed = callbacks if isinstance(callbacks, list | tuple) else [callbacks] if callbacks else []
    return [callback.__name__ for callback in listed]


def _decisions() -> dict[str, str]:
    """What the retry policy says of errors, by their class and words."""
    from coinbeam.errors import PublishBlockedError, SettingsError, TransientError
    from dags.operations import RetryTransientErrors

    policy = RetryTransientErrors()
    jobs = [RuntimeError(f"Beam process failed with return code {code}") for code in (1, 2, 3)]
    errors = [SettingsError("x"), PublishBlockedError("x"), TransientError("x"), ValueError("x"), *jobs]
    return {f"{type(error).__name__}: {error}": policy.evaluate(error, 1, 2).action.name for error in errors}
