"""One execution of a job without a scheduler: what it runs, what of it is tried again, and how it ends.

Cloud Run starts a task that failed once more, with the same execution and the next number of the attempt. That is for
a container that died: transient errors were tried again by Airflow before, and after a terminal one the second attempt
ends at once, by the ending that the first one recorded.
"""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType

from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse
from runs.airflow import DagRun, database, environment, last_raised, marts_run, migrate_database, run_all
from runs.due import Due
from runs.ended import FailedTask, failed_tasks
from runs.lease import STALE, HeldError, Lease
from runs.task_logs import RUNNING

FOLDER = "jobs"
"""The folder of the bucket for leases and endings."""

LONGEST_SECONDS = 7 * 86_400.0
"""As long as Cloud Run lets a task run; the timeout of the job ends it before."""

LOOK_SECONDS = 10.0
"""From one look at a lease that somebody holds to the next."""

UNTIL_ALIVE = STALE + timedelta(minutes=1)
"""After so long a lease that is still held belongs to an execution that lives."""

TURN = timedelta(hours=6)
"""How long an execution that a person or a file started waits for its turn."""

TERMINATED = 128 + signal.SIGTERM
"""The exit code of an execution that was stopped from outside."""

_TOLD = re.compile(r"Coinbeam: (?P<task>[\w.]+) failed: Run \S+ (?P<words>\S.*)$")
"""The alert of a task that failed. Of a Beam job it has the words, where Airflow's operator has the exit code."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Attempt:
    """Which try of which execution this is.

    Attributes:
        execution: its name; the same for every attempt.
        number: 0 for the first one.
    """

    execution: str
    number: int = 0

    @classmethod
    def present(cls) -> "Attempt":
        """As Cloud Run says it. Elsewhere each process is an execution of its own.

        Source: https://cloud.google.com/run/docs/container-contract#jobs-env-vars
        """
        name = os.environ.get("CLOUD_RUN_EXECUTION") or f"process-{os.getpid()}-{format_instant(utc_now())}"
        return cls(name, int(os.environ.get("CLOUD_RUN_TASK_ATTEMPT") or 0))


@dataclass
class Watched:
    """The lines of Airflow on their way to the log: which task runs, and what was raised last."""

    say: Say
    task: str = ""
    since: str = ""
    raised: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def line(self, text: str) -> None:
        """Pass one line on."""
        self.say(text)
        if running := RUNNING.search(text):
            self.task, self.since = f"{running['dag']}.{running['task']}", format_instant(utc_now())
        if told := _TOLD.search(text):
            self.told[told["task"]] = told["words"]
        if said := last_raised(text):
            self.raised[self.task] = said

    def words(self, task: str) -> str:
        """Why a task failed, in the words of its alert, else of what was raised last."""
        return self.told.get(task) or self.raised.get(task, "see the log above")


class Execution:
    """The work of one execution.

    Args:
        settings: of a deployment.
        attempt: which try of which execution.
        say: told each line of the log.
        sleep: waits between two looks at what another execution holds.
    """

    def __init__(
        self,
        settings: Settings,
        attempt: Attempt,
        say: Say,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._attempt, self._say, self._clock, self._sleep = settings, attempt, say, clock, sleep
        self._bucket = Bucket(settings)
        self._due = Due(Warehouse(settings))

    def run_due(self) -> int:
        """Run what is due, until nothing is that was not tried; the exit code. Where another execution is at it, and
        lives, nothing is left to do.
        """
        return self._alone("due", self._all_due, UNTIL_ALIVE, "It does what is due.", 0)

    def run(self, run: DagRun) -> int:
        """Run one DAG after another run of it, and the marts where it published something; the exit code."""
        words = f"This one waited {TURN} for its turn: start it again."
        return self._alone(run.dag_id, lambda: self._with_marts([run]), TURN, words, 1)

    def _alone(self, work: str, do: Callable[[], int], patience: timedelta, words: str, code: int) -> int:
        """Do a work that one execution does at a time; what to say, and the exit code, when its turn does not come."""
        ending = self._bucket.read_json(self._ending) if self._attempt.number else {}
        if ending:
            self._say(f"Attempt {self._attempt.number} ends at once: {ending['said']}")
            return int(ending["code"])
        looks = 0
        while True:
            try:
                with Lease(self._bucket, f"{FOLDER}/{work}.lease", self._attempt.execution, self._clock):
                    migrate_database(self._settings, self._variables)
                    return do()
            except HeldError as error:
                if looks * LOOK_SECONDS >= patience.total_seconds():
                    self._say(f"{error} {words}")
                    return code
                if not looks:
                    self._say(f"{error} This one waits.")
            looks += 1
            self._sleep(LOOK_SECONDS)

    def _all_due(self) -> int:
        tried: set[tuple[str, str]] = set()
        code = 0
        while runs := [one for one in self._due.runs(self._clock()) if (one.dag_id, one.logical_date) not in tried]:
            tried |= {(one.dag_id, one.logical_date) for one in runs}
            code = self._with_marts(runs) or code
        if tried:
            return code
        self._say("Everything that is due is published.")
        return self._run([marts_run()]) if self._due.marts_wait() else 0

    def _with_marts(self, runs: Sequence[DagRun]) -> int:
        return self._run([*runs, marts_run()])

    def _run(self, runs: Sequence[DagRun]) -> int:
        """Run DAGs in one Airflow, each whatever became of those before it; 0, or 1 when one failed."""
        watched = Watched(self._say)
        with self._stopped_with_words(watched):
            code = run_all(runs, self._variables, watched.line, LONGEST_SECONDS, each=True)
        if code == 0:
            return 0
        self._tell(failed_tasks(database(self._settings), runs), watched)
        return 1

    def _tell(self, failed: Sequence[FailedTask], watched: Watched) -> None:
        """Say what failed; where no further try can help, leave word of it for the next attempt."""
        words = [f"{one.name} failed: {watched.words(one.name)}" for one in failed]
        for line in words or ["Airflow ended before a task failed: see the log above."]:
            self._say(line)
        if failed and all(one.is_terminal for one in failed):
            self._bucket.write_text(self._ending, json.dumps({"code": 1, "said": "\n".join(words)}))

    @property
    def _variables(self) -> dict[str, str]:
        """Those of Airflow, whose links lead to the execution: there is no interface of Airflow, and the path that it
        adds is ignored.
        """
        google = self._settings.google
        executions = f"https://console.cloud.google.com/run/jobs/executions/details/{google.region}"
        return {
            **environment(self._settings),
            "AIRFLOW__API__BASE_URL": f"{executions}/{self._attempt.execution}/tasks?project={google.project}&task=",
        }

    @property
    def _ending(self) -> str:
        return f"{FOLDER}/{self._attempt.execution}.json"

    @contextmanager
    def _stopped_with_words(self, watched: Watched) -> Iterator[None]:
        """Say what was running when Cloud Run asks the container to end, ten seconds before it kills it."""

        def stop(_: int, __: FrameType | None) -> None:
            running = f"{watched.task} was running, since {watched.since}" if watched.task else "Airflow was starting"
            self._say(f"Stopped from outside (SIGTERM): {running}. The next execution goes on from what was landed.")
            raise SystemExit(TERMINATED)

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
