"""A loaded Airflow that forks for each run: starting one from nothing takes longer than most runs of the tests.

``python -m tests.end_to_end.warm`` reads one order per line, a JSON object of ``runs`` (as for ``runs.dag_runs``),
``variables``,
``log`` and ``dataflow``; it answers with the process id of the fork, and when that has ended with its exit code. The fork is what
``runs.dag_runs`` is from its first line on: its own session, its own environment, and nothing of our DAGs or settings
loaded before.
"""

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient

from coinbeam.settings import ROOT
from runs.airflow import DagRun, command

ANSWER = "warm:"


class WarmAirflow:
    """The loaded Airflow, for as long as the block lasts.

    Args:
        environment: of an Airflow whose database is migrated.
        log: receives what it prints beside its answers.
    """

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self._log = log.open("w")
        self._process = subprocess.Popen(
            command("tests.end_to_end.warm"),
            env=os.environ | dict(environment),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def run(
        self,
        runs: Sequence[DagRun],
        variables: Mapping[str, str],
        log: Path,
        seconds: float = 280,
        kill: bool = False,
        dataflow: tuple[str, str] | None = None,
    ) -> int:
        """Run DAGs one after the other.

        Args:
            runs: what to run.
            variables: the environment of the fork, beside that of the loaded Airflow.
            log: receives everything that Airflow prints.
            seconds: how long it may take.
            kill: whether the end of that time is expected.
            dataflow: addresses, REST and gRPC, of the service that stands for Google's Dataflow.

        Returns:
            The exit code; negative when it was killed.
        """
        listed = [[one.dag_id, one.logical_date, dict(one.conf)] for one in runs]
        self._say({"runs": listed, "variables": dict(variables), "log": str(log), "dataflow": dataflow})
        late = threading.Event()
        pid = self._answer()
        timer = threading.Timer(seconds, lambda: (late.set(), stop(pid)))
        timer.start()
        code = self._answer()
        timer.cancel()
        stop(pid)  # what it started and left behind
        assert kill or not late.is_set(), f"the run did not end within {seconds} s; its log is {log}"
        return code

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)
        self._log.close()

    def _say(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return int(line.removeprefix(ANSWER))
        raise AssertionError("the loaded Airflow has ended: see warm.log")


def stop(pid: int) -> None:
    """Kill a fork and everything that it started, without a chance to clean up."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def load() -> None:
    """Import what every run needs. Nothing here reads our settings, which differ from run to run."""
    import airflow.providers.apache.beam.operators.beam  # noqa: F401
    import airflow.providers.google.cloud.operators.bigquery  # noqa: F401
    import airflow.providers.google.cloud.operators.dataflow  # noqa: F401
    import airflow.sdk.execution_time.task_runner  # noqa: F401
    from airflow.sdk.execution_time.supervisor import in_process_api_server
    from sqlalchemy.orm import configure_mappers

    import coinbeam.marts.refresh  # noqa: F401

    asyncio.run(_ask(in_process_api_server().app))
    configure_mappers()

    gc.collect()
    gc.freeze()


async def _ask(app: FastAPI) -> None:
    """Have the execution API answer once: it builds its routes when it is first asked, for seconds."""
    async with AsyncClient(transport=ASGITransport(app), base_url="http://in-process.invalid") as client:
        (await client.get("/health")).raise_for_status()


def serve() -> None:
    """Fork for each order, until nobody gives any."""
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            run(order)
        print(f"{ANSWER}{pid}", flush=True)
        _, status = os.waitpid(pid, 0)
        print(f"{ANSWER}{os.waitstatus_to_exitcode(status)}", flush=True)


def run(order: Mapping[str, Any]) -> None:
    """Be the process of one order; does not return."""
    from airflow.sdk.definitions import dag as dag_test

    from runs import dag_runs

    os.setsid()
    sink = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (sink, 1), (sink, 2)):
        os.dup2(source, target)
    time.sleep = _short_in(dag_test, time.sleep)
    os.environ.update(order["variables"])
    if order["dataflow"]:
        from tests.dags.on_dataflow import redirect

        redirect(*order["dataflow"])
    sys.exit(
        dag_runs.main([json.dumps(order["runs"])])
    )  # as usual: lineage is told by threads that the end of the process waits for


def _short_in(module: ModuleType, sleep: Callable[[float], None]) -> Callable[[float], None]:
    """``dag.test`` sleeps for a second when all it did was to mark a skipped task: nothing that it would wait for."""

    def short(seconds: float) -> None:
        sleep(0.02 if sys._getframe(1).f_globals["__name__"] == module.__name__ else seconds)

    return short


if __name__ == "__main__":
    load()
    serve()
