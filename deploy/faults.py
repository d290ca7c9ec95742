"""What gcloud and Terraform say when a first deployment meets a closed door, and the sentence that opens it.

The texts are those of Google's APIs as both tools print them. The first row that matches wins, so that a cause stands
before its consequence: an API of a project without billing is refused as "permission denied", too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from coinbeam.errors import TerminalError

AGAIN = "Then run the same command again: it goes on where it stopped."
LAST_LINES = 6
_REPORT = "If you would like to report this issue"
"""What gcloud says after an error of its own, and nobody needs."""


class ToolError(TerminalError):
    """A command of gcloud or Terraform failed.

    Args:
        message: cause.
        remedy: what a person does.
        output: all that the command said.
    """

    def __init__(self, message: str, remedy: str = "", output: str = "") -> None:
        super().__init__(message, remedy)
        self.output = output


@dataclass(frozen=True)
class Fault:
    """A known refusal.

    Attributes:
        name: what happened.
        pattern: how it is recognised.
        cause: in words; ``{what}`` is what the refusal names.
        remedy: what a person does; may hold ``{what}`` and ``{project}``.
        named: finds what the refusal names, as its first group that is not empty.
    """

    name: str
    pattern: str
    cause: str
    remedy: str
    named: str = ""


FAULTS = (
    Fault(
        "billing is off",
        r"UREQ_PROJECT_BILLING_NOT_(?:FOUND|OPEN)|[Bb]illing (?:must be|account .{0,60}is not) (?:enabled|found|open)"
        r"|BILLING_DISABLED|billing account .{0,60}(?:is disabled|state absent|in state (?:closed|absent))"
        r"|requires billing to be enabled",
        "The project has no open billing account.",
        "Link one: gcloud billing projects link {project} --billing-account=ACCOUNT "
        "(gcloud billing accounts list names them).",
    ),
    Fault(
        "an API is off",
        r"SERVICE_DISABLED|API \[[a-z0-9.]+\] not enabled|has not been used in project \S+ before or it is disabled",
        "The API {what} is not enabled, or not yet: after its switch it takes some minutes.",
        "Enable it: gcloud services enable {what} --project={project}.",
        r"/apis/api/([a-z0-9.]+\.googleapis\.com)|API \[([a-z0-9.]+)\]|service: '?([a-z0-9.]+\.googleapis\.com)",
    ),
    Fault(
        "an organisation policy forbids it",
        r"constraints/[\w.]+|violates? organi[sz]ation policy|Domain restricted sharing|orgpolicy",
        "The organisation policy {what} forbids it.",
        "Ask its administrator for an exception of this project: gcloud resource-manager org-policies describe {what} "
        "--project={project} --effective shows the rule.",
        r"(constraints/[\w.]+)",
    ),
    Fault(
        "the name of a bucket is taken",
        r"requested bucket name is not available|bucket namespace is shared",
        "Somebody else's project has a bucket of this name: names are unique in the world.",
        "Choose another name for the bucket of the state in infra/backend.hcl (bucket = ...).",
    ),
    Fault(
        "the id of a project is taken",
        r"project ID you specified is already in use",
        "Somebody else has a project of this id, or had one: ids are unique in the world, and for ever.",
        "Name another one for the state: STATE_PROJECT=.",
    ),
    Fault(
        "a quota is used up",
        r"[Qq]uota '?[\w/.-]+'? exceeded|Quota exceeded|QUOTA_EXCEEDED|RESOURCE_EXHAUSTED|insufficient quota",
        "The quota {what} is used up.",
        "Ask for more: console.cloud.google.com/iam-admin/quotas?project={project}; new projects have little.",
        r"[Qq]uota '([\w/.-]+)'|quota metric '([^']+)'",
    ),
    Fault(
        "the sign-in has expired",
        r"Reauthentication (?:failed|required)|invalid_grant|refreshing your current auth tokens"
        r"|do not currently have an active account|could not find default credentials|invalid_rapt"
        r"|Request had invalid authentication credentials|UNAUTHENTICATED",
        "The sign-in has expired, or there is none.",
        "Sign in: gcloud auth login, and gcloud auth application-default login for Terraform and Coinbeam.",
    ),
    Fault(
        "a permission is missing",
        r"PERMISSION_DENIED|[Pp]ermission '?[\w.]+'? (?:on resource|denied)|does not have [\w.]+ (?:access|permission)"
        r"|does not have permission to access|Error 403|HTTPError 403|forbidden",
        "Your account lacks the permission {what}.",
        "Be owner of the project for this hour: gcloud projects add-iam-policy-binding {project} --member=user:YOU "
        "--role=roles/owner; a permission takes up to a few minutes to hold.",
        r"[Pp]ermission '([\w.]+\.\w+)'|does not have (\w+\.[\w.]+) (?:access|permission)",
    ),
    Fault(
        "it exists already",
        r"(?:Error 409|alreadyExists|ALREADY_EXISTS)[^\n]*",
        "Something of this name is in the project, and Terraform's state does not know it.",
        "Take it in: terraform -chdir=infra import ADDRESS ID, as the message above names it; or delete it if nobody "
        "needs it.",
    ),
    Fault(
        "the registry does not answer",
        r"Failed to query available provider packages|registry\.terraform\.io",
        "Terraform's registry does not answer.",
        "Check the network and its proxy.",
    ),
    Fault(
        "another version of Terraform is needed",
        r"Unsupported Terraform Core version",
        "This Terraform is too old.",
        "Install 1.9 or newer.",
    ),
    Fault(
        "there is no network",
        r"Unable to find the server|Connection refused|Failed to establish a new connection|Network is unreachable"
        r"|no such host|i/o timeout",
        "Google does not answer.",
        "Check the network and its proxy.",
    ),
)


def fault_of(command: Sequence[str], output: str, project: str) -> ToolError:
    """The error of a failed command, in one sentence of cause and one of remedy.

    Args:
        command: what was run.
        output: what it said.
        project: id, for the remedy.
    """
    said = "\n".join(output.partition(_REPORT)[0].strip().splitlines()[-LAST_LINES:])
    for fault in FAULTS:
        if re.search(fault.pattern, output):
            named = re.search(fault.named, output) if fault.named else None
            what = next(filter(None, named.groups())) if named else "NAME"
            cause = fault.cause.format(what=what if named else "that is named below")
            remedy = fault.remedy.format(what=what, project=project)
            return ToolError(f"{cause} ({_short(command)})\n{said}\n", f"{remedy} {AGAIN}", output)
    return ToolError(f"`{_short(command)}` failed.\n{said}\n", f"Mend what it says. {AGAIN}", output)


def _short(command: Sequence[str]) -> str:
    """The words of a command up to its first option."""
    words = [command[0].rpartition("/")[2]]
    for word in command[1:]:
        if word.startswith("-"):
            if not word.startswith("-chdir"):
                break
            continue
        words.append(word)
    return " ".join(words)
