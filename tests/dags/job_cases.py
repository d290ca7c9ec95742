"""The task of a job on Dataflow, attempt by attempt, each case against a service of its own, as JSON: run in an
interpreter of its own.
"""

import asyncio
import json
import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import TaskDeferred

from coinbeam.batch.jobs import POPULATE_DATE_DIM
from dags.beam_jobs import DataflowJobOperator, beam_job
from dags.operations import RetryTransientErrors
from tests.dags.description import MARK
from tests.dags.on_dataflow import redirect


def attempt(options: dict[str, str]) -> tuple[DataflowJobOperator, TaskDeferred]:
    """A worker begins the task and hands it to the triggerer; each attempt is a new operator, as in a new process."""
    operator = beam_job(POPULATE_DATE_DIM, options, execution_timeout=timedelta(minutes=7))
    assert isinstance(operator, DataflowJobOperator)
    try:
        operator.execute(_context())
    except TaskDeferred as deferred:
        return operator, deferred
    raise AssertionError("the task did not defer")


def _context() -> Any:
    pushed: dict[str, Any] = {}
    instance = SimpleNamespace(xcom_push=lambda key, value, **_: pushed.update({key: value}))
    return {"ti": instance, "task_instance": instance}


def retried(options: dict[str, str]) -> Any:
    """Two attempts while the job of the first still runs."""
    deferred = [attempt(options)[1] for _ in range(2)]
    return {
        "jobs": [one.trigger.serialize()[1]["job_id"] for one in deferred],
        "seconds": [one.timeout.total_seconds() for one in deferred],
        "trigger": deferred[0].trigger.serialize()[0],
    }


def other_batch(options: dict[str, str]) -> Any:
    """The same job of two batches."""
    return [
        attempt(options | {"output": f"{options['output']}{suffix}"})[0].body["launchParameter"]["jobName"]
        for suffix in ("1", "2")
    ]


def killed(options: dict[str, str]) -> None:
    """The worker's process is told to stop."""
    attempt(options)[0].on_kill()


def killed_in_triggerer(options: dict[str, str]) -> None:
    """Somebody marks the waiting task as failed."""
    asyncio.run(attempt(options)[1].trigger.on_kill())


def ended(options: dict[str, str]) -> Any:
    """The job ends by itself: what the triggerer sees, what the task says of it, and what the retry policy decides."""

    async def event() -> Any:
        return (await anext(aiter(attempt(options)[1].trigger.run()))).payload

    seen = asyncio.run(event())
    operator = beam_job(POPULATE_DATE_DIM, options, execution_timeout=None)
    try:
        job = operator.execute_complete(_context(), seen)
    except Exception as error:
        decision = RetryTransientErrors().evaluate(error, 1, 2).action.name
        return {"raised": f"{type(error).__name__}: {error}", "decision": decision}
    return {"job": job["currentState"]}


def main() -> None:
    """Run the cases that the first argument lists: name, function, addresses of its service, options of the job."""
    told = {}
    for name, function, rest, rpc, options in json.loads(sys.argv[1]):
        redirect(rest, rpc)
        told[name] = globals()[function](options)
    print(MARK + json.dumps(told))


if __name__ == "__main__":
    main()
