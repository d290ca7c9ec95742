output "name" {
  description = "Name of the environment, by which its metrics are found."
  value       = google_composer_environment.this.name
}

output "bucket" {
  description = "The environment's own bucket."
  value       = local.bucket
}

output "airflow_url" {
  description = "Address of the Airflow UI and its API."
  value       = google_composer_environment.this.config[0].airflow_uri
}
