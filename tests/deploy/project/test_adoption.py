"""What a killed apply made is taken in by its name."""

import re
from typing import Any

from coinbeam.settings import ROOT
from deploy.project.adoption import IDS, ids, refused
from deploy.project.terraform import summary
from tests.deploy.project import provider

SAID = """
Error: Error creating google_storage_bucket: googleapi: Error 409: acme-coinbeam already exists., alreadyExists

  with module.bucket.google_storage_bucket.data,
  on modules/bucket/main.tf line 3, in resource "google_storage_bucket" "data":
   3: resource "google_storage_bucket" "data" {

Error: Error creating Dataset: googleapi: Error 409: Already Exists: Dataset acme:crypto_data, duplicate

  with module.warehouse.google_bigquery_dataset.internal["crypto_data"],
  on modules/warehouse/main.tf line 9, in resource "google_bigquery_dataset" "internal":
"""


def changed(address: str, kind: str, **after: Any) -> dict[str, Any]:
    """A resource of a plan."""
    return {
        "address": address,
        "mode": "managed",
        "type": f"google_{kind}",
        "change": {"actions": ["create"], "after": after},
    }


PLAN = {
    "resource_changes": [
        changed("module.bucket.google_storage_bucket.data", "storage_bucket", name="acme-coinbeam", project=None),
        changed(
            'module.warehouse.google_bigquery_dataset.internal["crypto_data"]',
            "bigquery_dataset",
            dataset_id="crypto_data",
            project="acme",
        ),
        changed("module.alerts.google_monitoring_alert_policy.x", "monitoring_alert_policy", display_name="x"),
    ]
}


def test_what_exists_is_found_in_what_terraform_says() -> None:
    assert list(refused(SAID)) == [one["address"] for one in PLAN["resource_changes"][:2]]


def test_each_is_imported_by_its_name() -> None:
    assert ids(SAID, PLAN, "acme") == {
        "module.bucket.google_storage_bucket.data": "acme/acme-coinbeam",
        'module.warehouse.google_bigquery_dataset.internal["crypto_data"]': "projects/acme/datasets/crypto_data",
    }


def test_another_failure_is_left_to_a_person() -> None:
    assert ids(SAID.replace("Error 409", "Error 403").replace("xists", "xits"), PLAN, "acme") is None


def test_what_has_no_name_of_its_own_is_left_to_a_person() -> None:
    said = SAID.replace("module.bucket.google_storage_bucket.data", "module.alerts.google_monitoring_alert_policy.x")
    assert ids(said, PLAN, "acme") is None


def test_everything_that_infra_makes_by_a_name_can_be_taken_in() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "infra").rglob("*.tf"))
    used = set(re.findall(r'^resource "google_(\w+)"', text, re.MULTILINE))
    assert used & provider._OWN_NAME <= set(IDS)


def test_a_plan_is_told_in_one_line() -> None:
    destroyed = changed("google_storage_bucket.old", "storage_bucket") | {
        "change": {"actions": ["delete", "create"], "after": {}}
    }
    told = summary({"resource_changes": [*PLAN["resource_changes"], destroyed]})
    assert told.text == (
        "create 4 (1 bigquery_dataset, 1 monitoring_alert_policy, 2 storage_bucket); destroy 1 (1 storage_bucket)"
    )
    assert not told.is_empty
