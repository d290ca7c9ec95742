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
    """A known refusal: how it is recognised, its cause in words, its remedy; both may name groups of the pattern."""

    name: str
    pattern: str
    cause: str
    remedy: str


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
        r"SERVICE_DISABLED.*?service: '?(?P<api>[a-z0-9.]+\.googleapis\.com)"
        r"|(?:API \[(?P<api2>[a-z0-9.]+)\] not enabled)"
        r"|/apis/api/(?P<api3>[a-z0-9.]+\.googleapis\.com)/"
        r"|SERVICE_DISABLED|has not been used in project \S+ before or it is disabled",
        "The API {api} is not enabled, or not yet: after its switch it takes some minutes.",
        "Enable it: gcloud services enable {api} --project={project}.",
    ),
    Fault(
        "an organisation policy forbids it",
        r"(?:constraint|policy)[^\n]{0,80}?(?P<what>constraints/[\w.]+)"
        r"|(?P<what2>constraints/[\w.]+)[^\n]{0,80}violat|violates? organi[sz]ation policy"
        r"|Domain restricted sharing|orgpolicy",
        "The organisation policy {what} forbids it.",
        "Ask its administrator for an exception of this project: gcloud resource-manager org-policies describe {what} "
        "--project={project} --effective shows the rule.",
    ),
    Fault(
        "the name of a bucket is taken",
        r"requested bucket name is not available|bucket namespace is shared",
        "Somebody else's project has a bucket of this name: names are unique in the world.",
        "Choose another name for the bucket of the state in infra/backend.hcl (bucket = ...).",
    ),
    Fault(
        "a quota is used up",
        r"[Qq]uota '?(?P<what>[\w/.-]+)'? exceeded|Quota exceeded for quota metric '(?P<what2>[^']+)'"
        r"|QUOTA_EXCEEDED|RESOURCE_EXHAUSTED|insufficient quota",
        "The quota {what} is used up.",
        "Ask for more: console.cloud.google.com/iam-admin/quotas?project={project}; new projects have little.",
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
        r"[Pp]ermission '?(?P<what>[\w.]+\.\w+)'?(?: on resource| denied)"
        r"|does not have (?P<what2>[\w.]+\.\w+) (?:access|permission)"
        r"|does not have permission to access (?P<what3>[^:\n]+?)(?: \(or it may not exist\))?[:.]"
        r"|PERMISSION_DENIED|Error 403|HTTPError 403|forbidden",
        "Your account lacks the permission {what}.",
        "Be owner of the project for this hour: gcloud projects add-iam-policy-binding {project} --member=user:YOU "
        "--role=roles/owner; a permission takes up to a few minutes to hold.",
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
    said = "\n".join(output.strip().splitlines()[-LAST_LINES:])
    for fault in FAULTS:
        found = re.search(fault.pattern, output, re.DOTALL)
        if found:
            groups = [value for value in found.groupdict().values() if value]
            named = groups[0] if groups else ""
            cause = fault.cause.format(api=named or "that is named above", what=named or "that is named above")
            remedy = fault.remedy.format(api=named or "API", what=named or "NAME", project=project)
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
