"""The log of a run that a command started, as Airflow's web interface reads it; the lines were recorded from Airflow
3.3.2.
"""

import json
from pathlib import Path

from runs.task_logs import TaskLogs

RUN = "manual__2026-01-02T00:00:00+00:00"
RECORDED = f"""\
2026-01-02T00:00:00Z [info     ] DAG bundles loaded: dags-folder [airflow.dag] loc=manager.py:304
2026-01-02T00:00:01Z [info     ] [DAG TEST] starting task_id=plan map_index=-1 [airflow.sdk] loc=dag.py:1501
2026-01-02T00:00:01Z [info     ] [DAG TEST] running task <TaskInstance: etl.plan {RUN} [TaskInstanceState.SCHEDULED] ti_id=1> [airflow.sdk]
batch     20260102T0000Z-usd-all
2026-01-02T00:00:02Z [error    ] Task failed [task] loc=x.py:1
2026-01-02T00:00:02Z [info     ] [DAG TEST] end task task_id=plan map_index=-1 [airflow.sdk] loc=dag.py:1563
2026-01-02T00:00:02Z [info     ] between two tasks [airflow.sdk]
2026-01-02T00:00:03Z [info     ] [DAG TEST] running task <TaskInstance: etl.plan {RUN} [TaskInstanceState.SCHEDULED] ti_id=1> [airflow.sdk]
2026-01-02T00:00:03Z [info     ] [DAG TEST] end task task_id=plan map_index=-1 [airflow.sdk] loc=dag.py:1563
2026-01-02T00:00:04Z [info     ] [DAG TEST] running task <TaskInstance: etl.group.fetch {RUN} map_index=3 [TaskInstanceState.SCHEDULED]> [airflow.sdk]
2026-01-02T00:00:04Z [info     ] Process exited with return code: 0 [task]
"""


def test_each_try_of_a_task_has_the_log_that_airflow_looks_for(tmp_path: Path) -> None:
    with TaskLogs(tmp_path) as logs:
        for line in RECORDED.splitlines():
            logs.line(line)
    run = tmp_path / "dag_id=etl" / f"run_id={RUN}"
    found = sorted(str(path.relative_to(run)) for path in run.rglob("*.log"))
    assert found == [
        "task_id=group.fetch/map_index=3/attempt=1.log",
        "task_id=plan/attempt=1.log",
        "task_id=plan/attempt=2.log",
    ]
    first = [json.loads(line) for line in (run / "task_id=plan" / "attempt=1.log").read_text().splitlines()]
    assert first[1] == {"event": "batch     20260102T0000Z-usd-all"}
    assert first[2] == {"timestamp": "2026-01-02T00:00:02Z", "level": "error", "event": "Task failed [task] loc=x.py:1"}
    assert len(first) == 4, "neither what came before nor what came between"
