"""A run as a person sees it: what was asked for in the form, the plan in words, and how it ended."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from coinbeam.batch.identity import interval_start, parse_batch_id
from coinbeam.batch.kinds import Batch
from coinbeam.batch.universe import UniverseSpec, universe_spec
from coinbeam.clock import format_instant, parse_instant
from coinbeam.errors import SettingsError
from coinbeam.feeds.snapshot.plan import Mode, RunRequest
from coinbeam.feeds.snapshot.steps import BatchPlan
from coinbeam.feeds.steps import BatchSteps, Ending
from coinbeam.quality import Result
from coinbeam.settings import CURRENCY_FORM, Period, Settings


def request_from(params: Mapping[str, Any], scheduled: datetime, settings: Settings) -> RunRequest:
    """What the trigger form asks for.

    Args:
        params: the fields of the form.
        scheduled: the logical instant of the run; its interval is the batch when the form names none.
        settings: the period of snapshots.

    Raises:
        SettingsError: a field is wrong; the message names it.
    """
    if params["replay_date"] and params["snapshot_at"]:
        raise SettingsError("Both replay_date and snapshot_at are given.", "Give one of them.")
    if params.get("replay_batch"):
        return _landed_request(params)
    named = params["snapshot_at"] or params["replay_date"]
    if params["source"] and not settings.is_local:
        raise SettingsError(
            "source names files, but the warehouse is not local.", "Leave it empty, or set COINBEAM_ENV=local."
        )
    if not re.fullmatch(CURRENCY_FORM, params["quote_currency"]):
        raise SettingsError(f"quote_currency is {params['quote_currency']!r}.", "Give a lower-case code such as usd.")
    moment = parse_instant(named) if named else interval_start(scheduled, settings.market.period)
    if not params["source"]:  # files were taken whenever they were taken
        _refuse_between(moment, settings.market.period)
    ids = tuple(part.strip() for part in (params["ids"] or "").split(",") if part.strip())
    universe = universe_spec(params["universe"], params["top_n"], ids, params["category"] or None)
    return RunRequest(moment, universe, params["quote_currency"], params["source"] or "")


def _landed_request(params: Mapping[str, Any]) -> RunRequest:
    """The replay of a batch by its name, which says instant, currency and selection; its landing holds the pages of
    just that selection.
    """
    name = parse_batch_id(params["replay_batch"])
    named = params["snapshot_at"] or params["replay_date"]
    if params["source"] or (named and parse_instant(named) != name.snapshot_at):
        raise SettingsError(
            f"replay_batch is {name.batch_id}, but another source or instant is given too.", "Give one of them."
        )
    if name.is_foreign:
        raise SettingsError(
            f"The pages of {name.batch_id} were files and were never landed.", "Run it again with --source=GLOB."
        )
    return RunRequest(name.snapshot_at, UniverseSpec(), name.quote_currency, landed=name)


def _refuse_between(moment: datetime, period: Period) -> None:
    """A snapshot stands for an interval; the jobs refuse any other instant, and so does the plan before them."""
    start = interval_start(moment, period)
    if moment != start:
        raise SettingsError(
            f"{format_instant(moment)} is not the start of a {period} interval.",
            f"Write {format_instant(start)}"
            + (", or set COINBEAM_MARKET__PERIOD=hourly." if period is Period.DAILY else "."),
        )


def run_identity(run_type: str, logical_date: datetime | None, run_id: str) -> str:
    """How the records name a run: its type and logical instant, so that running the same instant again is the same run.

    Args:
        run_type: scheduled, manual, ...
        logical_date: the instant that Airflow files the run under; None for a run without one.
        run_id: Airflow's own identifier, used when there is no instant.
    """
    kind = getattr(run_type, "value", run_type)  # Airflow's enum
    return f"{kind}__{format_instant(logical_date)}" if logical_date else run_id


def describe(plan: BatchPlan) -> str:
    """The plan in words, for a log and a terminal."""
    costs = plan.estimate
    lines = [
        plan.banner,
        f"batch     {plan.batch_id}",
        f"mode      {plan.mode}: {plan.reason}",
        f"universe  {plan.universe} in {plan.quote_currency}, snapshot at {plan.snapshot_at}",
        f"calls     {costs['calls']} ({costs['credits_left']} left this month), {costs['minutes']:.1f} minutes under "
        "the rate limit",
        f"rows      {costs['rows']}, {costs['landing_bytes'] / 1e6:.1f} MB to land, {costs['file_bytes'] / 1e6:.1f} "
        "MB of CSV",
        f"cost      about ${costs['dollars']:.2f} on {plan.runner}",
    ]
    return "\n".join(line for line in lines if line)


def count_by_status(results: Iterable[Result]) -> dict[str, int]:
    """How many rules passed, failed, warned."""
    return dict(Counter(result.status.value for result in results))


@dataclass(frozen=True)
class Ended:
    """A task instance that came to an end, as Airflow tells it."""

    task_id: str
    state: str
    duration: float | None = None
    operator: str | None = None
    map_index: int = -1


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: published, failed or gap.
        error: why it failed or is a gap.
        seconds: by task.
        succeeded: the tasks that succeeded.
    """

    status: str
    error: str | None
    seconds: dict[str, float]
    succeeded: frozenset[str]


