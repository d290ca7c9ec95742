"""What a killed apply made and could not write down: it is in the project, and Terraform's state does not know it.

Terraform keeps the state of a running apply every twenty seconds and at its end. What it made after the last time is
refused by the next apply, since a thing of that name exists; it is taken in by its name, as `terraform import` does.
What Google names by itself (alert policies, channels) is made a second time then, which no apply could know.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

IDS: Mapping[str, str] = {
    "artifact_registry_repository": "projects/{project}/locations/{location}/repositories/{repository_id}",
    "bigquery_dataset": "projects/{project}/datasets/{dataset_id}",
    "bigquery_table": "projects/{project}/datasets/{dataset_id}/tables/{table_id}",
    "cloud_run_v2_job": "projects/{project}/locations/{location}/jobs/{name}",
    "cloud_run_v2_service": "projects/{project}/locations/{location}/services/{name}",
    "cloud_run_v2_worker_pool": "projects/{project}/locations/{location}/workerPools/{name}",
    "cloud_scheduler_job": "projects/{project}/locations/{region}/jobs/{name}",
    "composer_environment": "projects/{project}/locations/{region}/environments/{name}",
    "compute_address": "projects/{project}/regions/{region}/addresses/{name}",
    "compute_firewall": "projects/{project}/global/firewalls/{name}",
    "compute_network": "projects/{project}/global/networks/{name}",
    "compute_router": "projects/{project}/regions/{region}/routers/{name}",
    "compute_router_nat": "projects/{project}/regions/{region}/routers/{router}/{name}",
    "compute_subnetwork": "projects/{project}/regions/{region}/subnetworks/{name}",
    "eventarc_trigger": "projects/{project}/locations/{location}/triggers/{name}",
    "iam_workload_identity_pool": "projects/{project}/locations/global/workloadIdentityPools/"
    "{workload_identity_pool_id}",
    "iam_workload_identity_pool_provider": "projects/{project}/locations/global/workloadIdentityPools/"
    "{workload_identity_pool_id}/providers/{workload_identity_pool_provider_id}",
    "logging_metric": "{project} {name}",
    "logging_project_sink": "projects/{project}/sinks/{name}",
    "project_iam_custom_role": "projects/{project}/roles/{role_id}",
    "pubsub_subscription": "projects/{project}/subscriptions/{name}",
    "pubsub_topic": "projects/{project}/topics/{name}",
    "secret_manager_secret": "projects/{project}/secrets/{secret_id}",
    "service_account": "projects/{project}/serviceAccounts/{account_id}@{project}.iam.gserviceaccount.com",
    "storage_bucket": "{project}/{name}",
    "workflows_workflow": "projects/{project}/locations/{region}/workflows/{name}",
}
"""The ids by which the provider imports what has a name of its own.

Source: the section "Import" of each resource, https://registry.terraform.io/providers/hashicorp/google/6.50.0/docs.
"""

_ERROR = re.compile(r"Error: (?P<text>.*?)\n.*?with (?P<address>(?:module|google)[^\n]*?),\n", re.DOTALL)
_EXISTS = re.compile(r"Error 409|[aA]lready[ _]?[eE]xists|ALREADY_EXISTS")


def refused(output: str) -> Iterator[str]:
    """The addresses of what an apply could not make since it exists already."""
    for block in re.split(r"(?=Error: )", output):
        found = _ERROR.match(block)
        if found and _EXISTS.search(block):
            yield found["address"]


def ids(output: str, plan: Mapping[str, Any], project: str) -> dict[str, str] | None:
    """What to import, by its address, after a failed apply.

    Args:
        output: what the apply said.
        plan: that was applied, as `terraform show -json` tells it.
        project: id, where a resource does not say it.

    Returns:
        None when something failed for another reason, or has no name of its own: a person has to look.
    """
    changes = {one["address"]: one for one in plan.get("resource_changes", ())}
    found: dict[str, str] = {}
    for address in refused(output):
        change = changes.get(address)
        form = IDS.get(change["type"].removeprefix("google_")) if change else None
        if change is None or form is None:
            return None
        values = {"project": project} | {k: v for k, v in change["change"]["after"].items() if v is not None}
        try:
            found[address] = form.format(**values)
        except KeyError:
            return None
    return found or None
