output "config_id" {
  description = "Id of the scheduled query, by which its log entries are found."
  value       = reverse(split("/", google_bigquery_data_transfer_config.check.name))[0]
}
