"""From step to step: a plan of all of them first, then each that is not done, after a yes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.project.deployment import Person
from deploy.project.steps import Found, State, Step


@dataclass(frozen=True)
class Row:
    """A step in the plan."""

    step: str
    state: str
    what: str


def plan(steps: Sequence[Step]) -> list[Row]:
    """Where each step stands. What those after the first open one would find is known only when that one is done."""
    rows: list[Row] = []
    open_step = ""
    for step in steps:
        if open_step:
            rows.append(Row(step.name, State.WAITS, f"for: {open_step}"))
            continue
        found = step.look()
        rows.append(Row(step.name, found.state, found.text))
        if found.state is not State.DONE:
            open_step = step.name
    return rows


def walk(steps: Sequence[Step], done: Sequence[Row], person: Person, entered: Callable[[str], None]) -> bool:
    """Do every step that is not done yet.

    Args:
        steps: all of them.
        done: the plan that was shown; what it found done is not asked again, and its first open step was just asked.
        person: asked before each step that changes something.
        entered: told the name of each step, for the sentence of an interruption.

    Returns:
        False when the person said no.
    """
    known = {row.step: row for row in done if row.state != State.WAITS}
    for step in steps:
        entered(step.name)
        row = known.get(step.name)
        found = Found(State(row.state), row.what) if row else step.look()
        if found.state is State.DONE:
            if row is None:
                person.say(f"{step.name}: done ({found.text})")
            continue
        if not person.confirm(f"{step.name}: {found.text}. Do it?"):
            return False
        step.do()
        person.say(f"{step.name}: done")
    return True