def outcome(plan: BatchPlan, tasks: Iterable[Ended], errors: Mapping[str, str | None]) -> Outcome:
    """Judge a run by the states of its tasks.

    Args:
        plan: the batch.
        tasks: the tasks that ended.
        errors: what failed tasks said, by task.
    """
    states = {task.task_id: task.state for task in tasks}
    seconds = {
        task.task_id: round(task.duration, 3) for task in tasks if task.duration is not None and task.state != "skipped"
    }
    succeeded = frozenset(name for name, state in states.items() if state == "success")
    failed = sorted(name for name, state in states.items() if state == "failed")
    if failed:
        text = "; ".join(f"{name}: {errors.get(name) or 'see its log'}" for name in failed)
        return Outcome("failed", text[:2000], seconds, succeeded)
    if plan.mode == Mode.GAP:
        return Outcome("gap", plan.reason, seconds, succeeded)
    if "verify" not in succeeded:
        return Outcome("failed", "The run was stopped before its batch was verified.", seconds, succeeded)
    return Outcome("published", None, seconds, succeeded)


class Words(Protocol):
    """Where a task leaves its words: Airflow's task instance."""

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int | None = None) -> Any:
        """A value that a task left."""
        ...


def failures(tasks: Iterable[Ended], steps: BatchSteps, batch: Batch, words: Words) -> dict[str, str | None]:
    """What each failed task said: the job in its file, any other task in its alert.

    Args:
        tasks: the tasks of the batch that ended.
        steps: reads what jobs left.
        batch: the batch.
        words: reads what tasks left.
    """
    return {
        task.task_id: steps.failure(batch, task.task_id.rpartition(".")[2])
        or words.xcom_pull(
            task_ids=task.task_id, key="error", map_indexes=None if task.map_index < 0 else task.map_index
        )
        for task in tasks
        if task.state == "failed"
    }


def batch_ending(tasks: Iterable[Ended], errors: Mapping[str, str | None]) -> Ending:
    """Judge the batch of a mapped task group, or of a whole run, by the states of its tasks.

    Args:
        tasks: the tasks of the batch that ended; the last one before the record is called ``verify``.
        errors: what failed tasks said, by task.
    """
    ended = {task.task_id.rpartition(".")[2]: task for task in tasks}
    seconds = {
        name: round(task.duration, 3)
        for name, task in ended.items()
        if task.duration is not None and task.state != "skipped"
    }
    failed = sorted(task.task_id for task in ended.values() if task.state == "failed")
    if failed:
        text = "; ".join(f"{name.rpartition('.')[2]}: {errors.get(name) or 'see its log'}" for name in failed)
        return Ending("failed", text[:2000], seconds)
    if "verify" not in ended or ended["verify"].state != "success":
        return Ending("failed", "The run was stopped before its batch was verified.", seconds)
    return Ending("published", None, seconds)


def present_instant(now: datetime, settings: Settings) -> str:
    """The instant of the snapshot that "now" belongs to, in ISO 8601."""
    return format_instant(interval_start(now, settings.market.period))
