output "latest_version" {
  description = "Name of the newest version, as the setting coingecko.api_key_secret wants it."
  value       = "projects/${var.project}/secrets/${google_secret_manager_secret.this.secret_id}/versions/latest"
}
