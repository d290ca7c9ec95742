"""A loaded Airflow that forks for each run: starting one from nothing takes longer than most runs of the tests.

``python -m tests.end_to_end.warm`` reads one order per line, a JSON object of ``runs`` (as for ``local.dag_runs``),
``variables`` and
``log``; it answers with the process id of the fork, and when that has ended with its exit code. The fork is what
``local.dag_runs`` is from its first line on: its own session, its own environment, and nothing of our DAGs or settings
loaded before.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from coinbeam.settings import ROOT
from local.airflow import DagRun, command

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
        self, runs: Sequence[DagRun], variables: Mapping[str, str], log: Path, seconds: float = 280, kill: bool = False
    ) -> int:
        """Run DAGs one after the other.

        Args:
            runs: what to run.
            variables: the environment of the fork, beside that of the loaded Airflow.
            log: receives everything that Airflow prints.
            seconds: how long it may take.
            kill: whether the end of that time is expected.

        Returns:
            The exit code; negative when it was killed.
        """
        listed = [[one.dag_id, one.logical_date, dict(one.conf)] for one in runs]
        self._say({"runs": listed, "variables": dict(variables), "log": str(log)})
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
    import airflow.sdk.execution_time.task_runner  # noqa: F401

    import coinbeam.marts.refresh  # noqa: F401

    gc.collect()
    gc.freeze()


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
    from local import dag_runs

    os.setsid()
    sink = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (sink, 1), (sink, 2)):
        os.dup2(source, target)
    os.environ.update(order["variables"])
    sys.exit(
        dag_runs.main([json.dumps(order["runs"])])
    )  # as usual: lineage is told by threads that the end of the process waits for


if __name__ == "__main__":
    load()
    serve()
