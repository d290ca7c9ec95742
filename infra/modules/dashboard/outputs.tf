output "id" {
  description = "Id of the dashboard, the last part of its address in the console."
  value       = reverse(split("/", google_monitoring_dashboard.this.id))[0]
}
