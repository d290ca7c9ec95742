"""``backend.hcl`` and ``terraform.tfvars``: written where they are missing, read where they are, never overwritten."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from coinbeam.errors import TerminalError
from deploy.project.order import Order

BACKEND = "backend.hcl"
VARIABLES = "terraform.tfvars"
_TEXT = r'^\s*{name}\s*=\s*"([^"]*)"'
_VARIABLE = re.compile(r'^variable "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
_DEFAULT = re.compile(r'^  default\s*=\s*(?:"([^"]*)"|)', re.MULTILINE)


def text_in(file: Path, name: str) -> str | None:
    """The text that a file of arguments gives a name, or None."""
    if not file.is_file():
        return None
    found = re.search(_TEXT.format(name=name), file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def state_bucket(order: Order) -> str:
    """The bucket of Terraform's state: that of ``backend.hcl``, or the one that will be written there."""
    return text_in(order.infra / BACKEND, "bucket") or order.state_bucket


def missing(order: Order) -> list[str]:
    """Which of the two files are missing.

    Raises:
        TerminalError: one is there, and says something else than the order.
    """
    for name, given in _said(order).items():
        there = text_in(order.infra / VARIABLES, name) or declared(order.infra)[name]
        if (order.infra / VARIABLES).is_file() and there != given:
            raise TerminalError(
                f"infra/{VARIABLES} says {name} = {there}, and the command says {given}.",
                "Say the same in both; a checkout of its own is for each project.",
            )
    return [name for name in (BACKEND, VARIABLES) if not (order.infra / name).is_file()]


def declared(infra: Path) -> dict[str, str | None]:
    """The variables of the root module with their default as text; None where a value is required."""
    found: dict[str, str | None] = {}
    for name, body in _VARIABLE.findall((infra / "variables.tf").read_text(encoding="utf-8")):
        default = _DEFAULT.search(body)
        found[name] = None if default is None else default[1] or ""
    return found


def write(order: Order, answer: Callable[[str], str]) -> None:
    """Write what is missing.

    Args:
        order: the options.
        answer: asks a person for what no option gives.
    """
    absent = missing(order)
    if BACKEND in absent:
        lines = [f'bucket = "{order.state_bucket}"', 'prefix = "coinbeam"']
        _create(order.infra / BACKEND, lines)
    if VARIABLES in absent:
        values = _values(order, answer)
        width = max(map(len, values))
        _create(order.infra / VARIABLES, [f"{name.ljust(width)} = {value}" for name, value in values.items()])


def _said(order: Order) -> dict[str, str]:
    """What the order says of Terraform's variables."""
    return {
        "project": order.project,
        "region": order.region,
        "location": order.location,
        "profile": order.profile,
        "coingecko_plan": order.plan,
    }


def _values(order: Order, answer: Callable[[str], str]) -> dict[str, str]:
    """What Terraform has to be told: what it requires, and what differs from its default."""
    known = declared(order.infra)
    values = {name: json.dumps(value) for name, value in _said(order).items() if known[name] != value}
    if state_bucket(order) != order.state_bucket:
        values["state_bucket"] = json.dumps(state_bucket(order))
    values["alert_email"] = json.dumps(order.alert_email or answer("E-mail address of the alerts (ALERT_EMAIL=)"))
    if order.github:
        values["github"] = _repository(order.github, answer)
    return values


def _repository(github: str, answer: Callable[[str], str]) -> str:
    """The repository that deploys, as Terraform's variable wants it.

    Raises:
        TerminalError: what a person typed is no number.
    """
    owner, _, name = github.partition("/")
    values = {"owner": json.dumps(owner), "name": json.dumps(name)}
    for number, of in (("id", ".id"), ("owner_id", ".owner.id")):
        command = f"gh api repos/{github} --jq {of}"
        given = answer(f"Its {number} (`{command}`)").strip()
        if not given.isdecimal():
            raise TerminalError(f"{given!r} is no number.", f"GitHub tells it: `{command}`.")
        values[number] = given
    return "{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }"


def _create(file: Path, lines: list[str]) -> None:
    """Write a file whole or not at all."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.rename(file)
