"""gcloud, Terraform and git as processes: what they say is read, and what they refuse becomes one sentence."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coinbeam.errors import TerminalError
from deploy.faults import ToolError, fault_of

TOOLS = {
    "gcloud": ((450, 0), "https://cloud.google.com/sdk/docs/install"),
    "terraform": ((1, 9), "https://developer.hashicorp.com/terraform/install"),
    "git": ((2, 0), "https://git-scm.com/downloads"),
}
"""What has to be on this machine: the oldest version, and where to get it."""


def run(
    command: Sequence[str],
    project: str,
    *,
    text: str | None = None,
    cwd: Path | None = None,
    shown: bool = False,
    codes: Sequence[int] = (0,),
    variables: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end.

    Ctrl-C reaches it by the terminal, too. It then ends by itself, which for Terraform means to write its state and
    to release the lock; it is never killed by us.

    Args:
        command: program and arguments; nothing secret.
        project: id, for the remedies.
        text: what it reads; nothing else does.
        cwd: where it runs.
        shown: whether a person sees what it says while it says it.
        codes: exit codes that are no failure.
        variables: its environment; None: ours.
        keep: file descriptors that it inherits.

    Raises:
        ToolError: it failed.
    """
    pipe = None if shown else subprocess.PIPE
    process = subprocess.Popen(
        list(command), cwd=cwd, env=variables, text=True, pass_fds=tuple(keep),
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE, stdout=pipe, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = process.communicate(text)
    except KeyboardInterrupt:
        process.wait()
        raise
    if process.returncode not in codes:
        raise fault_of(command, f"{out or ''}\n{err or ''}", project)
    return subprocess.CompletedProcess(list(command), process.returncode, out or "", err or "")


class Gcloud:
    """gcloud for one project.

    Args:
        project: its id; every command names it. None: that of gcloud's configuration.
    """

    def __init__(self, project: str | None) -> None:
        self.project = project

    def command(self, *words: str) -> list[str]:
        """A command, as it is run."""
        return ["gcloud", *words, *([f"--project={self.project}"] if self.project else ()), "--quiet"]

    def say(self, *words: str, text: str | None = None, cwd: Path | None = None) -> str:
        """What a command answers.

        Raises:
            ToolError: it failed.
        """
        return run(self.command(*words), self.project or "PROJECT", text=text, cwd=cwd).stdout

    def ask(self, *words: str) -> Any:
        """What a command answers, as JSON.

        Raises:
            ToolError: it failed.
        """
        return json.loads(self.say(*words, "--format=json") or "null")

    def find(self, *words: str) -> Any:
        """What a command answers, as JSON; None when what it names does not exist.

        Raises:
            ToolError: it failed otherwise.
        """
        try:
            return self.ask(*words)
        except ToolError as error:
            if _ABSENT.search(error.output):
                return None
            raise


_ABSENT = re.compile(r"NOT_FOUND|not found: 404|HTTPError 404|Cannot find|matched no objects|notFound|does not exist\b")


def versions() -> dict[str, str]:
    """The version of each tool.

    Raises:
        TerminalError: one is missing or too old.
    """
    return {name: _version(name) for name in TOOLS}


def _version(name: str) -> str:
    oldest, address = TOOLS[name]
    if shutil.which(name) is None:
        raise TerminalError(f"{name} is not on this machine.", f"Install it: {address}.")
    said = subprocess.run([name, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)[\d.]*", said)
    if found is None:
        raise TerminalError(f"{name} does not tell its version: {said[:200]!r}.", f"Install it anew: {address}.")
    if (int(found[1]), int(found[2])) < oldest:
        wanted = ".".join(map(str, oldest))
        raise TerminalError(f"{name} is {found[0]}, and {wanted} or newer is needed.", f"Install it: {address}.")
    return found[0]


def git(checkout: Path, *arguments: str) -> str:
    """What git says in a checkout.

    Raises:
        TerminalError: it failed; mostly since it is no checkout.
    """
    done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TerminalError(f"git {arguments[0]} failed: {done.stderr.strip()}.", "Work in a checkout of git.")
    return done.stdout
