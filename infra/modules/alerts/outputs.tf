output "channel" {
  description = "Id of the notification channel."
  value       = google_monitoring_notification_channel.email.id
}
