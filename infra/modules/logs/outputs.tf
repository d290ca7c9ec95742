output "bucket" {
  description = "Id of the log bucket."
  value       = google_logging_project_bucket_config.pipeline.id
}
