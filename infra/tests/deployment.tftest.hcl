# What a deployment is, without a cloud: every resource is mocked, every value is Terraform's own.
# Run with `terraform init -backend=false && terraform test`.

mock_provider "google" {
  mock_resource "google_composer_environment" {
    defaults = {
      config = {
        dag_gcs_prefix = "gs://us-central1-coinbeam-bucket/dags"
        airflow_uri    = "https://airflow.example.com"
      }
    }
  }

  mock_resource "google_bigquery_data_transfer_config" {
    defaults = {
      name = "projects/1/locations/us/transferConfigs/freshness-check"
    }
  }

  mock_resource "google_project_iam_custom_role" {
    defaults = {
      name = "projects/my-project/roles/coinbeamSnapshots"
    }
  }

  mock_resource "google_artifact_registry_repository" {
    defaults = {
      name = "coinbeam"
    }
  }

  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }

  mock_data "google_storage_bucket" {
    defaults = {
      project_number = 210987654321
    }
  }
}

mock_provider "google-beta" {
  mock_resource "google_project_service_identity" {
    defaults = {
      member = "serviceAccount:service-123456789012@gcp-sa-iap.iam.gserviceaccount.com"
    }
  }
}

override_resource {
  target = module.uptime[0].google_project_service_identity.monitoring

  values = {
    member = "serviceAccount:service-123456789012@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.accounts.google_service_account.account["composer"]

  values = {
    email  = "coinbeam-composer@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-composer@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-composer@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.accounts.google_service_account.account["dataflow"]

  values = {
    email  = "coinbeam-dataflow@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-dataflow@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-dataflow@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.accounts.google_service_account.account["build"]

  values = {
    email  = "coinbeam-build@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-build@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-build@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.accounts.google_service_account.account["reader"]

  values = {
    email  = "coinbeam-reader@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-reader@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-reader@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.serving[0].google_service_account.service["api"]

  values = {
    email  = "coinbeam-api@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-api@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-api@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.serving[0].google_service_account.service["dashboard"]

  values = {
    email  = "coinbeam-dashboard@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-dashboard@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-dashboard@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.stream[0].google_project_iam_custom_role.tracking

  values = {
    name = "projects/my-project/roles/coinbeamTracking"
  }
}

override_resource {
  target = module.stream[0].google_service_account.account["stream"]

  values = {
    email  = "coinbeam-stream@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-stream@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-stream@my-project.iam.gserviceaccount.com"
  }
}

override_resource {
  target = module.stream[0].google_service_account.account["publisher"]

  values = {
    email  = "coinbeam-publisher@my-project.iam.gserviceaccount.com"
    name   = "projects/my-project/serviceAccounts/coinbeam-publisher@my-project.iam.gserviceaccount.com"
    member = "serviceAccount:coinbeam-publisher@my-project.iam.gserviceaccount.com"
  }
}

variables {
  project       = "my-project"
  alert_email   = "data-team@example.com"
  reader_group  = "market-readers@example.com"
  airflow_users = ["group:operators@example.com"]
  budget        = { billing_account = "012345-6789AB-CDEF01", amount = 600 }
  stream        = { release = "abc1234" }
  serving       = { release = "abc1234", viewers = ["group:market-readers@example.com"] }

  github = {
    owner    = "my-organisation"
    name     = "coinbeam"
    id       = 1002003004
    owner_id = 5006007
  }
}

run "deployment" {
  assert {
    condition     = output.deployment.storage.bucket == "my-project-coinbeam"
    error_message = "The data bucket is named after the project."
  }

  assert {
    condition     = output.composer_bucket == "us-central1-coinbeam-bucket"
    error_message = "Composer's own bucket is read from the prefix of its DAGs."
  }

  assert {
    condition     = output.deployment.coingecko.api_key_secret == "projects/my-project/secrets/coingecko-api-key/versions/latest"
    error_message = "The deployment names the secret, never its value."
  }

  assert {
    condition     = output.image_repository == "us-central1-docker.pkg.dev/my-project/coinbeam"
    error_message = "Images lie in the repository of the region."
  }

  assert {
    condition     = toset(keys(output.service_accounts)) == toset(["composer", "dataflow", "build", "reader", "api", "dashboard", "stream", "publisher"])
    error_message = "There are four accounts, one for each service, and two for the live trades."
  }

  assert {
    condition     = output.deployment.google.stream_service_account == "coinbeam-stream@my-project.iam.gserviceaccount.com"
    error_message = "The streaming job has an account of its own."
  }

  assert {
    condition     = output.substitutions["_STREAM_SERVICE_ACCOUNT"] == output.deployment.google.stream_service_account
    error_message = "A release knows the account of the streaming job."
  }

  assert {
    condition     = toset(keys(output.serving_urls)) == toset(["api", "dashboard"])
    error_message = "There are two services."
  }
}
