"""Keeps the processes of a stream alive: one that ends is started again, after a pause that grows while it ends again.

The services of the local cloud end together (:mod:`local.supervisor`): a warehouse without its bucket is of no use.
A stream is made to go on: whatever process of it is killed, the others wait, and nothing is lost.
"""

import asyncio
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from coinbeam.settings import ROOT

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before a restart; each one that comes soon doubles the pause."""

STEADY_SECONDS = 30.0
"""A process that ran so long is started again without a pause."""


@dataclass(frozen=True)
class Member:
    """One process of a stream.

    Attributes:
        name: also that of its log.
        command: its words.
        patience: seconds it has to end by itself after SIGTERM.
    """

    name: str
    command: Sequence[str]
    patience: float = 10.0


@dataclass
class MemberState:
    """A process as it is now: its id, since when (seconds since 1970), and how often it was started again."""

    pid: int = 0
    since: float = 0.0
    restarts: int = 0
    last_exit: int | None = None


@dataclass
class Keeper:
    """Starts the members in order, and ends them in the opposite one.

    Attributes:
        tell: is given the states whenever one changes.
    """

    members: Sequence[Member]
    environment: Mapping[str, str]
    logs: Path
    tell: Callable[[Mapping[str, MemberState]], None]
    states: dict[str, MemberState] = field(default_factory=dict)
    is_ending: bool = False

    async def run(self, stop: asyncio.Event) -> None:
        """Keep all members alive until told to stop."""
        self.logs.mkdir(parents=True, exist_ok=True)
        keeping = {member.name: asyncio.create_task(self._keep(member)) for member in self.members}
        await stop.wait()
        self.is_ending = True
        for member in reversed(self.members):
            await self._end(member, keeping[member.name])

    async def _keep(self, member: Member) -> None:
        state = self.states[member.name] = MemberState()
        pause = FIRST_PAUSE
        while not self.is_ending:
            began = time.monotonic()
            with (self.logs / f"{member.name}.log").open("ab") as said:
                process = await asyncio.create_subprocess_exec(
                    *member.command, cwd=ROOT, env=dict(self.environment), stdout=said, stderr=subprocess.STDOUT
                )
            state.pid, state.since = process.pid, time.time()
            self.tell(self.states)
            state.last_exit = await process.wait()
            if self.is_ending:
                return
            state.restarts += 1
            log.warning("%s ended with %s and is started again", member.name, state.last_exit)
            pause = FIRST_PAUSE if time.monotonic() - began > STEADY_SECONDS else min(pause * 2, LONGEST_PAUSE)
            self.tell(self.states)
            await asyncio.sleep(pause)

    async def _end(self, member: Member, keeping: "asyncio.Task[None]") -> None:
        state = self.states.get(member.name)
        if state is not None:
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                process = psutil.Process(state.pid)
                process.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait({keeping}, timeout=member.patience)
        if not done and state is not None:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(state.pid).kill()
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping

    def dump(self) -> dict[str, object]:
        """The states, ready for JSON."""
        return {name: asdict(state) for name, state in self.states.items()}
