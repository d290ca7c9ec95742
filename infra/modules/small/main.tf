locals {
  name = "coinbeam-daily"

  # Once more in the hour of a daily snapshot: the index has no point of the new day before twenty past, the witness follows at a quarter to, and a
  # snapshot that failed gets its second chance. What is published already is not done again.
  schedules = { daily = "0,45 0 * * *", hourly = "0 * * * *" }
}

# What the job runs as: it does all that Airflow and the workers do in the large profile.
resource "google_service_account" "account" {
  for_each = merge(
    { batch = "The job: fetches, audits and publishes batches", scheduler = "Cloud Scheduler: starts the job" },
    var.inbox ? { inbox = "The workflow of the inbox: starts the job with the name of a file" } : {},
  )

  project      = var.project
  account_id   = "coinbeam-${each.key}"
  display_name = "Coinbeam ${each.key}"
  description  = each.value
}

# Roles that cannot be given on anything smaller than the project.
resource "google_project_iam_member" "grant" {
  for_each = toset([
    "roles/bigquery.jobUser",         # run queries and loads; jobs are resources of the project
    "roles/bigquery.readSessionUser", # the serving bundle reads by the Storage Read API; sessions are resources of the project
  ])

  project = var.project
  role    = each.key
  member  = google_service_account.account["batch"].member
}

# Airflow in one process and a Beam job in another, one after the other.
resource "google_cloud_run_v2_job" "batch" {
  project             = var.project
  location            = var.region
  name                = local.name
  labels              = var.labels
  deletion_protection = false # it holds nothing

  template {
    task_count  = 1
    parallelism = 1

    template {
      service_account       = google_service_account.account["batch"].email
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      timeout               = "86400s" # longer than the sum of the tasks: Airflow ends a task that hangs, and says which

      # For a container that died. A transient error was tried again before, and after a terminal one the second attempt ends at once.
      max_retries = 1

      containers {
        # Google's sample, until the first release puts its image here. Project, bucket, secret and period are in that image, as config/deployment.json:
        # job and release cannot disagree.
        image = "us-docker.pkg.dev/cloudrun/container/job:latest"
        args  = ["job", "due"]

        resources {
          limits = { cpu = "1", memory = var.memory }
        }
      }
    }
  }

  # Which image runs belongs to releases.
  lifecycle {
    ignore_changes = [client, client_version, template[0].template[0].containers[0].image]
  }
}

# Whoever starts the job as it is. An override of its arguments is another permission, and not in this role.
resource "google_cloud_run_v2_job_iam_member" "scheduler" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.batch.name
  role     = "roles/run.invoker"
  member   = google_service_account.account["scheduler"].member
}

resource "google_cloud_scheduler_job" "due" {
  project          = var.project
  region           = var.region
  name             = local.name
  description      = "Starts the job of the small profile"
  schedule         = lookup(local.schedules, var.period)
  time_zone        = "Etc/UTC"
  attempt_deadline = "60s" # of the call that starts the job, not of the job

  # A start that Cloud Run does not take is tried again; a job that fails is not started again by this.
  retry_config {
    retry_count          = 3
    min_backoff_duration = "30s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://run.googleapis.com/v2/projects/${var.project}/locations/${var.region}/jobs/${google_cloud_run_v2_job.batch.name}:run"

    oauth_token {
      service_account_email = google_service_account.account["scheduler"].email
      scope                 = "https://www.googleapis.com/auth/cloud-platform"
    }
  }
}

# A release puts its image into the job, which runs as this account.
resource "google_cloud_run_v2_job_iam_member" "deployer" {
  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.batch.name
  role     = "roles/run.developer"
  member   = var.deployer
}

resource "google_service_account_iam_member" "deployer" {
  service_account_id = google_service_account.account["batch"].name
  role               = "roles/iam.serviceAccountUser"
  member             = var.deployer
}

resource "google_monitoring_alert_policy" "failed" {
  project               = var.project
  display_name          = "Coinbeam: An execution of the job failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = [var.channel]

  conditions {
    display_name = "An execution of the job failed"

    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"cloud_run_job\"",
        "resource.labels.job_name = \"${google_cloud_run_v2_job.batch.name}\"",
        "metric.type = \"run.googleapis.com/job/completed_execution_count\"",
        "metric.labels.result = \"failed\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_SUM"
      }
    }
  }

  documentation {
    content   = "Its log ends with the task that failed and the reason; `coinbeam status` shows the batch. docs/runbooks/small.md."
    mime_type = "text/markdown"
  }
}
