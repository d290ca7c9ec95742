"""What gcloud and Terraform refuse a first deployment with, and the sentence that a person reads.

The texts are as both tools print them, from their sources and from public reports.
"""

import pytest

from deploy.faults import FAULTS, fault_of

SAID = {
    "billing is off": (
        "ERROR: (gcloud.services.enable) FAILED_PRECONDITION: Billing account for project '123456789012' is not found. "
        "Billing must be enabled for activation of service(s) 'compute.googleapis.com' to proceed.\n"
        "reason: UREQ_PROJECT_BILLING_NOT_FOUND",
        "gcloud billing projects link acme-project",
    ),
    "an API is off": (
        "ERROR: (gcloud.secrets.versions.list) PERMISSION_DENIED: Secret Manager API has not been used in project "
        "123456789012 before or it is disabled. Enable it by visiting https://console.developers.google.com/apis/api/"
        "secretmanager.googleapis.com/overview?project=123456789012 then retry.",
        "gcloud services enable secretmanager.googleapis.com --project=acme-project",
    ),
    "an organisation policy forbids it": (
        "Error: googleapi: Error 412: Constraint constraints/iam.allowedPolicyMemberDomains violated for project.",
        "org-policies describe constraints/iam.allowedPolicyMemberDomains",
    ),
    "the name of a bucket is taken": (
        "ERROR: (gcloud.storage.buckets.create) HTTPError 409: The requested bucket name is not available. The bucket "
        "namespace is shared by all users of the system. Please select a different name and try again.",
        "infra/backend.hcl",
    ),
    "the id of a project is taken": (
        "ERROR: (gcloud.projects.create) Project creation failed. The project ID you specified is already in use by "
        "another project. Please try an alternative ID.",
        "STATE_PROJECT=",
    ),
    "a quota is used up": (
        "Error: Error creating Environment: googleapi: Error 429: Quota 'IN_USE_ADDRESSES' exceeded.  Limit: 4.0 in "
        "region us-central1.",
        "iam-admin/quotas?project=acme-project",
    ),
    "the sign-in has expired": (
        "ERROR: (gcloud.projects.describe) There was a problem refreshing your current auth tokens: Reauthentication "
        "failed. cannot prompt during non-interactive execution.",
        "gcloud auth login",
    ),
    "a permission is missing": (
        "ERROR: (gcloud.storage.buckets.create) HTTPError 403: a@example.com does not have storage.buckets.create "
        "access to the Google Cloud project. Permission 'storage.buckets.create' denied on resource (or it may not "
        "exist).",
        "roles/owner",
    ),
    "it exists already": (
        "Error: Error creating Dataset: googleapi: Error 409: Already Exists: Dataset acme:crypto_data, duplicate",
        "terraform -chdir=infra import",
    ),
    "the registry does not answer": (
        "Error: Failed to query available provider packages\n\nCould not retrieve the list of available versions",
        "proxy",
    ),
    "another version of Terraform is needed": ("Error: Unsupported Terraform Core version", "1.9 or newer"),
    "there is no network": ("ERROR: gcloud crashed: Unable to find the server at storage.googleapis.com", "network"),
}


def test_every_known_refusal_has_a_text_here() -> None:
    assert [fault.name for fault in FAULTS] == list(SAID)


@pytest.mark.parametrize("name", SAID)
def test_a_refusal_is_told_with_its_remedy(name: str) -> None:
    said, remedy = SAID[name]
    error = fault_of(["gcloud", "x", "--flag"], said, "acme-project")
    [fault] = [fault for fault in FAULTS if fault.name == name]
    assert fault.cause.partition("{")[0].strip() in error.message
    assert remedy in error.remedy
    assert "run the same command again" in error.remedy
    assert "{" not in error.remedy


def test_the_permission_is_named() -> None:
    error = fault_of(["gcloud"], SAID["a permission is missing"][0], "acme-project")
    assert "lacks the permission storage.buckets.create" in error.message


def test_an_unknown_refusal_is_shown_as_it_was_said() -> None:
    error = fault_of(["terraform", "-chdir=infra", "apply", "-no-color"], "something\nnew", "acme-project")
    assert error.message == "`terraform apply` failed.\nsomething\nnew\n"
    assert error.output == "something\nnew"
