"""``backend.hcl`` and ``terraform.tfvars``: written where they are missing, read where they are, never overwritten."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from coinbeam.errors import TerminalError
from deploy.project.order import Order
from deploy.project.tools import run

BACKEND = "backend.hcl"
VARIABLES = "terraform.tfvars"
_TEXT = r'^\s*{name}\s*=\s*"([^"]*)"'
_VARIABLE = re.compile(r'^variable "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)
_DEFAULT = re.compile(r'^  default\s*=\s*(?:"([^"]*)"|)', re.MULTILINE)
_GITHUB = re.compile(r"github\.com[:/](?P<owner>[\w-]+)/(?P<name>[\w.-]+?)(?:\.git)?$")


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
        TerminalError: one is there, and is for another project.
    """
    named = text_in(order.infra / VARIABLES, "project")
    if named not in {None, order.project}:
        raise TerminalError(
            f"infra/{VARIABLES} is for the project {named}, not {order.project}.",
            "Use a checkout of its own for each project, or move the file away.",
        )
    return [name for name in (BACKEND, VARIABLES) if not (order.infra / name).is_file()]


def declared(infra: Path) -> dict[str, str | None]:
    """The variables of the root module with their default as text; None where a value is required."""
    found: dict[str, str | None] = {}
    for name, body in _VARIABLE.findall((infra / "variables.tf").read_text(encoding="utf-8")):
        default = _DEFAULT.search(body)
        found[name] = None if default is None else default[1] or ""
    return found


def write(order: Order, billing_account: str, answer: Callable[[str], str]) -> None:
    """Write what is missing.

    Args:
        order: the options.
        billing_account: of the project.
        answer: asks a person for what no option gives.
    """
    absent = missing(order)
    if BACKEND in absent:
        lines = [f'bucket = "{order.state_bucket}"', 'prefix = "coinbeam"']
        _create(order.infra / BACKEND, lines)
    if VARIABLES in absent:
        known = declared(order.infra)
        values = _values(order, billing_account, known, answer)
        width = max(map(len, values))
        _create(order.infra / VARIABLES, [f"{name.ljust(width)} = {value}" for name, value in values.items()])


def _values(
    order: Order, billing_account: str, known: Mapping[str, str | None], answer: Callable[[str], str]
) -> dict[str, str]:
    """What Terraform has to be told: what it requires, and what differs from its default."""
    given = {
        "project": order.project,
        "region": order.region,
        "location": order.location,
        "profile": order.profile,
        "coingecko_plan": order.plan,
    }
    values = {
        name: json.dumps(value)
        for name, value in given.items()
        if name in known and known[name] != value
    }  # fmt: skip
    required = {name for name, default in known.items() if default is None}
    if "billing_account" in required:
        values["billing_account"] = json.dumps(billing_account)
    if "alert_email" in required or order.alert_email:
        values["alert_email"] = json.dumps(order.alert_email or answer("E-mail address of the alerts (ALERT_EMAIL=)"))
    if "github" in required or order.github:
        values["github"] = _repository(order, answer)
    return values


def _repository(order: Order, answer: Callable[[str], str]) -> str:
    """The repository that deploys, as Terraform's variable wants it; its numbers are those that GitHub gave."""
    given = order.github or _origin(order) or answer("GitHub repository that deploys, owner/name (GITHUB=)")
    owner, _, name = given.partition("/")
    values = {"owner": json.dumps(owner), "name": json.dumps(name)}
    body = dict(_VARIABLE.findall((order.infra / "variables.tf").read_text(encoding="utf-8")))["github"]
    for number, of in (("id", ".id"), ("owner_id", ".owner.id")):
        if re.search(rf"^\s+{number}\s+= number$", body, re.MULTILINE):
            values[number] = answer(f"Its {number} (`gh api repos/{given} --jq {of}`)")
    return "{ " + ", ".join(f"{key} = {value}" for key, value in values.items()) + " }"


def _origin(order: Order) -> str | None:
    """The repository on GitHub that this checkout was cloned from, if it was."""
    remote = run(["git", "config", "--get", "remote.origin.url"], order.project, cwd=order.root, codes=(0, 1)).stdout
    found = _GITHUB.search(remote.strip())
    return f"{found['owner']}/{found['name']}" if found else None


def _create(file: Path, lines: list[str]) -> None:
    """Write a file whole or not at all."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.rename(file)
