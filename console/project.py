"""The commands ``coinbeam deploy`` and ``coinbeam deploy-check``: a person and a project."""

import getpass
import os
import sys
import time
from dataclasses import dataclass

import typer

from coinbeam.errors import CoinbeamError, SettingsError, TransientError
from coinbeam.settings import Environment
from console.output import complain, heading, say, show
from deploy.project import files
from deploy.project.check import check
from deploy.project.deployment import Deployment
from deploy.project.order import Order
from deploy.project.steps import State, steps
from deploy.project.walk import plan, walk

INTERRUPTED = 130


@dataclass(frozen=True)
class Terminal:
    """The person at this terminal.

    Attributes:
        agrees: every question is answered with yes; a text or a key is still asked for.
    """

    agrees: bool

    def say(self, text: str) -> None:
        """Tell a line."""
        say(text)

    def confirm(self, question: str) -> bool:
        """Ask for a yes."""
        if self.agrees:
            say(question.removesuffix(" Do it?"))
            return True
        return typer.confirm(question)

    def answer(self, question: str) -> str:
        """Ask for a text.

        Raises:
            SettingsError: nobody answers.
        """
        given = _line(f"{question}: ").strip()
        if not given:
            raise SettingsError(f"Not given: {question}.", "Run it again with that option, or answer.")
        return given

    def secret(self, question: str) -> str:
        """Ask for a text without an echo; from a pipe, one line of it."""
        return getpass.getpass(f"{question}: ") if sys.stdin.isatty() else sys.stdin.readline()


def _line(question: str) -> str:
    if sys.stdin.isatty():
        return input(question)
    say(question)
    return sys.stdin.readline()


def deploy(order: Order, *, agrees: bool, dry_run: bool, poll_seconds: float) -> int:
    """Deploy step by step, then check; 0 when all is as it should be."""
    _prepare(order)
    deployment = Deployment(order, Terminal(agrees), time.sleep, poll_seconds)
    every, at = list(steps(deployment)), ["plan"]
    try:
        rows = plan(every)
        heading(f"Deployment of {order.project} in {order.region}, profile {order.profile}")
        show(("step", "state", "what"), map(vars, rows))
        if dry_run:
            say("Dry run: nothing was changed.")
            return 0
        if any(row.state != State.DONE for row in rows) and not walk(every, rows, deployment.person, at.append):
            say(f"Stopped before {at[-1]}: nothing of it was done. The same command goes on there.")
            return 1
    except KeyboardInterrupt:
        complain(f"Stopped by Ctrl-C at: {at[-1]}. What was done stays; the same command goes on there.")
        return INTERRUPTED
    except TransientError as error:
        complain(f"{at[-1]}: {error} The same command goes on there.")
        return 1
    except CoinbeamError as error:
        complain(f"{at[-1]}: {error}")
        return 1
    return report(deployment)


def deploy_check(order: Order) -> int:
    """Compare a project with what it should be; 0 when nothing differs."""
    _prepare(order)
    return report(Deployment(order, Terminal(agrees=False), time.sleep))


def report(deployment: Deployment) -> int:
    """Show one row per check; 0 when all are fine."""
    rows = check(deployment)
    heading(f"{deployment.order.project} as it is")
    show(("check", "state", "what", "remedy"), map(vars, rows))
    return 0 if all(row.state == "ok" for row in rows) else 1


def _prepare(order: Order) -> None:
    """Refuse wrong options, and read the settings of production from here on: what this shell says is another cloud.

    Raises:
        SettingsError: an option is wrong.
        TerminalError: the files of this checkout say something else.
    """
    for name in [name for name in os.environ if name.startswith("COINBEAM_")]:
        del os.environ[name]
    os.environ["COINBEAM_ENV"] = Environment.PRODUCTION.value
    fault = order.fault()
    if fault:
        raise SettingsError(fault, "Give it as `make deploy PROJECT=my-project`.")
    files.missing(order)
