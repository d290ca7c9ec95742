# Logs of the pipeline in a bucket of their own, with a retention of their own: the project's default keeps them for 30 days.
resource "google_logging_project_bucket_config" "pipeline" {
  project        = var.project
  location       = var.region
  bucket_id      = "coinbeam"
  description    = "Airflow, Dataflow, builds, scheduled queries, services and the publisher"
  retention_days = var.retention_days
}

resource "google_logging_project_sink" "pipeline" {
  project                = var.project
  name                   = "coinbeam"
  description            = "Logs of the pipeline"
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.pipeline.id}"
  unique_writer_identity = true # a log bucket of the same project needs no grant

  filter = join(" OR ", [for type in local.resources : "resource.type = \"${type}\""])
}

locals {
  resources = [
    "cloud_composer_environment", "cloud_composer_workflow", "dataflow_step", "build", "bigquery_dts_config",
    "cloud_run_job", "cloud_run_revision", "cloud_run_worker_pool",
  ]
}
