# The small profile without a cloud: every resource is mocked, every value is Terraform's own.

mock_provider "google" {
  mock_resource "google_bigquery_data_transfer_config" {
    defaults = {
      name = "projects/1/locations/us/transferConfigs/freshness-check"
    }
  }

  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }

  mock_data "google_storage_project_service_account" {
    defaults = {
      member = "serviceAccount:service-123456789012@gs-project-accounts.iam.gserviceaccount.com"
    }
  }
}

mock_provider "google-beta" {}

override_resource {
  target = module.accounts.google_service_account.account["build"]

  values = {
    id     = "projects/my-project/serviceAccounts/coinbeam-build@my-project.iam.gserviceaccount.com"
    email  = "coinbeam-build@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-build@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-build@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.accounts.google_service_account.account["reader"]

  values = {
    id     = "projects/my-project/serviceAccounts/coinbeam-reader@my-project.iam.gserviceaccount.com"
    email  = "coinbeam-reader@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-reader@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-reader@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.small[0].google_service_account.account["batch"]

  values = {
    id     = "projects/my-project/serviceAccounts/coinbeam-batch@my-project.iam.gserviceaccount.com"
    email  = "coinbeam-batch@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-batch@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-batch@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.small[0].google_service_account.account["scheduler"]

  values = {
    id     = "projects/my-project/serviceAccounts/coinbeam-scheduler@my-project.iam.gserviceaccount.com"
    email  = "coinbeam-scheduler@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-scheduler@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-scheduler@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.small[0].google_service_account.account["inbox"]

  values = {
    id     = "projects/my-project/serviceAccounts/coinbeam-inbox@my-project.iam.gserviceaccount.com"
    email  = "coinbeam-inbox@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-inbox@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-inbox@my-project.iam.gserviceaccount.com"
  }
}

variables {
  project      = "my-project"
  alert_email  = "data-team@example.com"
  reader_group = "market-readers@example.com"
  profile      = "small"
  small        = { inbox = true }
}

run "small" {
  assert {
    condition     = output.job == "coinbeam-daily"
    error_message = "The job has the name by which people and releases start it."
  }

  assert {
    condition     = output.composer_bucket == null && output.deployment.composer.airflow_url == null
    error_message = "There is no Composer."
  }

  assert {
    condition     = output.deployment.google.dataflow_service_account == null && output.deployment.dataflow.subnetwork == null
    error_message = "There is neither an account nor a network of Dataflow."
  }

  assert {
    condition     = toset(keys(output.service_accounts)) == toset(["build", "reader", "batch", "scheduler", "inbox"])
    error_message = "There are the accounts of the job, of its schedule and of its inbox, and those of releases and readers."
  }

  assert {
    condition     = output.substitutions["_PROFILE"] == "small" && !anytrue([for name in keys(output.substitutions) : can(regex("COMPOSER|DATAFLOW|SUBNETWORK|AIRFLOW|STREAM", name))])
    error_message = "A release knows the profile, and is told nothing that its build does not use."
  }

  assert {
    condition     = output.substitutions["_SCAN"] == "off"
    error_message = "Images are scanned where somebody says so."
  }
}
