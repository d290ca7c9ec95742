output "check_id" {
  description = "Id of the check, by which its results are found."
  value       = google_monitoring_uptime_check_config.api.uptime_check_id
}
