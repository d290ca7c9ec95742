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

  mock_data "google_project" {
    defaults = {
      number = "123456789012"
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

variables {
  project         = "my-project"
  billing_account = "012345-6789AB-CDEF01"
  alert_email     = "data-team@example.com"
  reader_group    = "market-readers@example.com"
  airflow_users   = ["group:operators@example.com"]
  serving         = { release = "abc1234", viewers = ["group:market-readers@example.com"] }

  github = {
    owner = "my-organisation"
    name  = "coinbeam"
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
    condition     = toset(keys(output.service_accounts)) == toset(["composer", "dataflow", "build", "reader", "api", "dashboard"])
    error_message = "There are four accounts, and one for each service."
  }

  assert {
    condition     = toset(keys(output.serving_urls)) == toset(["api", "dashboard"])
    error_message = "There are two services."
  }
}
