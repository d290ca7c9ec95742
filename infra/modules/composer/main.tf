locals {
  # name[extras]==version, one a line; comments and empty lines are left out.
  lines        = [for line in split("\n", file(var.requirements_file)) : trimspace(split("#", line)[0])]
  requirements = [for line in local.lines : line if line != ""]
  pattern      = "^([A-Za-z0-9][A-Za-z0-9._-]*)(\\[[A-Za-z0-9,._ -]+\\])?(==[^ ;]+)$"
  parts        = [for line in local.requirements : try(regex(local.pattern, line), null)]
  refused      = [for index, part in local.parts : local.requirements[index] if part == null]

  packages = { for part in local.parts : lower(part[0]) => "${part[1] == null ? "" : part[1]}${part[2]}" if part != null }
}

resource "google_composer_environment" "this" {
  project = var.project
  name    = "coinbeam"
  region  = var.region
  labels  = var.labels

  config {
    environment_size           = "ENVIRONMENT_SIZE_SMALL"
    enable_private_environment = true

    software_config {
      image_version = var.image_version
      pypi_packages = local.packages

      env_variables = {
        COINBEAM_ENV = "production"
      }

      airflow_config_overrides = {
        # A new DAG waits for a person to switch it on: the first deployment fetches nothing by itself.
        core-dags_are_paused_at_creation = "True"
      }
    }

    node_config {
      network         = var.network
      subnetwork      = var.subnetwork
      service_account = var.service_account
    }

    # The jobs run on Dataflow: Airflow itself only waits, checks and asks BigQuery. The least that Composer 3 accepts, but for memory.
    # Source: https://cloud.google.com/composer/docs/composer-3/scale-environments
    workloads_config {
      scheduler {
        count      = 1
        cpu        = 0.5
        memory_gb  = 2
        storage_gb = 1
      }

      dag_processor {
        count      = 1
        cpu        = 1
        memory_gb  = 4
        storage_gb = 1
      }

      triggerer {
        count     = 1
        cpu       = 0.5
        memory_gb = 1
      }

      web_server {
        cpu        = 1
        memory_gb  = 2
        storage_gb = 1
      }

      worker {
        min_count  = 1
        max_count  = 2
        cpu        = 1
        memory_gb  = 4
        storage_gb = 2
      }
    }

    maintenance_window {
      start_time = "2026-01-03T08:00:00Z" # long after the daily snapshot at midnight UTC
      end_time   = "2026-01-03T14:00:00Z"
      recurrence = "FREQ=WEEKLY;BYDAY=SA,SU"
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.refused) == 0
      error_message = "Composer's requirements must be pinned as name==version: ${join(", ", local.refused)}."
    }

    precondition {
      condition     = !contains(keys(local.packages), "apache-airflow")
      error_message = "Composer's image brings Airflow; a requirement on it breaks the environment."
    }
  }
}

locals {
  # gs://bucket/dags
  bucket = split("/", google_composer_environment.this.config[0].dag_gcs_prefix)[2]
}

# A deployment uploads releases and overwrites the one object that switches.
resource "google_storage_bucket_iam_member" "deployer" {
  bucket = local.bucket
  role   = "roles/storage.objectUser"
  member = var.deployer
}

# People who look at runs and trigger them. The role opens the door; what they may do inside says their role in Airflow.
resource "google_project_iam_member" "user" {
  for_each = toset(var.users)

  project = var.project
  role    = "roles/composer.user"
  member  = each.key
}
