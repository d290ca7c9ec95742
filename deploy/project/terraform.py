"""Terraform in ``infra/``: one at a time on this machine, its plan in short, and the lock of one that was killed."""

import fcntl
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from coinbeam.errors import TerminalError
from deploy.faults import ToolError
from deploy.project.adoption import ids
from deploy.tools import run

PLAN = "plan.tfplan"
ADOPTED = "adopted.tfstate.tf"
"""Import blocks for the next plan; git ignores the name. What the state knows already they leave alone."""

_NO_CHANGE, _CHANGES = 0, 2
_LOCKED = re.compile(r"Error acquiring the state lock.*?ID:\s+(?P<id>\S+).*?Who:\s+(?P<who>\S+)", re.DOTALL)


@dataclass(frozen=True)
class Plan:
    """What an apply would do: resources by action and type."""

    created: Mapping[str, int]
    changed: Mapping[str, int]
    destroyed: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether everything is as it should be, but perhaps outputs."""
        return not (self.created or self.changed or self.destroyed)

    @property
    def text(self) -> str:
        """The plan in one line."""
        parts = []
        for name, found in (("create", self.created), ("change", self.changed), ("destroy", self.destroyed)):
            if found:
                kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
                parts.append(f"{name} {sum(found.values())} ({kinds})")
        return "; ".join(parts) or "no resource changes"


class Terraform:
    """The root module of a checkout, with its state in a bucket.

    Args:
        infra: the folder.
        project: id, for remedies.
        confirm: asks a person before a lock is taken away.
    """

    def __init__(self, infra: Path, project: str, confirm: Callable[[str], bool]) -> None:
        self.infra, self._project, self._confirm = infra, project, confirm
        self._shown: dict[str, Any] = {}

    @cached_property
    def _ready(self) -> bool:
        """Install providers and modules, and find the state; asked once a process."""
        self._run("init", "-backend-config=backend.hcl", "-reconfigure", "-input=false")
        return True

    def plan(self) -> Plan | None:
        """Compare the project with the files, and keep the plan for :meth:`apply`; None when nothing differs.

        Raises:
            ToolError: Terraform failed.
        """
        with self._alone() as keep:
            assert self._ready
            arguments = ("plan", "-input=false", "-detailed-exitcode", f"-out={PLAN}")
            if self._locked(arguments, keep) == _NO_CHANGE:
                return None
            self._shown = json.loads(self._run("show", "-json", PLAN).stdout)
        return summary(self._shown)

    def differs(self) -> str | None:
        """What differs between project and files, without a lock and without a word to the state; None: nothing.

        Raises:
            ToolError: Terraform failed.
        """
        assert self._ready
        arguments = ("plan", "-input=false", "-detailed-exitcode", "-lock=false", f"-out={PLAN}")
        if self._run(*arguments, codes=(_NO_CHANGE, _CHANGES)).returncode == _NO_CHANGE:
            return None
        return summary(json.loads(self._run("show", "-json", PLAN).stdout)).text

    def apply(self) -> None:
        """Do what the last plan says.

        Raises:
            ToolError: Terraform failed; what was made stays, and is in the state.
        """
        with self._alone() as keep:
            self._run("apply", "-input=false", PLAN, shown=True, keep=keep)

    def adopt(self, error: ToolError) -> list[str]:
        """Have the next plan take in what an earlier apply made and, since it was killed, could not write down.

        Import blocks, since `terraform import` evaluates every module, and half of the state is missing.

        Args:
            error: of the apply that found it there.

        Returns:
            The addresses; none when the apply failed for another reason.
        """
        found = ids(error.output, self._shown, self._project) or {}
        with (self.infra / ADOPTED).open("a", encoding="utf-8") as file:
            for address, identifier in found.items():
                file.write(f"import {{\n  to = {address}\n  id = {json.dumps(identifier)}\n}}\n\n")
        return list(found)

    def forget_adopted(self) -> None:
        """After an apply the state knows them."""
        (self.infra / ADOPTED).unlink(missing_ok=True)

    def outputs(self) -> dict[str, Any]:
        """The outputs of the state, by name.

        Raises:
            ToolError: Terraform failed.
        """
        assert self._ready
        found = json.loads(self._run("output", "-json").stdout)
        return {name: one["value"] for name, one in found.items()}

    def _locked(self, arguments: Sequence[str], keep: Sequence[int]) -> int:
        """Run a command that takes the lock of the state; one that this machine left behind is taken away.

        Raises:
            ToolError: it failed, or somebody else holds the lock.
        """
        codes = (_NO_CHANGE, _CHANGES)
        try:
            return self._run(*arguments, codes=codes, keep=keep).returncode
        except ToolError as error:
            held = _LOCKED.search(error.output)
            if held is None:
                raise
            question = f"A Terraform that ended without a word ({held['who']}) left a lock on the state. Take it away?"
            if held["who"] != _me() or not self._confirm(question):
                raise TerminalError(
                    f"{held['who']} holds the lock of Terraform's state.",
                    "Wait until that apply has ended, then run it again; if nobody applies, "
                    f"`terraform -chdir=infra force-unlock {held['id']}`.",
                ) from error
            self._run("force-unlock", "-force", held["id"])
            return self._run(*arguments, codes=codes, keep=keep).returncode

    @contextmanager
    def _alone(self) -> Iterator[tuple[int, ...]]:
        """Hold a lock of this machine. Terraform inherits it, so that it holds as long as a Terraform of ours lives,
        even one whose parent was killed: only so may a lock on the state be taken for a dead one.
        """
        folder = self.infra / ".terraform"
        folder.mkdir(exist_ok=True)
        with (folder / "deploy.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                remedy = "Wait until it has ended, then run it again."
                raise TerminalError("Another deployment of this checkout is running.", remedy) from error
            yield (file.fileno(),)

    def _run(
        self, *arguments: str, codes: Sequence[int] = (0,), shown: bool = False, keep: Sequence[int] = ()
    ) -> "subprocess.CompletedProcess[str]":
        variables = os.environ | {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
        command = ["terraform", f"-chdir={self.infra}", arguments[0], "-no-color", *arguments[1:]]
        if arguments[0] == "output":
            command = ["terraform", f"-chdir={self.infra}", *arguments, "-no-color"]
        return run(command, self._project, codes=codes, shown=shown, variables=variables, keep=keep)


def summary(plan: Mapping[str, Any]) -> Plan:
    """A plan as `terraform show -json` tells it, in numbers. A replacement destroys and creates."""
    found: dict[str, Counter[str]] = {"create": Counter(), "update": Counter(), "delete": Counter()}
    for resource in plan.get("resource_changes", ()):
        for action in resource["change"]["actions"]:
            if action in found and resource["mode"] == "managed":
                found[action][resource["type"].removeprefix("google_")] += 1
    return Plan(found["create"], found["update"], found["delete"])


def _me() -> str:
    """This person on this machine, as Terraform names them in a lock."""
    import getpass
    import socket

    return f"{getpass.getuser()}@{socket.gethostname()}"
