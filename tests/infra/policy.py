"""What no deployment of ours may be: rules over the evaluated resources, beside those that checkov knows."""

import re
from collections.abc import Iterator

from tests.infra.deployment import Deployment, Resource

BASIC = frozenset({"roles/owner", "roles/editor", "roles/viewer", "roles/browser"})
EVERYBODY = frozenset({"allUsers", "allAuthenticatedUsers"})

AUTHORITATIVE = re.compile("_iam_(policy|binding)$")
"""Resources that take away what others were given; ours only add, one member at a time."""


def violations(deployment: Deployment) -> list[str]:
    """One line for each broken rule."""
    return [
        line
        for resource in deployment.resources
        for line in (*grant_violations(resource), *storage_violations(resource), *service_violations(resource))
    ]


def grant_violations(resource: Resource) -> Iterator[str]:
    """No basic role anywhere, no administrator of the whole project, nobody unknown, no key of an account."""
    role, member = str(resource.values.get("role", "")), str(resource.values.get("member", ""))
    if role in BASIC:
        yield f"{resource.address}: {role} is a basic role"
    if resource.type == "google_project_iam_member" and re.search("admin", role, re.IGNORECASE):
        yield f"{resource.address}: {role} administers the whole project"
    if member in EVERYBODY or member.startswith("domain:"):
        yield f"{resource.address}: {member} is everybody"
    if AUTHORITATIVE.search(resource.type):
        yield f"{resource.address}: {resource.type} takes away the grants of others"
    if resource.type in {"google_service_account_key", "google_secret_manager_secret_version"}:
        yield f"{resource.address}: its secret would be in the state"


def storage_violations(resource: Resource) -> Iterator[str]:
    """No public bucket or dataset, and none whose destruction takes the data with it."""
    values = resource.values
    if resource.type == "google_storage_bucket":
        if not values["uniform_bucket_level_access"]:
            yield f"{resource.address}: objects may have access lists of their own"
        if values["public_access_prevention"] != "enforced":
            yield f"{resource.address}: it can be made public"
        if values["force_destroy"]:
            yield f"{resource.address}: its destruction takes the data with it"
        if not any(one["enabled"] for one in values["versioning"]):
            yield f"{resource.address}: what is overwritten is lost"
    if resource.type == "google_bigquery_dataset":
        for access in values["access"]:
            if (
                access.get("iam_member")
                or access.get("domain")
                or access.get("special_group") in {"allAuthenticatedUsers", "projectReaders"}
            ):
                yield f"{resource.address}: it is open to everybody or every reader of the project"
    if resource.type == "google_bigquery_table" and not values["deletion_protection"]:
        yield f"{resource.address}: it can be deleted by an apply"


def service_violations(resource: Resource) -> Iterator[str]:
    """No service that calls go to unchecked, that runs as the account of everything, or that pages open without a
    sign-in.
    """
    values = resource.values
    if resource.type != "google_cloud_run_v2_service":
        return
    if values.get("invoker_iam_disabled"):
        yield f"{resource.address}: nobody asks who calls it"
    if not re.match(r"coinbeam-\w+@", values["template"][0].get("service_account") or ""):
        yield f"{resource.address}: it has no account of its own"
    arguments = values["template"][0]["containers"][0]["args"]
    if arguments[0] == "dashboard" and not values["iap_enabled"] and not values["template"][0]["volumes"]:
        yield f"{resource.address}: the dashboard asks nobody who looks"
