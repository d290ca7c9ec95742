"""A case of the fault suite: a folder with ``case.yaml`` and the files that its commands read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

CASES = Path(__file__).parent / "cases"
"""The room of the cases."""

Command = Annotated[list[str], Field(min_length=1)]
"""``coinbeam ...`` or ``python -m beam_pipelines.<job> ...``; ``{output}`` is an empty folder, ``{today}`` the present
day.
"""


class _Strict(BaseModel):
    """A part of a case; a key that it does not know is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Query(_Strict):
    """What a reader finds afterwards.

    Attributes:
        sql: with ``{data}``, ``{marts}``, ``{ops}`` for the datasets.
        rows: as JSON shows them, in their order.
    """

    sql: str
    rows: list[dict[str, Any]]


class Expectation(_Strict):
    """What the last command of a step gives.

    Attributes:
        exit: its exit code.
        says: words of its output, whatever the line breaks.
        never_says: words that it may not say.
        queries: what the warehouse holds then.
    """

    exit: int
    says: list[str] = []
    never_says: list[str] = []
    queries: list[Query] = []


class Step(_Strict):
    """Commands, one after the other, of which the last is looked at; all before it have to succeed.

    Attributes:
        simulator: an order of faults for the simulated market, e.g. ``{profile: html_persistent, page: 2}``.
        environment: variables of the commands.
    """

    commands: Annotated[list[Command], Field(min_length=1)]
    expect: Expectation
    simulator: dict[str, Any] = {}
    environment: dict[str, str] = {}


class Case(_Strict):
    """One fault.

    Attributes:
        title: what happens, and what Coinbeam does.
        commands, expect: of a case of one step.
        steps: of a case of several.
        simulator, environment: of every step that says nothing else.
    """

    title: str
    commands: list[Command] = []
    expect: Expectation | None = None
    simulator: dict[str, Any] = {}
    environment: dict[str, str] = {}
    steps: list[Step] = []

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.steps) == bool(self.commands) or (self.expect is None) == (not self.steps):
            raise ValueError("A case has either `commands` and `expect`, or `steps`.")
        return self

    def in_steps(self) -> list[Step]:
        """The steps, each with what holds for all; a case without is one."""
        alone = [Step(commands=self.commands, expect=self.expect)] if self.expect else []
        return [
            step.model_copy(
                update={
                    "simulator": step.simulator or self.simulator,
                    "environment": self.environment | step.environment,
                }
            )
            for step in self.steps or alone
        ]


def folders() -> list[Path]:
    """Every case, by name."""
    return sorted(path for path in CASES.iterdir() if path.is_dir())


def read(folder: Path) -> Case:
    """The case of a folder."""
    return Case.model_validate(yaml.safe_load((folder / "case.yaml").read_text(encoding="utf-8")))


def filled(command: Command, values: Mapping[str, str]) -> list[str]:
    """A command with its placeholders replaced; other braces stay."""
    return [_filled(word, values) for word in command]


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word
