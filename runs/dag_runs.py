"""``python -m runs.dag_runs '[["dag", "2026-01-02T00:00:00Z", {"field": 1}], ...]'``: runs of DAGs, one after the
other, in one Airflow.

Each is ``python -m airflow dags test``. Loading Airflow and building its execution API takes most of the time of a
short run, so that one more in the same process costs about a second. The first run that fails ends the process, with
Airflow's exit code; with ``--each`` the others are run all the same, and the process fails at its end.
"""

import gc
import json
import runpy
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.models import dagrun
from jsonschema.validators import validator_for  # type: ignore[import-untyped]

from coinbeam.clock import utc_now
from coinbeam.settings import ROOT

# Imports make millions of objects that live as long as the process: looking through them again and again is a fifth of
# a short run's time.
gc.set_threshold(50_000, 50, 100)


EACH = "--each"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the first argument names: a JSON list of DAG id, logical date and form.

    Raises:
        SystemExit: a run failed.
    """
    arguments = list(argv or sys.argv[1:])
    check_schemas_once(validator_for({}))
    start_runs_now(dagrun)
    failed: list[SystemExit] = []
    for dag_id, logical_date, form in json.loads(arguments[0]):
        try:
            run_dag(dag_id, logical_date, form)
        except SystemExit as end:
            if end.code and EACH not in arguments:
                raise
            failed += [end] if end.code else []
    if failed:
        raise failed[0]


def check_schemas_once(validator: Any) -> None:
    """Have a class of validators hold each schema against the schema of schemas once.

    Airflow checks the form some four times a task, and with every value the schema of its field anew: a third of what
    it does in a run.
    """
    check, sound = validator.check_schema, set[str]()

    def check_once(schema: Mapping[str, Any], **options: Any) -> None:
        text = json.dumps(schema, sort_keys=True, default=repr)
        if text not in sound:
            check(schema, **options)
            sound.add(text)

    validator.check_schema = check_once


def start_runs_now(models: Any) -> None:
    """Have Airflow's test runs begin when they begin: by default their start is the logical date, and a run of a past
    day is shown as days long.
    """
    create = models.get_or_create_dagrun

    def create_now(**given: Any) -> Any:
        return create(**{**given, "start_date": utc_now()})

    models.get_or_create_dagrun = create_now


def run_dag(dag_id: str, logical_date: str, form: Mapping[str, Any]) -> None:
    """``airflow dags test``, in this process.

    Raises:
        SystemExit: the run failed.
    """
    file = ROOT / "dags" / f"{dag_id}.py"  # so that the other DAGs are read once, and not twice
    sys.argv = [
        "airflow",
        "dags",
        "test",
        dag_id,
        logical_date,
        "--conf",
        json.dumps(form),
        "--dagfile-path",
        str(file),
    ]
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
