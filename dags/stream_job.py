"""The streaming job on Dataflow: started where none runs, and replaced by another release without losing a trade.

It is replaced in the order of Google's documentation: a snapshot of the subscription, drain, seek, start. A drain
closes open windows before their end; the new job reads their messages again, and its rows, which know more, take their
place.
Source: https://cloud.google.com/dataflow/docs/concepts/streaming-with-cloud-pubsub#seek
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from coinbeam.batch.jobs import TRADE_WINDOWS
from coinbeam.errors import TransientError
from coinbeam.feeds.forms import StreamAction
from coinbeam.feeds.trades import topic
from coinbeam.feeds.trades.rewind import Rewind
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse
from dags.beam_jobs import ReattachingHook, launch_body, launch_environment

NAME = "trade-windows"
"""Of the job: Dataflow refuses a second one of a name that runs, so that two attempts cannot start two."""

_ENDING = frozenset({"JOB_STATE_DRAINING", "JOB_STATE_CANCELLING"})
_STARTING = frozenset({"JOB_STATE_PENDING", "JOB_STATE_QUEUED"})
_OVER = frozenset(f"JOB_STATE_{name}" for name in ("DRAINED", "CANCELLED", "DONE", "FAILED", "UPDATED"))
_LONGEST_SECONDS = 1_200.0
"""A drain takes some minutes, a start as well."""

logger = logging.getLogger("coinbeam.dags")


class Step(StrEnum):
    """One step of a change of the job."""

    SNAPSHOT = "snapshot"
    DRAIN = "drain"
    SEEK = "seek"
    START = "start"


def steps(action: StreamAction, state: str | None, *, is_current: bool) -> tuple[Step, ...]:
    """What has to be done, in its order.

    Args:
        state: of the job that runs, as Dataflow names it; None where none does. One that drains is waited for: an
            attempt that was killed may have begun it.
        is_current: whether it is of this release.
    """
    ends = state in _ENDING
    if action is StreamAction.STOP:
        return (Step.SNAPSHOT, Step.DRAIN) if state else ()
    if state and not ends and (is_current or action is StreamAction.CHECK):
        return ()
    return (Step.SNAPSHOT, *((Step.DRAIN,) if state else ()), Step.SEEK, Step.START)


@dataclass(frozen=True)
class Done:
    """What became of the job.

    Attributes:
        ran: whether one ran before.
        words: what was found and done.
    """

    ran: bool
    steps: tuple[Step, ...]
    words: str


class StreamJob:
    """The job of a deployment.

    Args:
        sleep: waits between two looks at a job.
    """

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        hook: ReattachingHook | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings, self._warehouse, self._sleep = settings, warehouse, sleep
        self._hook = hook or ReattachingHook(poll_sleep=settings.dataflow.poll_seconds)
        self._where = {"project_id": settings.google.project, "location": settings.google.region}

    def operate(self, action: StreamAction) -> Done:
        """Do what an action asks for.

        Raises:
            TransientError: Google does not answer, or the job does not change in time; an attempt goes on from there.
            CoinbeamError: why a started job failed, in its own words.
        """
        job = next(iter(self._hook.jobs_named(NAME, state="ACTIVE", **self._where)), None)
        release = self._hook.labels_of(job["id"], **self._where).get("release") if job else None
        is_current = release == self._settings.release
        wanted = steps(action, job["currentState"] if job else None, is_current=is_current)
        if job and not is_current and not wanted:
            words = "The job is of release %s, this is %s: the action 'update' replaces it."
            logger.warning(words, release, self._settings.release)
        with topic.subscriber(self._settings) as client:
            self._do(wanted, job, Rewind(self._warehouse, client))
        said = f"job {job['id']} of release {release} is {job['currentState']}" if job else "no job runs"
        return Done(job is not None, wanted, f"{said}; done: {', '.join(wanted) or 'nothing'}")

    def _do(self, wanted: Sequence[Step], job: Mapping[str, Any] | None, rewind: Rewind) -> None:
        for step in wanted:
            logger.info("The streaming job: %s", step.value)
            if step is Step.SNAPSHOT:
                rewind.keep()
            elif step is Step.DRAIN and job:
                self._drain(job)
            elif step is Step.SEEK:
                now = self._warehouse.clock()
                point = rewind.point(rewind.keep(), self._settings.stream.symbols, now)
                rewind.seek(point)
                logger.info("Messages since %s are read", point.isoformat())
            elif step is Step.START:
                self._start()
                rewind.forget()

    def _drain(self, job: Mapping[str, Any]) -> None:
        if job["currentState"] not in _ENDING:
            self._hook.drain(job["id"], **self._where)
        self._wait(job["id"], lambda state: state in _OVER)

    def _start(self) -> None:
        body = stream_request(self._settings)
        job = self._hook.launch_job_with_flex_template(body=body, **self._where)
        state = self._wait(job["id"], lambda state: state not in _STARTING)
        if state != "JOB_STATE_RUNNING":
            raise self._hook.error_of(NAME, **self._where) or TransientError(
                f"The streaming job {job['id']} is {state}.", "See its log in Dataflow; the next check starts it again."
            )

    def _wait(self, job_id: str, is_over: Callable[[str], bool]) -> str:
        waited = 0.0
        while not is_over(state := self._hook.state_of(job_id, **self._where)):
            if waited >= _LONGEST_SECONDS:
                raise TransientError(
                    f"Job {job_id} is still {state} after {waited:.0f} s.", "Look at it in Dataflow, and try again."
                )
            self._sleep(self._settings.dataflow.poll_seconds)
            waited += self._settings.dataflow.poll_seconds
        return state


def stream_request(settings: Settings) -> dict[str, Any]:
    """The launch of the streaming job."""
    job = TRADE_WINDOWS.name
    environment = launch_environment(job, settings) | {"enableStreamingEngine": True}
    if settings.google.stream_service_account:
        environment["serviceAccountEmail"] = settings.google.stream_service_account
    parameters = {
        "source": "live",
        "subscription": topic.subscription_path(settings, settings.stream.subscription),
        "output": f"{settings.bucket_uri}/stream",
    }
    return launch_body(job, NAME, parameters, environment, settings)
